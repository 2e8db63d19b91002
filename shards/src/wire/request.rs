//! A client's bytes to a request, in place: arguments are positions in the receive buffer, never copies.
//!
//! Promises: the same requests however the stream was cut into pieces; every byte of a request is read once, whatever its
//! size; nothing is allocated on a length that was only declared; no bytes whatever make it panic. Answers and texts are
//! Redis' own, so that a client cannot tell the difference even when it is wrong.

use crate::number;
use memchr::{memchr, memchr2};
use std::borrow::Cow;

/// Where one argument lies, relative to the first byte of its request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Span {
    /// Offset of its first byte.
    pub start: u32,
    /// Its length.
    pub len: u32,
}

/// A request's arguments, the command's name first. Cheap to copy; lives no longer than the buffer it lies in.
#[derive(Clone, Copy)]
pub struct Args<'a> {
    bytes: &'a [u8],
    spans: &'a [Span],
}

impl<'a> Args<'a> {
    /// Arguments at `spans` of `bytes`.
    #[inline]
    pub fn new(bytes: &'a [u8], spans: &'a [Span]) -> Args<'a> {
        Args { bytes, spans }
    }

    /// How many, the name included.
    #[inline]
    #[expect(clippy::len_without_is_empty, reason = "a request is never empty")]
    pub fn len(&self) -> usize {
        self.spans.len()
    }

    /// The argument at `index`. Panics past the end: arity is checked before a command runs.
    #[inline]
    pub fn get(&self, index: usize) -> &'a [u8] {
        let span = self.spans[index];
        &self.bytes[span.start as usize..][..span.len as usize]
    }

    /// The same without the first `count`. At least one must remain.
    pub fn skip(&self, count: usize) -> Args<'a> {
        assert!(count < self.spans.len());
        Args { bytes: self.bytes, spans: &self.spans[count..] }
    }

    /// The arguments from `index` on.
    pub fn iter_from(&self, index: usize) -> impl ExactSizeIterator<Item = &'a [u8]> + use<'a> {
        let bytes = self.bytes;
        self.spans[index.min(self.spans.len())..].iter().map(move |span| &bytes[span.start as usize..][..span.len as usize])
    }
}

/// Longest request, all arguments together. Redis closes a client whose unparsed input passes as much
/// (`client-query-buffer-limit`).
pub const REQUEST_BYTES_MAX: usize = 1024 * 1024 * 1024;
/// Positions fit a [`Span`].
const _: () = assert!(REQUEST_BYTES_MAX <= u32::MAX as usize / 2);

/// What one request may weigh. Smaller before authentication.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Arguments, the name included.
    pub args_max: usize,
    /// Bytes of one argument. Never more than [`REQUEST_BYTES_MAX`], whatever is set here.
    pub bulk_bytes_max: usize,
    /// Bytes of an inline command, and of any header line.
    pub line_bytes_max: usize,
    /// Whether the client has authenticated, or need not. Only the words of an error depend on it.
    pub authenticated: bool,
}

impl Limits {
    /// For clients that are known.
    pub const OPEN: Limits =
        Limits { args_max: 1024 * 1024, bulk_bytes_max: 512 * 1024 * 1024, line_bytes_max: 64 * 1024, authenticated: true };
    /// For clients that have not authenticated yet, as Redis has them.
    pub const UNAUTHENTICATED: Limits = Limits { args_max: 10, bulk_bytes_max: 16 * 1024, line_bytes_max: 64 * 1024, authenticated: false };
}

/// What the first bytes of a buffer are.
#[derive(Debug, PartialEq, Eq)]
pub enum Parsed {
    /// A whole request of `bytes` bytes; its arguments were appended to `spans`, relative to the buffer's first byte.
    Request {
        /// Length of the request.
        bytes: usize,
    },
    /// Bytes that are no request and need no answer (an empty line, `*0`, `*-1`).
    Nothing {
        /// How many to skip.
        bytes: usize,
    },
    /// An inline command. `request` is the same command in the array form, with quotes and escapes resolved.
    Inline {
        /// Length of the line with its end.
        bytes: usize,
        /// To be parsed in its place.
        request: Vec<u8>,
    },
    /// More bytes are needed. Nothing was appended to `spans`. Go on with a [`Partial`].
    Incomplete,
    /// Not a request, and what follows cannot be trusted: answer the error and close.
    Malformed(Malformed),
}

/// Why bytes are not a request. Always the peer's doing, so it is answered, never asserted. The texts are Redis' own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Malformed {
    /// The array header is no number or out of bounds.
    ArgCount,
    /// Too many arguments before authentication.
    ArgCountUnauthenticated,
    /// A bulk's length is no number or out of bounds.
    BulkLength,
    /// Too long a bulk before authentication.
    BulkLengthUnauthenticated,
    /// A `$` was expected.
    NotBulk {
        /// What came instead.
        found: u8,
    },
    /// An array header without an end.
    ArgCountLine,
    /// A bulk header without an end.
    BulkLengthLine,
    /// An inline command without an end.
    InlineLine,
    /// All arguments together are longer than [`REQUEST_BYTES_MAX`].
    RequestLength,
    /// Quotes of an inline command that do not match.
    Quotes,
    /// A line of HTTP: somebody is using a browser to reach us. Close without an answer.
    CrossProtocol,
}

impl Malformed {
    /// The error to answer before closing, its code first; `None` where Redis closes without a word.
    pub fn text(&self) -> Option<Cow<'static, str>> {
        Some(Cow::Borrowed(match *self {
            Malformed::ArgCount => "ERR Protocol error: invalid multibulk length",
            Malformed::ArgCountUnauthenticated => "ERR Protocol error: unauthenticated multibulk length",
            Malformed::BulkLength => "ERR Protocol error: invalid bulk length",
            Malformed::BulkLengthUnauthenticated => "ERR Protocol error: unauthenticated bulk length",
            Malformed::ArgCountLine => "ERR Protocol error: too big mbulk count string",
            Malformed::BulkLengthLine => "ERR Protocol error: too big bulk count string",
            Malformed::InlineLine => "ERR Protocol error: too big inline request",
            Malformed::RequestLength => "ERR Protocol error: too big request",
            Malformed::Quotes => "ERR Protocol error: unbalanced quotes in request",
            Malformed::NotBulk { found } => {
                let shown = match found {
                    b'\r' | b'\n' => ' ',
                    1..=0x7f => char::from(found),
                    _ => '?',
                };
                return Some(Cow::Owned(format!("ERR Protocol error: expected '$', got '{shown}'")));
            }
            Malformed::CrossProtocol => return None,
        }))
    }
}

/// Parses the request at the start of `bytes`. Appends its arguments to `spans`. No allocation, except for inline commands.
#[inline]
pub fn parse(bytes: &[u8], limits: &Limits, spans: &mut Vec<Span>) -> Parsed {
    match bytes.first() {
        Some(b'*') => {}
        Some(_) => return inline(bytes, limits, &mut 0),
        None => return Parsed::Incomplete,
    }
    let (mut missing, mut at) = match arg_count(bytes, limits) {
        Ok(header) => header,
        Err(other) => return other,
    };
    let appended_from = spans.len();
    let parsed = arguments(bytes, limits, &mut at, &mut missing, spans);
    if !matches!(parsed, Parsed::Request { .. }) {
        spans.truncate(appended_from);
    }
    parsed
}

/// A request of which only the beginning has arrived. Remembers how far it was understood, so that a request that comes in
/// many pieces is read once, and nothing is allocated on a length that was only declared.
#[derive(Debug, Default)]
pub struct Partial {
    /// The arguments found so far, relative to the request's first byte; all of them once [`Parsed::Request`] is returned.
    pub spans: Vec<Span>,
    /// Bytes understood so far.
    at: usize,
    /// Arguments still to come; 0 before the array header was read.
    missing: usize,
    /// Bytes of a line already searched for its end.
    searched: usize,
    /// Bytes that had arrived at the last call.
    arrived: usize,
}

impl Partial {
    /// Goes on with all bytes of the request that have arrived, from its first one. After anything but
    /// [`Parsed::Incomplete`] it must be [`Partial::clear`]ed before the next request.
    pub fn advance(&mut self, bytes: &[u8], limits: &Limits) -> Parsed {
        self.arrived = bytes.len();
        match bytes.first() {
            Some(b'*') => {}
            Some(_) => return inline(bytes, limits, &mut self.searched),
            None => return Parsed::Incomplete,
        }
        if self.missing == 0 {
            (self.missing, self.at) = match arg_count(bytes, limits) {
                Ok(header) => header,
                Err(other) => return other,
            };
        }
        arguments(bytes, limits, &mut self.at, &mut self.missing, &mut self.spans)
    }

    /// Starts over for another request. Keeps the memory of `spans`, unless an unusual request made it large.
    pub fn clear(&mut self) {
        const SPANS_KEPT_MAX: usize = 1024;
        self.spans.clear();
        self.spans.shrink_to(SPANS_KEPT_MAX);
        (self.at, self.missing, self.searched, self.arrived) = (0, 0, 0, 0);
    }

    /// How many more bytes the request needs at the least, if the argument now arriving is as long as was declared; at least 1.
    ///
    /// A hint for sizing a buffer, and only the peer's word: grow by what has arrived (doubling, say) and let this be
    /// the ceiling of the growth, never its reason.
    pub fn missing_bytes_min(&self, bytes: &[u8]) -> usize {
        let pending = bytes.get(self.at..).unwrap_or_default();
        if self.missing == 0 || pending.first() != Some(&b'$') {
            return 1;
        }
        match header(pending, 0) {
            Header::Length { value, end } => (end + value as usize + 2).saturating_sub(pending.len()).max(1),
            _ => 1,
        }
    }
}

/// The array's header: how many arguments, and where the first one's header starts.
#[inline(always)]
fn arg_count(bytes: &[u8], limits: &Limits) -> Result<(usize, usize), Parsed> {
    match header(bytes, 0) {
        Header::Length { value, end } if value as usize <= limits.args_max && value > 0 => Ok((value as usize, end)),
        header => Err(arg_count_refused(header, bytes, limits)),
    }
}

#[cold]
fn arg_count_refused(header: Header, bytes: &[u8], limits: &Limits) -> Parsed {
    match header {
        Header::Length { value: 0, end } | Header::Negative { end } => Parsed::Nothing { bytes: end },
        Header::Length { .. } if !limits.authenticated => Parsed::Malformed(Malformed::ArgCountUnauthenticated),
        Header::Length { .. } | Header::NotANumber => Parsed::Malformed(Malformed::ArgCount),
        Header::Endless => endless(bytes, limits, Malformed::ArgCount, Malformed::ArgCountLine),
    }
}

/// The arguments from `at` on. Whatever was understood stays in `at`, `missing` and `spans` when more bytes are needed.
#[inline(always)]
fn arguments(bytes: &[u8], limits: &Limits, at: &mut usize, missing: &mut usize, spans: &mut Vec<Span>) -> Parsed {
    // Kept in registers; written back once.
    let (mut here, mut left) = (*at, *missing);
    let bound = bytes.len().min(REQUEST_BYTES_MAX);
    let parsed = loop {
        if left == 0 {
            break Parsed::Request { bytes: here };
        }
        match bytes.get(here) {
            Some(b'$') => {}
            Some(&found) => break not_bulk(found, &bytes[here..], limits),
            None => break Parsed::Incomplete,
        }
        let (value, start) = match header(bytes, here) {
            Header::Length { value, end } if value as usize <= limits.bulk_bytes_max => (value as usize, end),
            header => break bulk_refused(header, &bytes[here..], limits),
        };
        let end = start + value;
        if end + 2 > bound {
            break if end + 2 > REQUEST_BYTES_MAX { Parsed::Malformed(Malformed::RequestLength) } else { Parsed::Incomplete };
        }
        // What ends a bulk is skipped, not read, as Redis does.
        spans.push(Span { start: start as u32, len: value as u32 });
        here = end + 2;
        left -= 1;
    };
    (*at, *missing) = (here, left);
    parsed
}

#[cold]
fn bulk_refused(header: Header, line: &[u8], limits: &Limits) -> Parsed {
    match header {
        Header::Length { .. } if !limits.authenticated => Parsed::Malformed(Malformed::BulkLengthUnauthenticated),
        Header::Length { .. } | Header::Negative { .. } | Header::NotANumber => Parsed::Malformed(Malformed::BulkLength),
        Header::Endless => endless(line, limits, Malformed::BulkLength, Malformed::BulkLengthLine),
    }
}

/// Told once its line has ended, as Redis does.
#[cold]
fn not_bulk(found: u8, line: &[u8], limits: &Limits) -> Parsed {
    endless(line, limits, Malformed::NotBulk { found }, Malformed::BulkLengthLine)
}

/// A header that cannot be read: for that reason once it ends, too long if it does not.
fn endless(line: &[u8], limits: &Limits, unreadable: Malformed, too_long: Malformed) -> Parsed {
    let window = &line[..line.len().min(limits.line_bytes_max)];
    match memchr(b'\r', window) {
        Some(len) if len + 1 < line.len() => Parsed::Malformed(unreadable),
        _ if line.len() > limits.line_bytes_max => Parsed::Malformed(too_long),
        _ => Parsed::Incomplete,
    }
}

/// A header line: a mark, a number, an end.
enum Header {
    /// A number within `i32`, which nothing that is declared may pass; the next line starts at `end`.
    Length { value: u32, end: usize },
    /// A number below zero.
    Negative { end: usize },
    /// Something else.
    NotANumber,
    /// The line's end is not there, or farther away than any number is long.
    Endless,
}

/// Reads the header at `at`; its mark was looked at by the caller.
#[inline(always)]
fn header(bytes: &[u8], at: usize) -> Header {
    // The common lengths: up to three digits, no zero in front. Anything else is read at leisure.
    if let Some(&[_, first, second, third, fourth, _]) = bytes.get(at..at + 6) {
        let digit = |byte: u8| u32::from(byte.wrapping_sub(b'0'));
        let mut value = digit(first);
        if value.wrapping_sub(1) < 9 {
            if second == b'\r' {
                return Header::Length { value, end: at + 4 };
            }
            if digit(second) < 10 {
                value = value * 10 + digit(second);
                if third == b'\r' {
                    return Header::Length { value, end: at + 5 };
                }
                if digit(third) < 10 && fourth == b'\r' {
                    return Header::Length { value: value * 10 + digit(third), end: at + 6 };
                }
            }
        }
    }
    header_of_any_length(bytes, at)
}

#[inline(never)]
fn header_of_any_length(bytes: &[u8], at: usize) -> Header {
    const NUMBER_BYTES_MAX: usize = 32;
    let line = &bytes[at + 1..];
    // Redis looks for `\r` and takes whatever byte follows it as the rest of the line's end.
    let len = match memchr(b'\r', &line[..line.len().min(NUMBER_BYTES_MAX)]) {
        Some(len) if len + 1 < line.len() => len,
        _ => return Header::Endless,
    };
    let end = at + 1 + len + 2;
    match number::parse_i64(&line[..len]) {
        Some(value) if value < 0 => Header::Negative { end },
        Some(value) if value <= i64::from(i32::MAX) => Header::Length { value: value as u32, end },
        _ => Header::NotANumber,
    }
}

#[cold]
fn inline(bytes: &[u8], limits: &Limits, searched: &mut usize) -> Parsed {
    let window = &bytes[..bytes.len().min(limits.line_bytes_max)];
    let from = (*searched).min(window.len());
    // Redis looks for the end as C looks through text: what follows a NUL is never seen.
    let end = memchr2(b'\n', 0, &window[from..]).map(|offset| from + offset);
    let Some(end) = end.filter(|end| bytes[*end] == b'\n') else {
        *searched = end.unwrap_or(window.len());
        return if bytes.len() > limits.line_bytes_max { Parsed::Malformed(Malformed::InlineLine) } else { Parsed::Incomplete };
    };
    let line = bytes[..end].strip_suffix(b"\r").unwrap_or(&bytes[..end]);
    let Some(words) = split_words(line) else { return Parsed::Malformed(Malformed::Quotes) };
    match words.first() {
        None => Parsed::Nothing { bytes: end + 1 },
        // What a browser sends, tricked into talking to a cache in somebody's network.
        Some(name) if name.eq_ignore_ascii_case(b"post") || name.eq_ignore_ascii_case(b"host:") => {
            Parsed::Malformed(Malformed::CrossProtocol)
        }
        Some(_) => Parsed::Inline { bytes: end + 1, request: array_form(&words) },
    }
}

fn array_form(words: &[Vec<u8>]) -> Vec<u8> {
    let mut request = Vec::with_capacity(words.iter().map(|word| word.len() + 16).sum::<usize>() + 16);
    let mut line = |mark: u8, number: usize, body: Option<&[u8]>| {
        request.push(mark);
        number::write_u64(&mut request, number as u64);
        request.extend_from_slice(b"\r\n");
        if let Some(body) = body {
            request.extend_from_slice(body);
            request.extend_from_slice(b"\r\n");
        }
    };
    line(b'*', words.len(), None);
    for word in words {
        line(b'$', word.len(), Some(word));
    }
    request
}

/// Splits a line as a shell would: words between blanks, `"..."` with escapes, `'...'` with `\'` only. `None` when a quote
/// is left open or something sticks to its end. The rules of `sdssplitargs`.
pub fn split_words(line: &[u8]) -> Option<Vec<Vec<u8>>> {
    let ends_word = |byte: u8| matches!(byte, b' ' | b'\t' | b'\n' | b'\r');
    // Vertical tabs and form feeds count as blanks in front of words and behind quotes only.
    let blank = |byte: u8| ends_word(byte) || matches!(byte, 0x0b | 0x0c);
    let mut line = line;
    let mut words = Vec::new();
    loop {
        while let [first, rest @ ..] = line
            && blank(*first)
        {
            line = rest;
        }
        if line.is_empty() {
            return Some(words);
        }
        let mut word = Vec::new();
        loop {
            match line {
                [] => break,
                [b'"', rest @ ..] => {
                    line = double_quoted(rest, &mut word)?;
                    if line.first().is_some_and(|byte| !blank(*byte)) {
                        return None;
                    }
                    break;
                }
                [b'\'', rest @ ..] => {
                    line = single_quoted(rest, &mut word)?;
                    if line.first().is_some_and(|byte| !blank(*byte)) {
                        return None;
                    }
                    break;
                }
                [byte, ..] if ends_word(*byte) => break,
                [byte, rest @ ..] => {
                    word.push(*byte);
                    line = rest;
                }
            }
        }
        words.push(word);
    }
}

/// What follows the closing quote.
fn double_quoted<'a>(mut line: &'a [u8], word: &mut Vec<u8>) -> Option<&'a [u8]> {
    let digit = |byte: &u8| char::from(*byte).to_digit(16).map(|digit| digit as u8);
    loop {
        line = match line {
            [] => return None,
            [b'"', rest @ ..] => return Some(rest),
            [b'\\', b'x', high, low, rest @ ..] if digit(high).is_some() && digit(low).is_some() => {
                word.push(digit(high)? * 16 + digit(low)?);
                rest
            }
            [b'\\', escaped, rest @ ..] => {
                word.push(match escaped {
                    b'n' => b'\n',
                    b'r' => b'\r',
                    b't' => b'\t',
                    b'b' => 0x08,
                    b'a' => 0x07,
                    other => *other,
                });
                rest
            }
            [byte, rest @ ..] => {
                word.push(*byte);
                rest
            }
        };
    }
}

/// What follows the closing quote.
fn single_quoted<'a>(mut line: &'a [u8], word: &mut Vec<u8>) -> Option<&'a [u8]> {
    loop {
        line = match line {
            [] => return None,
            [b'\'', rest @ ..] => return Some(rest),
            [b'\\', b'\'', rest @ ..] => {
                word.push(b'\'');
                rest
            }
            [byte, rest @ ..] => {
                word.push(*byte);
                rest
            }
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A connection as the engine has it: everything that arrives is parsed, and only an unfinished request is kept.
    #[derive(Default)]
    struct Connection {
        buffer: Vec<u8>,
        partial: Option<Partial>,
        requests: Vec<Vec<Vec<u8>>>,
        refused: Option<Malformed>,
    }

    impl Connection {
        fn arrive(&mut self, bytes: &[u8], limits: &Limits) {
            self.buffer.extend_from_slice(bytes);
            while self.refused.is_none() && !self.buffer.is_empty() {
                let mut spans = Vec::new();
                let parsed = match &mut self.partial {
                    Some(partial) => partial.advance(&self.buffer, limits),
                    None => parse(&self.buffer, limits, &mut spans),
                };
                if let Some(partial) = &mut self.partial {
                    spans.clone_from(&partial.spans);
                }
                match parsed {
                    Parsed::Request { bytes } => {
                        self.requests.push(Args::new(&self.buffer[..bytes], &spans).iter_from(0).map(<[u8]>::to_vec).collect());
                        self.skip(bytes);
                    }
                    Parsed::Inline { bytes, request } => {
                        let mut spans = Vec::new();
                        match parse(&request, limits, &mut spans) {
                            Parsed::Request { bytes } => assert_eq!(bytes, request.len()),
                            Parsed::Malformed(malformed) => return self.refused = Some(malformed),
                            other => panic!("an inline command became {other:?}"),
                        }
                        self.requests.push(Args::new(&request, &spans).iter_from(0).map(<[u8]>::to_vec).collect());
                        self.skip(bytes);
                    }
                    Parsed::Nothing { bytes } => self.skip(bytes),
                    Parsed::Incomplete => {
                        assert!(self.partial.is_some() || spans.is_empty());
                        self.partial.get_or_insert_default();
                        return;
                    }
                    Parsed::Malformed(malformed) => self.refused = Some(malformed),
                }
            }
        }

        fn skip(&mut self, bytes: usize) {
            self.buffer.drain(..bytes);
            self.partial = None;
        }
    }

    fn arrive_in_pieces(stream: &[u8], pieces: &[usize], limits: &Limits) -> (Vec<Vec<Vec<u8>>>, Option<Malformed>) {
        let mut connection = Connection::default();
        let mut rest = stream;
        let mut lens = pieces.iter().copied().cycle();
        while !rest.is_empty() {
            let (piece, after) = rest.split_at(lens.next().unwrap_or(usize::MAX).clamp(1, rest.len()));
            connection.arrive(piece, limits);
            rest = after;
        }
        (connection.requests, connection.refused)
    }

    /// `stream` becomes `expected`: requests joined by `;`, their words by `,`, and the error if there is one. However it is cut.
    #[track_caller]
    fn check_within(limits: &Limits, stream: &[u8], expected: &str) {
        for piece in [usize::MAX, 1, 2, 3, 7] {
            let (requests, refused) = arrive_in_pieces(stream, &[piece], limits);
            let mut shown: Vec<String> = requests
                .iter()
                .map(|words| words.iter().map(|word| word.escape_ascii().to_string()).collect::<Vec<_>>().join(","))
                .collect();
            shown.extend(refused.map(|malformed| format!("! {}", malformed.text().unwrap_or("(no answer)".into()))));
            assert_eq!(shown.join(";"), expected, "{:?} in pieces of {piece}", stream.escape_ascii().to_string());
        }
    }

    #[track_caller]
    fn check(stream: &str, expected: &str) {
        check_within(&Limits::OPEN, stream.as_bytes(), expected);
    }

    #[test]
    fn arrays_of_bulks() {
        check("*1\r\n$4\r\nPING\r\n", "PING");
        check("*3\r\n$3\r\nSET\r\n$1\r\na\r\n$0\r\n\r\n*2\r\n$3\r\nGET\r\n$1\r\na\r\n", "SET,a,;GET,a");
        check("*2\r\n$4\r\nECHO\r\n$2\r\n\r\n\r\n", "ECHO,\\r\\n");
        let long = "x".repeat(1234);
        check(&format!("*2\r\n$4\r\nECHO\r\n$1234\r\n{long}\r\n"), &format!("ECHO,{long}"));
        check("*0\r\n*-1\r\n*-100\r\n*1\r\n$4\r\nPING\r\n", "PING");
        // What stands where a line should end is skipped unread, as Redis does.
        check("*1\rx$4\ryPINGab", "PING");
    }

    #[test]
    fn inline_commands() {
        check("PING\r\n\r\n\n   \r\nset a  b\n", "PING;set,a,b");
        check(
            "set a \"b c\\x41\\x6a\\n\\r\\t\\b\\a\\\\\\q\\\"\\x4\" 'd\\'e\\n'\r\n",
            "set,a,b cAj\\n\\r\\t\\x08\\x07\\\\q\\\"x4,d\\'e\\\\n",
        );
        check("get a\"b\"\r\n", "get,ab");
        check("get \"\"\r\n", "get,");
        check("get a\x0bb\r\n\x0bget \x0ca\r\n", "get,a\\x0bb;get,a");
        check("get a\0b\r\nget a\r\n", "");
        check("get \"a\r\n", "! ERR Protocol error: unbalanced quotes in request");
        check("get 'a\r\n", "! ERR Protocol error: unbalanced quotes in request");
        check("get \"a\"b\r\n", "! ERR Protocol error: unbalanced quotes in request");
        check("PING\r\nPOST / HTTP/1.1\r\n", "PING;! (no answer)");
        check("GET / HTTP/1.1\r\nHost: localhost\r\n", "GET,/,HTTP/1.1;! (no answer)");
    }

    #[test]
    fn what_is_no_request() {
        for count in ["", "a", "+1", "01", "-0", "1 ", "2147483648", "20000000", "9999999999999999999999999", &"1".repeat(100)] {
            check(&format!("*{count}\r\n"), "! ERR Protocol error: invalid multibulk length");
            if count != "20000000" {
                check(&format!("*1\r\n${count}\r\n"), "! ERR Protocol error: invalid bulk length");
            }
        }
        check("*1\r\n$-1\r\n", "! ERR Protocol error: invalid bulk length");
        check("*1\r\n$2000000000\r\n", "! ERR Protocol error: invalid bulk length");
        check("*3\r\n$3\r\nSET\r\n$1\r\nx\r\nfooz\r\n", "! ERR Protocol error: expected '$', got 'f'");
        check("*1\r\n\r\n", "! ERR Protocol error: expected '$', got ' '");
        check("*1\r\n\u{ff}\r\n", "! ERR Protocol error: expected '$', got '?'");
        check("*1\r\nfoo", "");
        let endless = "1".repeat(70_000);
        for (stream, error) in [
            (format!("*{endless}"), "too big mbulk count string"),
            (format!("*1\r\n${endless}"), "too big bulk count string"),
            (endless, "too big inline request"),
        ] {
            let expected = format!("! ERR Protocol error: {error}");
            for pieces in [usize::MAX, 1000] {
                let (_, refused) = arrive_in_pieces(stream.as_bytes(), &[pieces], &Limits::OPEN);
                assert_eq!(format!("! {}", refused.unwrap().text().unwrap()), expected);
            }
        }
    }

    #[test]
    fn less_before_authentication() {
        let limits = &Limits::UNAUTHENTICATED;
        check_within(limits, b"*11\r\n", "! ERR Protocol error: unauthenticated multibulk length");
        check_within(limits, b"*2147483648\r\n", "! ERR Protocol error: invalid multibulk length");
        check_within(limits, b"*1\r\n$16385\r\n", "! ERR Protocol error: unauthenticated bulk length");
        check_within(limits, b"*10\r\n$4\r\nAUTH\r\n", "");
    }

    #[test]
    fn a_declared_length_reserves_nothing() {
        let mut spans = Vec::new();
        assert_eq!(parse(b"*1000000\r\n", &Limits::OPEN, &mut spans), Parsed::Incomplete);
        assert_eq!(spans.capacity(), 0);
        let mut partial = Partial::default();
        let stream = b"*2\r\n$3\r\nGET\r\n$500000000\r\nabc";
        assert_eq!(partial.advance(stream, &Limits::OPEN), Parsed::Incomplete);
        assert!(partial.spans.capacity() <= 8);
        assert_eq!(partial.missing_bytes_min(stream), 500_000_000 + 2 - 3);
        assert_eq!(Partial::default().missing_bytes_min(b"*2"), 1);
    }

    #[test]
    fn arguments_beyond_one_gibibyte_are_refused_by_their_sum() {
        let limits = Limits { bulk_bytes_max: REQUEST_BYTES_MAX, ..Limits::OPEN };
        let stream = format!("*2\r\n${REQUEST_BYTES_MAX}\r\n");
        assert_eq!(parse(stream.as_bytes(), &limits, &mut Vec::new()), Parsed::Malformed(Malformed::RequestLength));
    }

    fn any_request() -> impl Strategy<Value = Vec<u8>> {
        let word = prop_oneof![
            8 => prop::collection::vec(any::<u8>(), 0..20),
            1 => prop::collection::vec(any::<u8>(), 95..105),
            1 => prop::collection::vec(any::<u8>(), 995..1005),
        ];
        prop_oneof![
            6 => prop::collection::vec(word, 1..12).prop_map(|words| array_form(&words)),
            1 => Just(b"\r\n".to_vec()),
            1 => Just(b"*0\r\n".to_vec()),
            1 => Just(b"*-1\r\n".to_vec()),
            2 => "[a-z]{1,5}( [a-z0-9]{0,9}){0,4}\r?\n".prop_map(String::into_bytes),
        ]
    }

    proptest! {
        #[test]
        fn however_a_stream_is_cut_it_is_the_same_requests(
            requests in prop::collection::vec(any_request(), 0..8),
            pieces in prop::collection::vec(1usize..40, 1..20),
        ) {
            let stream = requests.concat();
            let whole = arrive_in_pieces(&stream, &[usize::MAX], &Limits::OPEN);
            prop_assert_eq!(whole.1, None);
            prop_assert_eq!(&arrive_in_pieces(&stream, &pieces, &Limits::OPEN), &whole);
            prop_assert_eq!(&arrive_in_pieces(&stream, &[1], &Limits::OPEN), &whole);
        }

        #[test]
        fn however_nonsense_is_cut_it_is_the_same_nonsense(
            requests in prop::collection::vec(any_request(), 1..5),
            damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
            pieces in prop::collection::vec(1usize..40, 1..20),
        ) {
            let mut stream = requests.concat();
            for (index, byte) in damage {
                let index = index.index(stream.len());
                stream[index] = byte;
            }
            for limits in [Limits::OPEN, Limits::UNAUTHENTICATED] {
                let whole = arrive_in_pieces(&stream, &[usize::MAX], &limits);
                prop_assert_eq!(&arrive_in_pieces(&stream, &pieces, &limits), &whole);
            }
        }

        #[test]
        fn words_that_went_in_come_out(words in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..300), 1..20)) {
            let request = array_form(&words);
            let mut spans = Vec::new();
            prop_assert_eq!(parse(&request, &Limits::OPEN, &mut spans), Parsed::Request { bytes: request.len() });
            prop_assert_eq!(Args::new(&request, &spans).iter_from(0).map(<[u8]>::to_vec).collect::<Vec<_>>(), words);
        }
    }
}

//! A client's bytes to a request, in place: arguments are positions in the receive buffer, never copies.

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

    /// The arguments from `index` on.
    pub fn iter_from(&self, index: usize) -> impl ExactSizeIterator<Item = &'a [u8]> + use<'a> {
        let bytes = self.bytes;
        self.spans[index.min(self.spans.len())..].iter().map(move |span| &bytes[span.start as usize..][..span.len as usize])
    }
}

/// What one request may weigh. Smaller before authentication.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Arguments, the name included.
    pub args_max: usize,
    /// Bytes of one argument.
    pub bulk_bytes_max: usize,
    /// Bytes of an inline command, and of any header line.
    pub line_bytes_max: usize,
}

impl Limits {
    /// For clients that are known.
    pub const OPEN: Limits = Limits { args_max: 1024 * 1024, bulk_bytes_max: 512 * 1024 * 1024, line_bytes_max: 64 * 1024 };
    /// For clients that have not authenticated yet, as Redis has them.
    pub const UNAUTHENTICATED: Limits = Limits { args_max: 10, bulk_bytes_max: 16 * 1024, line_bytes_max: 64 * 1024 };
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
    /// A line without an end.
    LineTooLong,
    /// Quotes of an inline command that do not match.
    Quotes,
    /// A line of HTTP: somebody is using a browser to reach us. Close without an answer.
    CrossProtocol,
}

/// Parses the request at the start of `bytes`. Appends its arguments to `spans`. No allocation, except for inline commands.
pub fn parse(bytes: &[u8], limits: &Limits, spans: &mut Vec<Span>) -> Parsed {
    let appended_from = spans.len();
    let mut partial = Partial::default();
    match partial.advance(bytes, limits) {
        Parsed::Request { bytes } => {
            spans.truncate(appended_from);
            spans.extend_from_slice(&partial.spans);
            Parsed::Request { bytes }
        }
        other => other,
    }
}

/// A request of which only the beginning has arrived. Remembers how far it was understood, so that a request that comes in
/// many pieces is read once, and nothing is allocated on a length that was only declared.
#[derive(Debug, Default)]
pub struct Partial {
    /// The arguments found so far, relative to the request's first byte; all of them once [`Parsed::Request`] is returned.
    pub spans: Vec<Span>,
    /// Bytes understood so far.
    at: usize,
    /// Arguments still to come; `None` before the array header was read.
    missing: Option<usize>,
}

impl Partial {
    /// Goes on with all bytes of the request that have arrived, from its first one.
    pub fn advance(&mut self, bytes: &[u8], limits: &Limits) -> Parsed {
        let line = |from: usize| memchr::memchr(b'\n', &bytes[from..]).map(|end| &bytes[from..from + end + 1]);
        let number =
            |line: &[u8]| std::str::from_utf8(line.strip_suffix(b"\r\n").unwrap_or(b"?")).ok().and_then(|text| text.parse::<i64>().ok());
        if self.missing.is_none() {
            let Some(header) = line(0) else { return Parsed::Incomplete };
            if header[0] != b'*' {
                let mut request = Vec::new();
                let words: Vec<&[u8]> = header.trim_ascii().split(|byte| *byte == b' ').filter(|word| !word.is_empty()).collect();
                request.extend_from_slice(format!("*{}\r\n", words.len()).as_bytes());
                for word in words {
                    request.extend_from_slice(format!("${}\r\n", word.len()).as_bytes());
                    request.extend_from_slice(word);
                    request.extend_from_slice(b"\r\n");
                }
                return Parsed::Inline { bytes: header.len(), request };
            }
            let Some(count) = number(&header[1..]).filter(|count| *count <= limits.args_max as i64) else {
                return Parsed::Malformed(Malformed::ArgCount);
            };
            if count <= 0 {
                return Parsed::Nothing { bytes: header.len() };
            }
            self.missing = Some(count as usize);
            self.at = header.len();
        }
        while self.missing != Some(0) {
            let Some(header) = line(self.at) else { return Parsed::Incomplete };
            if header[0] != b'$' {
                return Parsed::Malformed(Malformed::NotBulk { found: header[0] });
            }
            let Some(len) = number(&header[1..]).filter(|len| (0..=limits.bulk_bytes_max as i64).contains(len)) else {
                return Parsed::Malformed(Malformed::BulkLength);
            };
            let start = self.at + header.len();
            let end = start + len as usize;
            if bytes.len() < end + 2 {
                return Parsed::Incomplete;
            }
            self.spans.push(Span { start: start as u32, len: len as u32 });
            self.at = end + 2;
            self.missing = self.missing.map(|missing| missing - 1);
        }
        Parsed::Request { bytes: self.at }
    }
}

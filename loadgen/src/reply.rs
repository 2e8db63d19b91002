//! Replies, read in place: RESP2 and RESP3, and memcached's text protocol.
//!
//! A parser looks at the bytes that are there and says either where the first reply ends, or how many bytes must be there
//! before asking again makes sense. It copies nothing, allocates nothing and recurses nowhere, so a deep or endless reply
//! costs the peer that sent it and nobody else.

/// Longest reply read: one string of the largest size, and its frame.
pub(crate) const REPLY_BYTES_MAX: usize = crate::workload::VALUE_BYTES_MAX + (64 << 10);
/// Longest first line of a reply: numbers, statuses and error texts.
const LINE_BYTES_MAX: usize = 64 << 10;
/// Most elements of one reply, nested ones included.
const ELEMENTS_MAX: u64 = 16 << 20;

/// What kind of answer came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answer<'a> {
    /// `+OK`, `STORED`, a number, true, a double: it worked, nothing to look at.
    Done,
    /// A number.
    Number(i64),
    /// A value: the payload.
    Value(&'a [u8]),
    /// Nothing there: null, `END` without a value, `NOT_FOUND`.
    Missing,
    /// Several answers: the bytes of the whole reply, to be walked with [`values`].
    Many(&'a [u8]),
    /// The target refused: its text.
    Refused(&'a [u8]),
    /// RESP3 push: not an answer to anything.
    Push,
}

/// One whole reply and its length on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Reply<'a> {
    /// What was answered.
    pub(crate) answer: Answer<'a>,
    /// Bytes it took, the next reply begins there.
    pub(crate) bytes: usize,
}

/// A reply that is not all there yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Partial {
    /// It makes no sense to ask again with fewer bytes than this. Always above the length looked at.
    pub(crate) bytes_min: usize,
}

/// Why these bytes are no reply. The peer's doing: the connection is closed and counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Malformed {
    /// The first byte of a RESP reply names no type.
    TypeUnknown {
        /// That byte.
        byte: u8,
    },
    /// A length or a number that is none.
    NumberBad,
    /// A line without an end in sight.
    LineOverMax,
    /// A string or a count of elements over what any server sends.
    LengthOverMax,
    /// A payload that does not end where its length says.
    EndMissing,
    /// A memcached line that means nothing.
    LineUnknown,
    /// A reply too many: the stream is out of step.
    Unasked,
}

impl std::fmt::Display for Malformed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Malformed::TypeUnknown { byte } => write!(f, "a reply began with byte 0x{byte:02x}, which is no RESP type"),
            Malformed::NumberBad => write!(f, "a length or number in a reply is none"),
            Malformed::LineOverMax => write!(f, "a line of a reply is longer than {LINE_BYTES_MAX} bytes"),
            Malformed::LengthOverMax => write!(f, "a reply is longer than this tool reads"),
            Malformed::EndMissing => write!(f, "a payload does not end where its length says"),
            Malformed::LineUnknown => write!(f, "a line of a reply is none of memcached's"),
            Malformed::Unasked => write!(f, "a reply came that nobody asked for"),
        }
    }
}

/// The first reply in `bytes`, if it is all there.
pub(crate) type Parsed<'a> = Result<Result<Reply<'a>, Partial>, Malformed>;

/// Reads the first RESP reply of `bytes`.
#[inline]
pub(crate) fn resp(bytes: &[u8]) -> Parsed<'_> {
    // The three replies that make up nearly every run, without the general walk.
    if let Some(b'$') = bytes.first()
        && let Some((length, at)) = short_length(bytes)
    {
        let end = at + length + 2;
        if bytes.len() < end {
            return Ok(Err(Partial { bytes_min: end }));
        }
        if bytes[end - 2..end] != *b"\r\n" {
            return Err(Malformed::EndMissing);
        }
        return Ok(Ok(Reply { answer: Answer::Value(&bytes[at..at + length]), bytes: end }));
    }
    if bytes.len() >= 5 && bytes[..5] == *b"+OK\r\n" {
        return Ok(Ok(Reply { answer: Answer::Done, bytes: 5 }));
    }
    resp_any(bytes)
}

/// Every value in a reply of several, in order; `None` for a missing one. Other answers are skipped.
pub(crate) fn values(bytes: &[u8], mut each: impl FnMut(usize, Option<&[u8]>)) {
    let mut index = 0;
    let mut at = match line(bytes, 0) {
        Ok(Ok((_, next))) => next,
        _ => return,
    };
    while at < bytes.len() {
        let Ok(Ok(reply)) = resp(&bytes[at..]) else { return };
        match reply.answer {
            Answer::Value(value) => each(index, Some(value)),
            _ => each(index, None),
        }
        index += 1;
        at += reply.bytes;
    }
}

fn resp_any(bytes: &[u8]) -> Parsed<'_> {
    let mut at = 0;
    // Elements still to come; nesting only ever adds to it, because all that is asked is where the whole ends.
    let mut left: u64 = 1;
    let mut elements: u64 = 0;
    let mut first: Option<Answer<'_>> = None;
    while left > 0 {
        let Some(&kind) = bytes.get(at) else { return Ok(Err(Partial { bytes_min: at + 1 })) };
        let (text, body) = match line(bytes, at + 1)? {
            Ok(found) => found,
            Err(partial) => return Ok(Err(partial)),
        };
        left -= 1;
        let answer = match kind {
            b'+' | b',' | b'(' | b'#' => {
                at = body;
                Answer::Done
            }
            b'-' => {
                at = body;
                Answer::Refused(text)
            }
            b':' => {
                at = body;
                Answer::Number(signed(text)?)
            }
            b'_' => {
                at = body;
                Answer::Missing
            }
            b'$' | b'=' | b'!' => match signed(text)? {
                -1 => {
                    at = body;
                    Answer::Missing
                }
                length if (0..=REPLY_BYTES_MAX as i64).contains(&length) => {
                    let end = body + length as usize + 2;
                    if bytes.len() < end {
                        return Ok(Err(Partial { bytes_min: end }));
                    }
                    if bytes[end - 2..end] != *b"\r\n" {
                        return Err(Malformed::EndMissing);
                    }
                    at = end;
                    let payload = &bytes[body..end - 2];
                    if kind == b'!' { Answer::Refused(payload) } else { Answer::Value(payload) }
                }
                _ => return Err(Malformed::LengthOverMax),
            },
            b'*' | b'~' | b'%' | b'>' | b'|' => {
                at = body;
                match signed(text)? {
                    -1 => Answer::Missing,
                    count if (0..=ELEMENTS_MAX as i64).contains(&count) => {
                        let count = count as u64;
                        let more = match kind {
                            b'%' => count * 2,
                            // An attribute goes before the reply it describes: its pairs, and that reply itself.
                            b'|' => count * 2 + 1,
                            _ => count,
                        };
                        elements += more;
                        if elements > ELEMENTS_MAX {
                            return Err(Malformed::LengthOverMax);
                        }
                        left += more;
                        if kind == b'>' { Answer::Push } else { Answer::Many(bytes) }
                    }
                    _ => return Err(Malformed::LengthOverMax),
                }
            }
            byte => return Err(Malformed::TypeUnknown { byte }),
        };
        first.get_or_insert(answer);
    }
    let answer = match first.expect("one element at least") {
        Answer::Many(_) => Answer::Many(&bytes[..at]),
        answer => answer,
    };
    Ok(Ok(Reply { answer, bytes: at }))
}

/// The length after `$` and where its payload begins, for lengths below 10^7 that are all there.
#[inline]
fn short_length(bytes: &[u8]) -> Option<(usize, usize)> {
    let mut length = 0usize;
    let mut at = 1;
    while at < 8 {
        match *bytes.get(at)? {
            digit @ b'0'..=b'9' => length = length * 10 + usize::from(digit - b'0'),
            b'\r' if at > 1 && bytes.get(at + 1) == Some(&b'\n') => return Some((length, at + 2)),
            _ => return None,
        }
        at += 1;
    }
    None
}

/// The line from `at` without its end, and where the next begins.
fn line(bytes: &[u8], at: usize) -> Result<Result<(&[u8], usize), Partial>, Malformed> {
    let rest = &bytes[at.min(bytes.len())..];
    let window = &rest[..rest.len().min(LINE_BYTES_MAX)];
    match window.iter().position(|&byte| byte == b'\n') {
        Some(end) if end > 0 && window[end - 1] == b'\r' => Ok(Ok((&window[..end - 1], at + end + 1))),
        Some(_) => Err(Malformed::EndMissing),
        None if window.len() == LINE_BYTES_MAX => Err(Malformed::LineOverMax),
        None => Ok(Err(Partial { bytes_min: bytes.len().max(at) + 1 })),
    }
}

fn signed(text: &[u8]) -> Result<i64, Malformed> {
    std::str::from_utf8(text).ok().and_then(|text| text.parse().ok()).ok_or(Malformed::NumberBad)
}

/// Reads the first memcached text reply of `bytes`.
pub(crate) fn memcached(bytes: &[u8]) -> Parsed<'_> {
    let (text, mut at) = match line(bytes, 0)? {
        Ok(found) => found,
        Err(partial) => return Ok(Err(partial)),
    };
    let answer = match text {
        b"END" | b"NOT_FOUND" => Answer::Missing,
        b"STORED" | b"DELETED" | b"TOUCHED" | b"OK" | b"EXISTS" | b"NOT_STORED" => Answer::Done,
        _ if text.starts_with(b"VERSION ") || text.starts_with(b"STAT ") => Answer::Done,
        _ if text.starts_with(b"VALUE ") => {
            let mut value = None;
            let mut count = 0u64;
            let mut head = text;
            while head.starts_with(b"VALUE ") {
                let length = head.split(|&byte| byte == b' ').nth(3).ok_or(Malformed::NumberBad)?;
                let length = signed(length)?;
                if !(0..=REPLY_BYTES_MAX as i64).contains(&length) {
                    return Err(Malformed::LengthOverMax);
                }
                let end = at + length as usize + 2;
                if bytes.len() < end {
                    return Ok(Err(Partial { bytes_min: end }));
                }
                if bytes[end - 2..end] != *b"\r\n" {
                    return Err(Malformed::EndMissing);
                }
                value.get_or_insert(&bytes[at..end - 2]);
                count += 1;
                if count > ELEMENTS_MAX {
                    return Err(Malformed::LengthOverMax);
                }
                (head, at) = match line(bytes, end)? {
                    Ok(found) => found,
                    Err(partial) => return Ok(Err(partial)),
                };
            }
            if head != b"END" {
                return Err(Malformed::LineUnknown);
            }
            match value {
                Some(value) if count == 1 => Answer::Value(value),
                _ => Answer::Many(&bytes[..at]),
            }
        }
        _ if text == b"ERROR" || text.starts_with(b"CLIENT_ERROR") || text.starts_with(b"SERVER_ERROR") => Answer::Refused(text),
        _ if !text.is_empty() && text.iter().all(u8::is_ascii_digit) => Answer::Number(signed(text)?),
        _ => return Err(Malformed::LineUnknown),
    };
    Ok(Ok(Reply { answer, bytes: at }))
}

/// Every `(key, value)` in a memcached reply of several.
pub(crate) fn memcached_values(bytes: &[u8], mut each: impl FnMut(&[u8], &[u8])) {
    let mut at = 0;
    while let Ok(Ok((head, next))) = line(bytes, at) {
        let mut words = head.split(|&byte| byte == b' ');
        let (Some(b"VALUE"), Some(key), _, Some(length)) = (words.next(), words.next(), words.next(), words.next()) else {
            return;
        };
        let Ok(length) = signed(length) else { return };
        let end = next + length.max(0) as usize;
        if bytes.len() < end + 2 {
            return;
        }
        each(key, &bytes[next..end]);
        at = end + 2;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const RESP_CASES: &[(&[u8], &str)] = &[
        (b"+OK\r\n", "Done"),
        (b"+PONG\r\n", "Done"),
        (b"+\r\n", "Done"),
        (b"-ERR no\r\n", "Refused"),
        (b":-12\r\n", "Number(-12)"),
        (b"$5\r\nhello\r\n", "Value"),
        (b"$0\r\n\r\n", "Value([])"),
        (b"$-1\r\n", "Missing"),
        (b"$12\r\nab\r\ncd\r\nefgh\r\n", "Value"),
        (b"*-1\r\n", "Missing"),
        (b"*0\r\n", "Many"),
        (b"*3\r\n$1\r\na\r\n$-1\r\n:4\r\n", "Many"),
        (b"*2\r\n*2\r\n+a\r\n*0\r\n-x\r\n", "Many"),
        (b"_\r\n", "Missing"),
        (b"#t\r\n", "Done"),
        (b",3.14\r\n", "Done"),
        (b"(3492890328409238509324850943850943825024385\r\n", "Done"),
        (b"!5\r\nERR x\r\n", "Refused"),
        (b"=7\r\ntxt:abc\r\n", "Value"),
        (b"~2\r\n:1\r\n:2\r\n", "Many"),
        (b"%2\r\n+a\r\n:1\r\n+b\r\n*1\r\n:2\r\n", "Many"),
        (b">2\r\n+pubsub\r\n+x\r\n", "Push"),
        (b"|1\r\n+ttl\r\n:3\r\n$2\r\nhi\r\n", "Many"),
    ];

    const MEMCACHED_CASES: &[(&[u8], &str)] = &[
        (b"END\r\n", "Missing"),
        (b"STORED\r\n", "Done"),
        (b"NOT_FOUND\r\n", "Missing"),
        (b"VALUE k 0 5\r\nhello\r\nEND\r\n", "Value"),
        (b"VALUE k 0 9 77\r\nEND\r\nEND\r\r\nEND\r\n", "Value"),
        (b"VALUE a 0 1\r\nx\r\nVALUE b 0 2\r\nyz\r\nEND\r\n", "Many"),
        (b"42\r\n", "Number(42)"),
        (b"ERROR\r\n", "Refused"),
        (b"SERVER_ERROR out of memory storing object\r\n", "Refused"),
        (b"VERSION 1.6.18\r\n", "Done"),
    ];

    fn check(parse: fn(&[u8]) -> Parsed<'_>, cases: &[(&[u8], &str)]) {
        for &(bytes, expected) in cases {
            let shown = String::from_utf8_lossy(bytes);
            let reply = parse(bytes).unwrap().unwrap_or_else(|_| panic!("{shown:?} is whole"));
            assert_eq!(reply.bytes, bytes.len(), "{shown:?}");
            assert!(format!("{:?}", reply.answer).starts_with(expected), "{shown:?} gave {:?}", reply.answer);
            // Every byte split: a prefix is never taken for the whole, and asks for no more than there is to come.
            for cut in 0..bytes.len() {
                let partial = parse(&bytes[..cut]).unwrap().expect_err("a prefix is not a reply");
                assert!(partial.bytes_min > cut && partial.bytes_min <= bytes.len(), "{shown:?} cut at {cut}: {partial:?}");
            }
            // What follows is left alone.
            let mut more = bytes.to_vec();
            more.extend_from_slice(b"+NEXT\r\n");
            assert_eq!(parse(&more).unwrap().unwrap().bytes, bytes.len(), "{shown:?}");
        }
    }

    #[test]
    fn resp_replies_at_every_split() {
        check(resp, RESP_CASES);
    }

    #[test]
    fn memcached_replies_at_every_split() {
        check(memcached, MEMCACHED_CASES);
    }

    #[test]
    fn what_is_no_reply_is_refused() {
        for (bytes, why) in [
            (&b"hello\r\n"[..], Malformed::TypeUnknown { byte: b'h' }),
            (b"$x\r\n", Malformed::NumberBad),
            (b"$3\r\nabcde\r\n", Malformed::EndMissing),
            (b"$-7\r\n", Malformed::LengthOverMax),
            (b"$99999999999\r\n", Malformed::LengthOverMax),
            (b"*99999999999\r\n", Malformed::LengthOverMax),
            (b":1\n", Malformed::EndMissing),
        ] {
            assert_eq!(resp(bytes), Err(why), "{}", String::from_utf8_lossy(bytes));
        }
        assert_eq!(memcached(b"WHAT\r\n"), Err(Malformed::LineUnknown));
        assert_eq!(memcached(b"VALUE k 0 1\r\nx\r\nWHAT\r\n"), Err(Malformed::LineUnknown));
        assert_eq!(resp(&[b'+'; LINE_BYTES_MAX + 2]), Err(Malformed::LineOverMax));
    }

    #[test]
    fn nesting_costs_no_stack() {
        let mut deep = b"*1\r\n".repeat(1_000_000);
        deep.extend_from_slice(b":1\r\n");
        assert_eq!(resp(&deep).unwrap().unwrap().bytes, deep.len());
    }

    #[test]
    fn several_values_are_walked() {
        let mut seen = Vec::new();
        values(b"*3\r\n$1\r\na\r\n$-1\r\n$2\r\nbc\r\n", |index, value| seen.push((index, value.map(<[u8]>::to_vec))));
        assert_eq!(seen, [(0, Some(b"a".to_vec())), (1, None), (2, Some(b"bc".to_vec()))]);
        let mut seen = Vec::new();
        memcached_values(b"VALUE a 0 1\r\nx\r\nVALUE b 0 2\r\nyz\r\nEND\r\n", |key, value| {
            seen.push((key.to_vec(), value.to_vec()));
        });
        assert_eq!(seen, [(b"a".to_vec(), b"x".to_vec()), (b"b".to_vec(), b"yz".to_vec())]);
    }

    proptest! {
        #[test]
        fn any_bytes_are_answered_without_panic(bytes: Vec<u8>) {
            let _ = resp(&bytes);
            let _ = memcached(&bytes);
        }

        #[test]
        fn a_stream_cut_anywhere_gives_the_same_replies(
            picks in prop::collection::vec(0..RESP_CASES.len(), 1..12), cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..8),
        ) {
            let stream: Vec<u8> = picks.iter().flat_map(|&pick| RESP_CASES[pick].0.to_vec()).collect();
            let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(stream.len() + 1)).collect();
            cuts.push(stream.len());
            cuts.sort_unstable();
            let (mut lengths, mut start) = (Vec::new(), 0);
            for cut in cuts {
                while let Ok(reply) = resp(&stream[start..cut]).unwrap() {
                    lengths.push(reply.bytes);
                    start += reply.bytes;
                }
            }
            let expected: Vec<usize> = picks.iter().map(|&pick| RESP_CASES[pick].0.len()).collect();
            prop_assert_eq!(lengths, expected);
        }
    }
}

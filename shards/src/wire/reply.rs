//! Replies to bytes, appended to the connection's output.
//!
//! Every method appends one whole reply, or the header of one whose parts follow. Nothing is allocated but the output's own
//! growth. What a dialect lacks is written as its documented substitute, so that commands need not ask which one it is.

use crate::number::{self, Digits};
use memchr::memchr2;

/// Which dialect a client speaks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Proto {
    /// What every client starts with.
    #[default]
    Resp2,
    /// After `HELLO 3`.
    Resp3,
}

/// Writes one reply.
pub struct Reply<'a> {
    out: &'a mut Vec<u8>,
    proto: Proto,
}

impl<'a> Reply<'a> {
    /// A reply that will be appended to `out`.
    #[inline]
    pub fn new(out: &'a mut Vec<u8>, proto: Proto) -> Reply<'a> {
        Reply { out, proto }
    }

    /// The dialect.
    #[inline]
    pub fn proto(&self) -> Proto {
        self.proto
    }

    /// `+OK`.
    #[inline]
    pub fn ok(&mut self) {
        self.out.extend_from_slice(b"+OK\r\n");
    }

    /// A status such as `PONG`. Must not hold a line end.
    #[inline]
    pub fn status(&mut self, text: &str) {
        debug_assert!(memchr2(b'\r', b'\n', text.as_bytes()).is_none());
        self.line(b'+', text.as_bytes());
    }

    /// An error, its code first: `ERR syntax error`. Line ends in `text` become spaces.
    #[inline]
    pub fn error(&mut self, text: &str) {
        self.error_bytes(text.as_bytes());
    }

    /// An error that repeats what a client sent, which need not be text. Line ends become spaces.
    #[cold]
    pub fn error_bytes(&mut self, text: &[u8]) {
        self.out.reserve(text.len() + 3);
        self.out.push(b'-');
        let from = self.out.len();
        self.out.extend_from_slice(text);
        for byte in &mut self.out[from..] {
            if matches!(byte, b'\r' | b'\n') {
                *byte = b' ';
            }
        }
        self.out.extend_from_slice(b"\r\n");
    }

    /// An error whose text is known to hold no line end.
    #[inline]
    pub fn error_static(&mut self, text: &'static str) {
        debug_assert!(memchr2(b'\r', b'\n', text.as_bytes()).is_none());
        self.line(b'-', text.as_bytes());
    }

    /// A whole number.
    #[inline]
    pub fn integer(&mut self, value: i64) {
        // Most are a count or a yes or no.
        if (0..10).contains(&value) {
            self.out.extend_from_slice(&[b':', b'0' + value as u8, b'\r', b'\n']);
        } else {
            self.integer_of_any_length(value);
        }
    }

    /// Bytes.
    #[inline]
    pub fn bulk(&mut self, bytes: &[u8]) {
        const FRAME_BYTES_MAX: usize = 32;
        self.out.reserve(bytes.len() + FRAME_BYTES_MAX);
        self.length(b'$', bytes.len());
        self.out.extend_from_slice(bytes);
        self.out.extend_from_slice(b"\r\n");
    }

    /// A whole number as bytes, which is how `GET` answers a counter.
    #[inline]
    pub fn bulk_integer(&mut self, value: i64) {
        self.bulk(Digits::of_i64(value).as_bytes());
    }

    /// Nothing there: `$-1` or `_`.
    #[inline]
    pub fn null(&mut self) {
        match self.proto {
            Proto::Resp2 => self.out.extend_from_slice(b"$-1\r\n"),
            Proto::Resp3 => self.out.extend_from_slice(b"_\r\n"),
        }
    }

    /// No array there: `*-1` or `_`.
    #[inline]
    pub fn null_array(&mut self) {
        match self.proto {
            Proto::Resp2 => self.out.extend_from_slice(b"*-1\r\n"),
            Proto::Resp3 => self.out.extend_from_slice(b"_\r\n"),
        }
    }

    /// The header of an array; `count` replies follow.
    #[inline]
    pub fn array(&mut self, count: usize) {
        self.length(b'*', count);
    }

    /// The header of a map; `pairs` times two replies follow.
    pub fn map(&mut self, pairs: usize) {
        match self.proto {
            Proto::Resp2 => self.length(b'*', pairs * 2),
            Proto::Resp3 => self.length(b'%', pairs),
        }
    }

    /// The header of a set; `count` replies follow.
    pub fn set(&mut self, count: usize) {
        match self.proto {
            Proto::Resp2 => self.length(b'*', count),
            Proto::Resp3 => self.length(b'~', count),
        }
    }

    /// The header of a message that answers no request; `count` replies follow.
    pub fn push(&mut self, count: usize) {
        match self.proto {
            Proto::Resp2 => self.length(b'*', count),
            Proto::Resp3 => self.length(b'>', count),
        }
    }

    /// The header of notes on the reply that follows them; `pairs` times two replies, then the reply. RESP2 has no such
    /// thing: `false`, and nothing must be written.
    pub fn attribute(&mut self, pairs: usize) -> bool {
        match self.proto {
            Proto::Resp2 => false,
            Proto::Resp3 => {
                self.length(b'|', pairs);
                true
            }
        }
    }

    /// A fraction, in the shortest form that reads back the same.
    pub fn double(&mut self, value: f64) {
        match self.proto {
            Proto::Resp2 => {
                // The length stands in front of a text that is only known once it is written.
                let from = self.out.len();
                number::write_f64(self.out, value);
                let text_bytes = self.out.len() - from;
                self.length(b'$', text_bytes);
                self.out[from..].rotate_left(text_bytes);
                self.out.extend_from_slice(b"\r\n");
            }
            Proto::Resp3 => {
                self.out.push(b',');
                number::write_f64(self.out, value);
                self.out.extend_from_slice(b"\r\n");
            }
        }
    }

    /// A whole number of any size, in decimal.
    pub fn big_number(&mut self, digits: &str) {
        match self.proto {
            Proto::Resp2 => self.bulk(digits.as_bytes()),
            Proto::Resp3 => self.line(b'(', digits.as_bytes()),
        }
    }

    /// Yes or no: `1`/`0` or `#t`/`#f`.
    #[inline]
    pub fn boolean(&mut self, value: bool) {
        match self.proto {
            Proto::Resp2 => self.integer(i64::from(value)),
            Proto::Resp3 => self.out.extend_from_slice(if value { b"#t\r\n" } else { b"#f\r\n" }),
        }
    }

    /// Text for people, such as `INFO`: a bulk, or a verbatim string of format `txt`.
    pub fn verbatim(&mut self, text: &[u8]) {
        self.verbatim_as(*b"txt", text);
    }

    /// Text for people in a format of three letters: `txt`, `mkd`.
    pub fn verbatim_as(&mut self, format: [u8; 3], text: &[u8]) {
        match self.proto {
            Proto::Resp2 => self.bulk(text),
            Proto::Resp3 => {
                self.length(b'=', text.len() + 4);
                self.out.extend_from_slice(&format);
                self.out.push(b':');
                self.out.extend_from_slice(text);
                self.out.extend_from_slice(b"\r\n");
            }
        }
    }

    /// A reply that is already in this dialect's bytes.
    #[inline]
    pub fn raw(&mut self, bytes: &[u8]) {
        self.out.extend_from_slice(bytes);
    }

    #[inline(never)]
    fn integer_of_any_length(&mut self, value: i64) {
        if value < 0 {
            number::write_between(self.out, b":-", value.unsigned_abs(), b"\r\n");
        } else {
            number::write_between(self.out, b":", value as u64, b"\r\n");
        }
    }

    /// A header: a mark and a count. Arrays of fixed size compile to single stores, where a slice would be a call.
    #[inline]
    fn length(&mut self, kind: u8, count: usize) {
        let digit = |value: usize| b'0' + (value % 10) as u8;
        match count {
            0..10 => self.out.extend_from_slice(&[kind, digit(count), b'\r', b'\n']),
            10..100 => self.out.extend_from_slice(&[kind, digit(count / 10), digit(count), b'\r', b'\n']),
            100..1000 => self.out.extend_from_slice(&[kind, digit(count / 100), digit(count / 10), digit(count), b'\r', b'\n']),
            _ => self.length_of_any_length(kind, count),
        }
    }

    #[inline(never)]
    fn length_of_any_length(&mut self, kind: u8, count: usize) {
        number::write_between(self.out, &[kind], count as u64, b"\r\n");
    }

    fn line(&mut self, kind: u8, text: &[u8]) {
        self.out.reserve(text.len() + 3);
        self.out.push(kind);
        self.out.extend_from_slice(text);
        self.out.extend_from_slice(b"\r\n");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What `write` writes in both dialects, line ends shown as `|`.
    #[track_caller]
    fn check(write: impl Fn(&mut Reply<'_>), resp2: &str, resp3: &str) {
        for (proto, expected) in [(Proto::Resp2, resp2), (Proto::Resp3, resp3)] {
            let mut out = Vec::new();
            write(&mut Reply::new(&mut out, proto));
            assert_eq!(String::from_utf8(out).unwrap().replace("\r\n", "|"), expected, "{proto:?}");
        }
    }

    #[test]
    fn every_reply_in_both_dialects() {
        check(|reply| reply.ok(), "+OK|", "+OK|");
        check(|reply| reply.status("PONG"), "+PONG|", "+PONG|");
        check(|reply| reply.error("ERR a\r\nb"), "-ERR a  b|", "-ERR a  b|");
        check(|reply| reply.error_static("ERR syntax error"), "-ERR syntax error|", "-ERR syntax error|");
        for (value, text) in
            [(0, "0"), (9, "9"), (10, "10"), (-1, "-1"), (i64::MAX, "9223372036854775807"), (i64::MIN, "-9223372036854775808")]
        {
            check(|reply| reply.integer(value), &format!(":{text}|"), &format!(":{text}|"));
            check(|reply| reply.bulk_integer(value), &format!("${}|{text}|", text.len()), &format!("${}|{text}|", text.len()));
        }
        for len in [0, 1, 9, 10, 99, 100, 999, 1000, 123_456] {
            let body = "x".repeat(len);
            check(|reply| reply.bulk(body.as_bytes()), &format!("${len}|{body}|"), &format!("${len}|{body}|"));
        }
        check(|reply| reply.null(), "$-1|", "_|");
        check(|reply| reply.null_array(), "*-1|", "_|");
        check(|reply| reply.array(12), "*12|", "*12|");
        check(|reply| reply.map(6), "*12|", "%6|");
        check(|reply| reply.set(3), "*3|", "~3|");
        check(|reply| reply.push(3), "*3|", ">3|");
        check(|reply| assert_eq!(reply.attribute(1), reply.proto() == Proto::Resp3), "", "|1|");
        check(|reply| reply.double(1.5), "$3|1.5|", ",1.5|");
        check(|reply| reply.double(f64::NEG_INFINITY), "$4|-inf|", ",-inf|");
        check(|reply| reply.big_number("12345678901234567890"), "$20|12345678901234567890|", "(12345678901234567890|");
        check(|reply| reply.boolean(true), ":1|", "#t|");
        check(|reply| reply.boolean(false), ":0|", "#f|");
        check(|reply| reply.verbatim(b"hello"), "$5|hello|", "=9|txt:hello|");
        check(|reply| reply.verbatim_as(*b"mkd", b"*a*"), "$3|*a*|", "=7|mkd:*a*|");
        check(|reply| reply.raw(b"+x\r\n"), "+x|", "+x|");
    }
}

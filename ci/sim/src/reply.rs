//! Replies as values, and values as one line of text.

use std::fmt;

/// One reply.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// `+OK` and the like.
    Status(String),
    /// An error, its code first.
    Error(String),
    /// A whole number.
    Integer(i64),
    /// Bytes.
    Bulk(Vec<u8>),
    /// Text for people, format first.
    Verbatim(Vec<u8>),
    /// No bulk, in RESP2.
    NullBulk,
    /// No array, in RESP2.
    NullArray,
    /// Nothing, in RESP3.
    Null,
    /// A fraction, as written.
    Double(String),
    /// Yes or no.
    Boolean(bool),
    /// A number of any size, as written.
    BigNumber(String),
    /// Values in order.
    Array(Vec<Value>),
    /// Values in no order.
    Set(Vec<Value>),
    /// What nobody asked for.
    Push(Vec<Value>),
    /// Keys and values in turn.
    Map(Vec<Value>),
}

/// The first value of `bytes` and its length; `None` while it is not all there.
///
/// # Panics
/// If the bytes are no reply: the server never sends such.
pub fn next_value(bytes: &[u8]) -> Option<(Value, usize)> {
    let end = bytes.windows(2).position(|pair| pair == b"\r\n")?;
    let line = std::str::from_utf8(&bytes[1..end]).unwrap_or_else(|_| panic!("a line that is no text: {}", bytes.escape_ascii()));
    let mut at = end + 2;
    let text = || line.to_owned();
    let number = || line.parse::<i64>().unwrap_or_else(|_| panic!("no number: {line}"));
    let value = match bytes[0] {
        b'+' => Value::Status(text()),
        b'-' => Value::Error(text()),
        b':' => Value::Integer(number()),
        b',' => Value::Double(text()),
        b'(' => Value::BigNumber(text()),
        b'#' => Value::Boolean(line == "t"),
        b'_' => Value::Null,
        b'$' | b'=' if number() < 0 => Value::NullBulk,
        kind @ (b'$' | b'=') => {
            let length = number() as usize;
            let body = bytes.get(at..at + length)?;
            assert!(bytes.get(at + length..at + length + 2)? == b"\r\n", "a bulk ends with a line end");
            at += length + 2;
            if kind == b'$' { Value::Bulk(body.to_vec()) } else { Value::Verbatim(body.to_vec()) }
        }
        b'*' if number() < 0 => Value::NullArray,
        kind @ (b'*' | b'~' | b'>' | b'%') => {
            let count = number() as usize * if kind == b'%' { 2 } else { 1 };
            let mut parts = Vec::new();
            for _ in 0..count {
                let (part, length) = next_value(&bytes[at..])?;
                parts.push(part);
                at += length;
            }
            match kind {
                b'*' => Value::Array(parts),
                b'~' => Value::Set(parts),
                b'>' => Value::Push(parts),
                _ => Value::Map(parts),
            }
        }
        _ => panic!("no reply begins like this: {}", bytes[..end].escape_ascii()),
    };
    Some((value, at))
}

impl Value {
    /// The text of a bulk, a status or a verbatim string.
    pub fn text(&self) -> String {
        match self {
            Value::Bulk(bytes) => String::from_utf8_lossy(bytes).into_owned(),
            Value::Verbatim(bytes) => String::from_utf8_lossy(&bytes[4..]).into_owned(),
            Value::Status(text) | Value::Error(text) => text.clone(),
            other => panic!("not a text: {other}"),
        }
    }

    /// The parts of an array, a set, a push or a map.
    pub fn parts(&self) -> &[Value] {
        match self {
            Value::Array(parts) | Value::Set(parts) | Value::Push(parts) | Value::Map(parts) => parts,
            other => panic!("not made of parts: {other}"),
        }
    }

    /// A whole number.
    pub fn integer(&self) -> i64 {
        match self {
            Value::Integer(number) => *number,
            other => panic!("not a number: {other}"),
        }
    }
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |f: &mut fmt::Formatter<'_>, open: &str, parts: &[Value], close: &str| {
            let words: Vec<String> = parts.iter().map(Value::to_string).collect();
            write!(f, "{open}{}{close}", words.join(" "))
        };
        match self {
            Value::Status(text) => write!(f, "+{text}"),
            Value::Error(text) => write!(f, "-{text}"),
            Value::Integer(number) => write!(f, ":{number}"),
            Value::Bulk(bytes) => write!(f, "\"{}\"", bytes.escape_ascii()),
            Value::Verbatim(bytes) => write!(f, "={}", bytes.escape_ascii()),
            Value::NullBulk => f.write_str("nil"),
            Value::NullArray => f.write_str("nil[]"),
            Value::Null => f.write_str("null"),
            Value::Double(text) => write!(f, ",{text}"),
            Value::BigNumber(text) => write!(f, "({text}"),
            Value::Boolean(value) => write!(f, "#{value}"),
            Value::Array(parts) => list(f, "[", parts, "]"),
            Value::Set(parts) => list(f, "~[", parts, "]"),
            Value::Push(parts) => list(f, ">[", parts, "]"),
            Value::Map(parts) => list(f, "{", parts, "}"),
        }
    }
}

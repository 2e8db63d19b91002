//! The files an export can write: RDB, one JSON object a line, CSV. And each of them read again, to count what it holds.
//!
//! Text stands as it is; a key, value or element that is not text makes all of a record base64, and the record says so.

use super::Trouble;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use clap::ValueEnum;
use serde::{Deserialize, Serialize, Serializer};
use shards::Kind;
use shards::rdb::{Item, Reader, Value, Writer};
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufRead, BufReader, BufWriter, Write};
use std::path::Path;

const BUFFER_BYTES: usize = 1024 * 1024;
const CSV_HEAD: &str = "db,key,value,expires_at_ms,encoding,type";

/// What an export writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Format {
    /// A dump that Redis and Valkey load.
    Rdb,
    /// One JSON object a line.
    Jsonl,
    /// Comma-separated values with a head, as in RFC 4180.
    Csv,
}

/// A record of JSON.
#[derive(Serialize)]
struct Record<'a> {
    db: u32,
    key: Cow<'a, str>,
    value: Shown<'a>,
    /// Unix time in milliseconds.
    expires_at_ms: Option<u64>,
    /// Of the key and of everything in the value.
    encoding: Encoding,
    #[serde(rename = "type")]
    kind: &'static str,
}

/// What is needed of a record to count it.
#[derive(Deserialize)]
struct Counted {
    db: u32,
}

/// How bytes are written as text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Encoding {
    /// As they are.
    Text,
    Base64,
}

impl Encoding {
    fn of(key: &[u8], value: &Value<'_>) -> Encoding {
        let is_text = |bytes: &[u8]| text(bytes).is_some();
        let all = is_text(key)
            && match value {
                Value::String(value) => is_text(value),
                Value::Collection(value) if value.kind() == Kind::SortedSet => value.scored().all(|(member, _)| is_text(member)),
                Value::Collection(value) => value.elements().all(is_text),
                Value::Other(_) => true,
            };
        if all { Encoding::Text } else { Encoding::Base64 }
    }

    fn put<'a>(self, bytes: &'a [u8]) -> Cow<'a, str> {
        match (self, text(bytes)) {
            (Encoding::Text, Some(text)) => text.into(),
            _ => STANDARD.encode(bytes).into(),
        }
    }

    fn name(self) -> &'static str {
        match self {
            Encoding::Text => "text",
            Encoding::Base64 => "base64",
        }
    }
}

/// A value as JSON: a string; an array of a list's or a set's; an object of a hash's; of a sorted set's, an array of pairs of a member
/// and its score, a number or, where JSON has none, `"inf"` and `"-inf"`.
struct Shown<'a> {
    value: &'a Value<'a>,
    encoding: Encoding,
}

impl Serialize for Shown<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let encoding = self.encoding;
        match self.value {
            Value::String(value) => serializer.serialize_str(&encoding.put(value)),
            Value::Collection(value) => match value.kind() {
                Kind::Hash => serializer.collect_map(value.pairs().map(|(field, value)| (encoding.put(field), encoding.put(value)))),
                Kind::SortedSet => serializer.collect_seq(value.scored().map(|(member, score)| (encoding.put(member), Score(score)))),
                Kind::List | Kind::Set | Kind::String => serializer.collect_seq(value.elements().map(|element| encoding.put(element))),
            },
            Value::Other(_) => serializer.serialize_none(),
        }
    }
}

struct Score(f64);

impl Serialize for Score {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            f64::INFINITY => serializer.serialize_str("inf"),
            f64::NEG_INFINITY => serializer.serialize_str("-inf"),
            score => serializer.serialize_f64(score),
        }
    }
}

impl<'a> Record<'a> {
    fn of(db: u32, key: &'a [u8], value: &'a Value<'a>, expires_at_ms: Option<u64>) -> Record<'a> {
        let encoding = Encoding::of(key, value);
        let kind = match value {
            Value::String(_) => "string",
            Value::Collection(value) => match value.kind() {
                Kind::List => "list",
                Kind::Set => "set",
                Kind::SortedSet => "zset",
                Kind::Hash => "hash",
                Kind::String => "string",
            },
            Value::Other(kind) => kind.name(),
        };
        Record { db, key: encoding.put(key), value: Shown { value, encoding }, expires_at_ms, encoding, kind }
    }

    /// A collection is one column of JSON.
    fn put_csv(&self, out: &mut impl Write) -> io::Result<()> {
        let expires_at_ms = self.expires_at_ms.map_or(String::new(), |at_ms| at_ms.to_string());
        let value = match self.value.value {
            Value::String(value) => self.encoding.put(value),
            _ => serde_json::to_string(&self.value)?.into(),
        };
        write!(out, "{},{},{},{expires_at_ms},{},{}\r\n", self.db, quoted(&self.key), quoted(&value), self.encoding.name(), self.kind)
    }
}

/// Text that programs and people can read: without control characters other than the ends of lines and tabs.
fn text(bytes: &[u8]) -> Option<&str> {
    std::str::from_utf8(bytes).ok().filter(|text| !text.chars().any(|char| char.is_control() && !"\r\n\t".contains(char)))
}

fn quoted(field: &str) -> Cow<'_, str> {
    if field.contains([',', '"', '\r', '\n']) { format!("\"{}\"", field.replace('"', "\"\"")).into() } else { field.into() }
}

/// A file being written.
pub(super) enum Sink {
    Rdb(Writer<File>),
    Jsonl(BufWriter<File>),
    Csv(BufWriter<File>),
}

impl Sink {
    pub(super) fn begin(format: Format, output: File) -> io::Result<Sink> {
        Ok(match format {
            Format::Rdb => {
                let mut writer = Writer::begin(output);
                writer.about("corewheel-ver", env!("CARGO_PKG_VERSION"))?;
                Sink::Rdb(writer)
            }
            Format::Jsonl => Sink::Jsonl(BufWriter::with_capacity(BUFFER_BYTES, output)),
            Format::Csv => {
                let mut output = BufWriter::with_capacity(BUFFER_BYTES, output);
                write!(output, "{CSV_HEAD}\r\n")?;
                Sink::Csv(output)
            }
        })
    }

    /// What follows belongs to this database, of about so many keys.
    pub(super) fn database(&mut self, db: u32, keys: u64) -> io::Result<()> {
        match self {
            Sink::Rdb(writer) => writer.database(db, keys, 0),
            Sink::Jsonl(_) | Sink::Csv(_) => Ok(()),
        }
    }

    pub(super) fn value(&mut self, db: u32, key: &[u8], value: &Value<'_>, expires_at_ms: Option<u64>) -> io::Result<()> {
        match self {
            Sink::Rdb(writer) => match value {
                Value::String(value) => writer.string(key, value, expires_at_ms),
                Value::Collection(value) => writer.collection(key, value, expires_at_ms),
                Value::Other(_) => Ok(()),
            },
            Sink::Jsonl(output) => {
                serde_json::to_writer(&mut *output, &Record::of(db, key, value, expires_at_ms))?;
                output.write_all(b"\n")
            }
            Sink::Csv(output) => Record::of(db, key, value, expires_at_ms).put_csv(output),
        }
    }

    /// Ends the file; nothing is held back any more.
    pub(super) fn end(self) -> io::Result<File> {
        match self {
            Sink::Rdb(writer) => writer.end(),
            Sink::Jsonl(output) | Sink::Csv(output) => output.into_inner().map_err(io::IntoInnerError::into_error),
        }
    }
}

/// How many keys of each database a written file holds.
pub(super) fn count_again(format: Format, path: &Path) -> Result<BTreeMap<u32, u64>, Trouble> {
    let failed = |error: &dyn std::fmt::Display| Trouble::new(format!("cannot read {} again: {error}", path.display()));
    let input = BufReader::with_capacity(BUFFER_BYTES, File::open(path).map_err(|error| failed(&error))?);
    let mut counts = BTreeMap::new();
    match format {
        Format::Rdb => {
            let mut reader = Reader::begin(input).map_err(|error| failed(&error))?;
            loop {
                match reader.next().map_err(|error| failed(&error))? {
                    Item::Key(entry) => *counts.entry(entry.db).or_default() += 1,
                    Item::End => break,
                    _ => {}
                }
            }
        }
        Format::Jsonl => {
            for line in input.lines() {
                let line = line.map_err(|error| failed(&error))?;
                let record: Counted = serde_json::from_str(&line).map_err(|error| failed(&error))?;
                *counts.entry(record.db).or_default() += 1;
            }
        }
        Format::Csv => count_csv(input, &mut counts).map_err(|error| failed(&error))?,
    }
    Ok(counts)
}

/// A line end within quotes does not end a record.
fn count_csv(mut input: impl BufRead, counts: &mut BTreeMap<u32, u64>) -> io::Result<()> {
    let (mut line, mut inside, mut head) = (Vec::new(), false, true);
    while input.read_until(b'\n', &mut line)? > 0 {
        if !inside && !std::mem::take(&mut head) {
            let db = line.split(|byte| *byte == b',').next().and_then(shards::number::parse_u64).and_then(|db| u32::try_from(db).ok());
            *counts.entry(db.ok_or(io::ErrorKind::InvalidData)?).or_default() += 1;
        }
        inside ^= line.iter().filter(|byte| **byte == b'"').count() % 2 == 1;
        line.clear();
    }
    if inside { Err(io::ErrorKind::UnexpectedEof.into()) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_of_text_and_of_anything_else() {
        let json = |key: &[u8], value: &[u8], at| serde_json::to_string(&Record::of(3, key, &Value::String(value), at)).unwrap();
        assert_eq!(
            json(b"k", "a\"\u{e9}\n".as_bytes(), None),
            "{\"db\":3,\"key\":\"k\",\"value\":\"a\\\"\u{e9}\\n\",\"expires_at_ms\":null,\"encoding\":\"text\",\"type\":\"string\"}"
        );
        assert_eq!(
            json(b"k", b"\xff", Some(5)),
            r#"{"db":3,"key":"aw==","value":"/w==","expires_at_ms":5,"encoding":"base64","type":"string"}"#
        );
        assert_eq!(json(b"k\0", b"", None), r#"{"db":3,"key":"awA=","value":"","expires_at_ms":null,"encoding":"base64","type":"string"}"#);
        let csv = |key: &[u8], value: &[u8], at| csv_of(key, &Value::String(value), at);
        assert_eq!(csv(b"k", b"v", None), "3,k,v,,text,string\r\n");
        assert_eq!(csv(b"a,b", b"say \"hi\"\r\nyou", Some(7)), "3,\"a,b\",\"say \"\"hi\"\"\r\nyou\",7,text,string\r\n");
        assert_eq!(csv(b"\x01", b"v", None), "3,AQ==,dg==,,base64,string\r\n");
    }

    fn csv_of(key: &[u8], value: &Value<'_>, at: Option<u64>) -> String {
        let mut out = Vec::new();
        Record::of(3, key, value, at).put_csv(&mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn records_of_collections() {
        let cases: [(&[u8], &str, &str); 5] = [
            (b"\x01\x02\x01a\xc0\x05", r#"["a","5"]"#, "text,list"),
            (b"\x02\x01\x01\xff", r#"["/w=="]"#, "base64,set"),
            (b"\x03\x03\x01a\x031.5\x01b\xfe\x01c\xff", r#"[["c","-inf"],["a",1.5],["b","inf"]]"#, "text,zset"),
            (b"\x04\x02\x01f\x01v\x01g\x00", r#"{"f":"v","g":""}"#, "text,hash"),
            (b"\x04\x01\x01f\x01\x00", r#"{"Zg==":"AA=="}"#, "base64,hash"),
        ];
        for (body, value, rest) in cases {
            let mut payload = [body, &9u16.to_le_bytes()].concat();
            payload.extend_from_slice(&shards::rdb::crc64(&payload).to_le_bytes());
            let decoded = shards::rdb::decode(&payload).unwrap();
            let (encoding, kind) = rest.split_once(',').unwrap();
            let key = if encoding == "text" { "k" } else { "aw==" };
            assert_eq!(
                serde_json::to_string(&Record::of(3, b"k", &decoded.value(), None)).unwrap(),
                format!(r#"{{"db":3,"key":"{key}","value":{value},"expires_at_ms":null,"encoding":"{encoding}","type":"{kind}"}}"#)
            );
            assert_eq!(csv_of(b"k", &decoded.value(), None), format!("3,{key},{},,{rest}\r\n", quoted(value)));
        }
    }

    #[test]
    fn records_are_counted_whatever_is_in_them() {
        let mut text = format!("{CSV_HEAD}\r\n").into_bytes();
        for (db, key) in [(0, "a"), (1, "a\nb"), (1, "\"\r\n\""), (1, ",")] {
            Record::of(db, key.as_bytes(), &Value::String(b"v"), None).put_csv(&mut text).unwrap();
        }
        let mut counts = BTreeMap::new();
        count_csv(&text[..], &mut counts).unwrap();
        assert_eq!(counts, BTreeMap::from([(0, 1), (1, 3)]));
        assert!(count_csv(&b"head\r\n0,\"cut"[..], &mut counts).is_err());
    }
}

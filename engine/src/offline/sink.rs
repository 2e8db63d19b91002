//! The files an export can write: RDB, one JSON object a line, CSV. And each of them read again, to count what it holds.
//!
//! Text stands as it is; a key or value that is not text makes both of a record base64, and the record says so.

use super::Trouble;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use clap::ValueEnum;
use serde::{Deserialize, Serialize};
use shards::rdb::{Item, Reader, Writer};
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufRead, BufReader, BufWriter, Write};
use std::path::Path;

const BUFFER_BYTES: usize = 1024 * 1024;
const CSV_HEAD: &str = "db,key,value,expires_at_ms,encoding";

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
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Record<'a> {
    db: u32,
    key: Cow<'a, str>,
    value: Cow<'a, str>,
    /// Unix time in milliseconds.
    expires_at_ms: Option<u64>,
    /// `text` or `base64`, of key and value.
    encoding: Cow<'a, str>,
}

impl<'a> Record<'a> {
    fn of(db: u32, key: &'a [u8], value: &'a [u8], expires_at_ms: Option<u64>) -> Record<'a> {
        match (text(key), text(value)) {
            (Some(key), Some(value)) => Record { db, key: key.into(), value: value.into(), expires_at_ms, encoding: "text".into() },
            _ => Record {
                db,
                key: STANDARD.encode(key).into(),
                value: STANDARD.encode(value).into(),
                expires_at_ms,
                encoding: "base64".into(),
            },
        }
    }

    fn put_csv(&self, out: &mut impl Write) -> io::Result<()> {
        let expires_at_ms = self.expires_at_ms.map_or(String::new(), |at_ms| at_ms.to_string());
        write!(out, "{},{},{},{expires_at_ms},{}\r\n", self.db, quoted(&self.key), quoted(&self.value), self.encoding)
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

    pub(super) fn string(&mut self, db: u32, key: &[u8], value: &[u8], expires_at_ms: Option<u64>) -> io::Result<()> {
        match self {
            Sink::Rdb(writer) => writer.string(key, value, expires_at_ms),
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
                let record: Record<'_> = serde_json::from_str(&line).map_err(|error| failed(&error))?;
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
        let json = |key: &[u8], value: &[u8], at| serde_json::to_string(&Record::of(3, key, value, at)).unwrap();
        assert_eq!(
            json(b"k", "a\"\u{e9}\n".as_bytes(), None),
            "{\"db\":3,\"key\":\"k\",\"value\":\"a\\\"\u{e9}\\n\",\"expires_at_ms\":null,\"encoding\":\"text\"}"
        );
        assert_eq!(json(b"k", b"\xff", Some(5)), r#"{"db":3,"key":"aw==","value":"/w==","expires_at_ms":5,"encoding":"base64"}"#);
        assert_eq!(json(b"k\0", b"", None), r#"{"db":3,"key":"awA=","value":"","expires_at_ms":null,"encoding":"base64"}"#);
        let csv = |key: &[u8], value: &[u8], at| {
            let mut out = Vec::new();
            Record::of(3, key, value, at).put_csv(&mut out).unwrap();
            String::from_utf8(out).unwrap()
        };
        assert_eq!(csv(b"k", b"v", None), "3,k,v,,text\r\n");
        assert_eq!(csv(b"a,b", b"say \"hi\"\r\nyou", Some(7)), "3,\"a,b\",\"say \"\"hi\"\"\r\nyou\",7,text\r\n");
        assert_eq!(csv(b"\x01", b"v", None), "3,AQ==,dg==,,base64\r\n");
    }

    #[test]
    fn records_are_counted_whatever_is_in_them() {
        let mut text = format!("{CSV_HEAD}\r\n").into_bytes();
        for (db, key) in [(0, "a"), (1, "a\nb"), (1, "\"\r\n\""), (1, ",")] {
            Record::of(db, key.as_bytes(), b"v", None).put_csv(&mut text).unwrap();
        }
        let mut counts = BTreeMap::new();
        count_csv(&text[..], &mut counts).unwrap();
        assert_eq!(counts, BTreeMap::from([(0, 1), (1, 3)]));
        assert!(count_csv(&b"head\r\n0,\"cut"[..], &mut counts).is_err());
    }
}

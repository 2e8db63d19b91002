//! An RDB file on its way out, for Redis and Valkey to load: values with their deadlines.
//!
//! Version 9: strings and the plain forms of collections have been written alike since then, so that every server from Redis 5 on reads it. The caller sees to it
//! that no key is written twice into one database: Redis refuses to load such a file.

use super::collection::Collection;
use super::{VERSION_WRITTEN, crc64_append, encode_length, encode_text, encode_value, type_of};
use crate::record::Kind;
use std::io::{self, Write};

pub(super) const OPCODE_AUX: u8 = 250;
const OPCODE_RESIZE_DB: u8 = 251;
pub(super) const OPCODE_EXPIRE_MS: u8 = 252;
pub(super) const OPCODE_SELECT_DB: u8 = 254;
pub(super) const OPCODE_END: u8 = 255;

/// What is gathered before it is written.
const GATHERED_BYTES: usize = 256 * 1024;

/// Writes one file. Without [`Writer::end`] it is not whole, and whoever reads it can tell.
#[derive(Debug)]
pub struct Writer<W> {
    output: W,
    crc: u64,
    gathered: Vec<u8>,
}

impl<W: Write> Writer<W> {
    /// Begins a file. `output` needs no buffer.
    pub fn begin(output: W) -> Writer<W> {
        let mut gathered = Vec::with_capacity(GATHERED_BYTES);
        gathered.extend_from_slice(format!("REDIS{VERSION_WRITTEN:04}").as_bytes());
        Writer { output, crc: 0, gathered }
    }

    /// Says something about the file; readers pass over names that they do not know.
    pub fn about(&mut self, name: &str, value: &str) -> io::Result<()> {
        self.gathered.push(OPCODE_AUX);
        encode_text(name.as_bytes(), &mut self.gathered);
        encode_text(value.as_bytes(), &mut self.gathered);
        self.pass_on()
    }

    /// What follows belongs to database `db`, which has about so many `keys`, so many of them with a deadline.
    pub fn database(&mut self, db: u32, keys: u64, expires: u64) -> io::Result<()> {
        self.gathered.push(OPCODE_SELECT_DB);
        encode_length(db as usize, &mut self.gathered);
        self.gathered.push(OPCODE_RESIZE_DB);
        encode_length(keys as usize, &mut self.gathered);
        encode_length(expires as usize, &mut self.gathered);
        self.pass_on()
    }

    /// A key that holds a string, until `expires_at_ms` (Unix time in milliseconds) if it has a deadline.
    pub fn string(&mut self, key: &[u8], value: &[u8], expires_at_ms: Option<u64>) -> io::Result<()> {
        self.key(Kind::String, key, value, expires_at_ms)
    }

    /// A key that holds a collection.
    pub fn collection(&mut self, key: &[u8], value: &Collection<'_>, expires_at_ms: Option<u64>) -> io::Result<()> {
        self.key(value.kind(), key, value.packed(), expires_at_ms)
    }

    fn key(&mut self, kind: Kind, key: &[u8], value: &[u8], expires_at_ms: Option<u64>) -> io::Result<()> {
        if let Some(at_ms) = expires_at_ms {
            self.gathered.push(OPCODE_EXPIRE_MS);
            self.gathered.extend_from_slice(&at_ms.to_le_bytes());
        }
        self.gathered.push(type_of(kind));
        encode_text(key, &mut self.gathered);
        encode_value(kind, value, encode_text, &mut self.gathered);
        self.pass_on()
    }

    /// Ends the file with its checksum and gives the output back. What the output holds back is the caller's to flush and sync.
    pub fn end(mut self) -> io::Result<W> {
        self.gathered.push(OPCODE_END);
        self.crc = crc64_append(self.crc, &self.gathered);
        self.gathered.extend_from_slice(&self.crc.to_le_bytes());
        self.output.write_all(&self.gathered)?;
        Ok(self.output)
    }

    fn pass_on(&mut self) -> io::Result<()> {
        if self.gathered.len() < GATHERED_BYTES {
            return Ok(());
        }
        self.crc = crc64_append(self.crc, &self.gathered);
        self.output.write_all(&self.gathered)?;
        self.gathered.clear();
        self.gathered.shrink_to(2 * GATHERED_BYTES);
        Ok(())
    }
}

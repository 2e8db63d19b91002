//! An RDB file on its way in: what it holds, one thing after the other, to its checksum.
//!
//! Reads what Redis 2.6 to 7.4 (versions 5 to 12) and Valkey 9 (version 80) write: dumps, what a master sends to a replica, and the
//! preamble of an append-only file. Strings and collections come whole; other kinds of value are passed over and named. Memory follows the
//! longest value that came, up to a bound, never what the file claims. The reader stops exactly behind the file's last byte.

use super::TYPE_STRING;
use super::collection::{self, Collection, Read};
use super::source::{KEPT_BYTES_MAX, ReadError, Source};
use super::structure::{Family, OtherKind, skip_module_data, skip_value};
use std::io::BufRead;

/// One thing in a file, borrowed until the next is asked for.
#[derive(Debug, PartialEq, Eq)]
pub enum Item<'a> {
    /// Something that the writer says of the file: its version, when it was written.
    About {
        /// What is said.
        name: &'a [u8],
        /// What it is.
        value: &'a [u8],
    },
    /// How many keys database `db` has, and how many of them have a deadline. A hint: nothing proves it.
    Sizes {
        /// The database.
        db: u32,
        /// Its keys.
        keys: u64,
        /// Those that expire.
        expires: u64,
    },
    /// A key and what it holds.
    Key(Entry<'a>),
    /// A library of functions, passed over.
    Functions,
    /// A module's data that belongs to no key, passed over.
    ModuleData,
    /// The file is whole, and its checksum is right or was left out by its writer.
    End,
}

/// A key of a file.
#[derive(Debug, PartialEq, Eq)]
pub struct Entry<'a> {
    /// Its database.
    pub db: u32,
    /// Its bytes; empty where they are more than 512 MiB, and then the value is [`Value::Other`].
    pub key: &'a [u8],
    /// What it holds.
    pub value: Value<'a>,
    /// When it expires, as Unix time in milliseconds.
    pub expires_at_ms: Option<u64>,
}

/// What a key holds.
#[derive(Debug, PartialEq, Eq)]
pub enum Value<'a> {
    /// A string.
    String(&'a [u8]),
    /// A list, a set, a sorted set or a hash.
    Collection(Collection<'a>),
    /// Something else, passed over.
    Other(OtherKind),
}

/// A place between two items, from which a reader can go on later.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position {
    /// Bytes from the file's start.
    pub at: u64,
    /// The checksum of all bytes before.
    pub crc: u64,
    /// The database of the keys that follow.
    pub db: u32,
    /// The file's version; Valkey's is 80.
    pub version: u16,
}

/// The oldest version that has a checksum.
const VERSION_REDIS_MIN: u16 = 5;
const MAGIC_BYTES: usize = 9;

const OPCODE_SLOT_IMPORT: u8 = 243;
const OPCODE_SLOT_INFO: u8 = 244;
const OPCODE_FUNCTION: u8 = 245;
const OPCODE_FUNCTION_EARLY: u8 = 246;
const OPCODE_MODULE_AUX: u8 = 247;
const OPCODE_IDLE: u8 = 248;
const OPCODE_FREQUENCY: u8 = 249;
const OPCODE_AUX: u8 = 250;
const OPCODE_RESIZE_DB: u8 = 251;
const OPCODE_EXPIRE_MS: u8 = 252;
const OPCODE_EXPIRE: u8 = 253;
const OPCODE_SELECT_DB: u8 = 254;
const OPCODE_END: u8 = 255;

/// Reads one file.
pub struct Reader<R> {
    source: Source<R>,
    family: Family,
    version: u16,
    db: u32,
    /// Of the key that follows.
    expires_at_ms: Option<u64>,
    ended: bool,
    name: Vec<u8>,
    text: Vec<u8>,
    packed: Vec<u8>,
}

impl<R: BufRead> Reader<R> {
    /// Begins with the first byte of a file.
    pub fn begin(input: R) -> Result<Reader<R>, ReadError> {
        let mut source = Source::new(input, 0, 0);
        let magic = source.array::<MAGIC_BYTES>().map_err(|error| match error {
            ReadError::Ended { .. } => ReadError::NotRdb,
            other => other,
        })?;
        let (family, digits) = match (magic.strip_prefix(b"REDIS"), magic.strip_prefix(b"VALKEY")) {
            (Some(digits), _) => (Family::Redis, digits),
            (_, Some(digits)) => (Family::Valkey, digits),
            _ => return Err(ReadError::NotRdb),
        };
        if !digits.iter().all(u8::is_ascii_digit) {
            return Err(ReadError::NotRdb);
        }
        let version = digits.iter().fold(0, |number, digit| number * 10 + u16::from(digit - b'0'));
        let known = match family {
            Family::Redis => (VERSION_REDIS_MIN..=super::VERSION_REDIS_MAX).contains(&version),
            Family::Valkey => version == super::VERSION_VALKEY,
        };
        if !known {
            return Err(ReadError::Version { family: family.name(), version });
        }
        Ok(Reader::at(source, family, version, 0))
    }

    /// Goes on from `position`, to which `input` has been moved.
    pub fn resume(input: R, position: Position) -> Reader<R> {
        let family = if position.version == super::VERSION_VALKEY { Family::Valkey } else { Family::Redis };
        Reader::at(Source::new(input, position.at, position.crc), family, position.version, position.db)
    }

    fn at(source: Source<R>, family: Family, version: u16, db: u32) -> Reader<R> {
        Reader { source, family, version, db, expires_at_ms: None, ended: false, name: Vec::new(), text: Vec::new(), packed: Vec::new() }
    }

    /// Where the next item begins.
    pub fn position(&self) -> Position {
        Position { at: self.source.at, crc: self.source.crc, db: self.db, version: self.version }
    }

    /// Whether [`Item::End`] was given.
    pub fn has_ended(&self) -> bool {
        self.ended
    }

    /// What stands behind the file.
    pub fn into_input(self) -> R {
        self.source.input
    }

    /// The next item. After [`Item::End`] it is given again. After an error there is nothing to be had.
    #[expect(clippy::should_implement_trait, reason = "an item borrows from the reader")]
    pub fn next(&mut self) -> Result<Item<'_>, ReadError> {
        if self.ended {
            return Ok(Item::End);
        }
        self.name.shrink_to(KEPT_BYTES_MAX);
        self.text.shrink_to(KEPT_BYTES_MAX);
        self.packed = Vec::new();
        loop {
            match self.source.byte()? {
                OPCODE_SELECT_DB => self.db = self.database()?,
                OPCODE_EXPIRE_MS => {
                    let at_ms = i64::from_le_bytes(self.source.array()?);
                    self.expires_at_ms = Some(u64::try_from(at_ms).unwrap_or(0));
                }
                OPCODE_EXPIRE => {
                    let at = i32::from_le_bytes(self.source.array()?);
                    self.expires_at_ms = Some(u64::try_from(at).unwrap_or(0) * 1000);
                }
                // How often and how long ago it was used starts anew.
                OPCODE_FREQUENCY => self.source.skip(1)?,
                OPCODE_IDLE => self.source.length().map(drop)?,
                OPCODE_SLOT_INFO => self.lengths(3)?,
                OPCODE_SLOT_IMPORT if self.family == Family::Valkey => {
                    self.source.skip_string()?;
                    for _ in 0..self.source.length()? {
                        self.lengths(2)?;
                    }
                }
                OPCODE_RESIZE_DB => {
                    let (keys, expires) = (self.source.length()?, self.source.length()?);
                    return Ok(Item::Sizes { db: self.db, keys, expires });
                }
                OPCODE_AUX => return self.about(),
                OPCODE_FUNCTION => return self.source.skip_string().map(|()| Item::Functions),
                OPCODE_FUNCTION_EARLY => return self.source.damaged("functions of a release candidate of Redis 7.0"),
                OPCODE_MODULE_AUX => {
                    // The module, and when in the file its data stands.
                    self.lengths(3)?;
                    return skip_module_data(&mut self.source).map(|()| Item::ModuleData);
                }
                OPCODE_END => return self.end(),
                kind => return self.key(kind),
            }
        }
    }

    fn lengths(&mut self, count: usize) -> Result<(), ReadError> {
        for _ in 0..count {
            self.source.length()?;
        }
        Ok(())
    }

    fn database(&mut self) -> Result<u32, ReadError> {
        let number = self.source.length()?;
        u32::try_from(number).or_else(|_| self.source.damaged("no database has this number"))
    }

    fn about(&mut self) -> Result<Item<'_>, ReadError> {
        if self.source.string(&mut self.name)? && self.source.string(&mut self.text)? {
            Ok(Item::About { name: &self.name, value: &self.text })
        } else {
            self.source.damaged("more than 512 MiB are said about the file")
        }
    }

    fn key(&mut self, kind: u8) -> Result<Item<'_>, ReadError> {
        let short = self.source.string(&mut self.name)?;
        let expires_at_ms = self.expires_at_ms.take();
        let value = match (kind, collection::form_of(kind)) {
            (TYPE_STRING, _) if self.source.string(&mut self.text)? && short => Value::String(&self.text),
            (TYPE_STRING, _) => Value::Other(OtherKind::LongString),
            (_, Some((kind, form))) => match collection::read(&mut self.source, kind, form, &mut self.text)? {
                _ if !short => Value::Other(OtherKind::LongString),
                Read::Empty => Value::Other(OtherKind::EmptyCollection),
                Read::TooLong => Value::Other(OtherKind::LongCollection),
                Read::Packed(packed) => {
                    self.packed = packed;
                    Value::Collection(Collection::trusted(kind, &self.packed))
                }
            },
            (_, None) => Value::Other(skip_value(&mut self.source, kind, self.family)?),
        };
        Ok(Item::Key(Entry { db: self.db, key: &self.name, value, expires_at_ms }))
    }

    fn end(&mut self) -> Result<Item<'_>, ReadError> {
        let counted = self.source.crc;
        let written = u64::from_le_bytes(self.source.array()?);
        // Zero: the writer was told to leave it out.
        if written != 0 && written != counted {
            return self.source.damaged("the checksum is not that of the bytes before it");
        }
        self.ended = true;
        Ok(Item::End)
    }
}

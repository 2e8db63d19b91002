//! The bytes of an RDB file on their way in: counted, summed, and taken as the lengths and strings that all else is made of.
//!
//! Nothing is reserved on the word of a length: memory follows the bytes that came. Whatever does not fit is an error with
//! its place.

use super::{
    ENCODED, ENCODED_I8, ENCODED_I16, ENCODED_I32, ENCODED_LZF, LEN_6_BIT, LEN_14_BIT, LEN_32_BIT, LEN_64_BIT, STRING_BYTES_MAX,
    crc64_append, lzf,
};
use crate::number::Digits;
use std::fmt;
use std::io::{self, BufRead};

/// Why a file cannot be read on.
#[derive(Debug)]
pub enum ReadError {
    /// The device or the peer failed.
    Input(io::Error),
    /// The bytes end inside of something.
    Ended {
        /// Bytes read so far.
        at: u64,
    },
    /// The bytes are not what they have to be.
    Damaged {
        /// Where, in bytes from the start.
        at: u64,
        /// What is wrong.
        what: &'static str,
    },
    /// Neither Redis nor Valkey begins a file like this.
    NotRdb,
    /// A version that is not read here.
    Version {
        /// `REDIS` or `VALKEY`.
        family: &'static str,
        /// The number in the file's first nine bytes.
        version: u16,
    },
}

impl fmt::Display for ReadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ReadError::Input(error) => write!(f, "cannot read on: {error}"),
            ReadError::Ended { at } => write!(f, "ends at byte {at} inside of something: it was cut"),
            ReadError::Damaged { at, what } => write!(f, "damaged at byte {at}: {what}"),
            ReadError::NotRdb => f.write_str("not an RDB file: it begins with neither REDIS nor VALKEY"),
            ReadError::Version { family, version } => {
                write!(f, "RDB version {version} of {family} is not read here; Redis' 5 to 12 and Valkey's 80 are")
            }
        }
    }
}

impl std::error::Error for ReadError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            ReadError::Input(error) => Some(error),
            _ => None,
        }
    }
}

/// What an RDB file is read from.
pub(super) struct Source<R> {
    pub(super) input: R,
    /// Bytes taken, from the file's start.
    pub(super) at: u64,
    /// The checksum of those bytes.
    pub(super) crc: u64,
    /// What was packed, before it is unpacked.
    packed: Vec<u8>,
}

/// The head of a string.
enum Head {
    Plain(u64),
    Encoded(u8),
}

impl<R: BufRead> Source<R> {
    pub(super) fn new(input: R, at: u64, crc: u64) -> Source<R> {
        Source { input, at, crc, packed: Vec::new() }
    }

    pub(super) fn damaged<T>(&self, what: &'static str) -> Result<T, ReadError> {
        Err(ReadError::Damaged { at: self.at, what })
    }

    /// Hands the next `count` bytes to `take`, in as many pieces as they come.
    fn pass(&mut self, mut count: u64, mut take: impl FnMut(&[u8])) -> Result<(), ReadError> {
        while count > 0 {
            let arrived = match self.input.fill_buf() {
                Ok([]) => return Err(ReadError::Ended { at: self.at }),
                Ok(arrived) => arrived,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(ReadError::Input(error)),
            };
            let piece = &arrived[..usize::try_from(count).map_or(arrived.len(), |count| count.min(arrived.len()))];
            self.crc = crc64_append(self.crc, piece);
            take(piece);
            let taken = piece.len();
            self.input.consume(taken);
            self.at += taken as u64;
            count -= taken as u64;
        }
        Ok(())
    }

    pub(super) fn skip(&mut self, count: u64) -> Result<(), ReadError> {
        self.pass(count, |_| {})
    }

    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N], ReadError> {
        let (mut bytes, mut filled) = ([0; N], 0);
        self.pass(N as u64, |piece| {
            bytes[filled..filled + piece.len()].copy_from_slice(piece);
            filled += piece.len();
        })?;
        Ok(bytes)
    }

    pub(super) fn byte(&mut self) -> Result<u8, ReadError> {
        self.array::<1>().map(|[byte]| byte)
    }

    fn head(&mut self) -> Result<Head, ReadError> {
        let first = self.byte()?;
        let low = u64::from(first & 0x3F);
        Ok(match first >> 6 {
            LEN_6_BIT => Head::Plain(low),
            LEN_14_BIT => Head::Plain(low << 8 | u64::from(self.byte()?)),
            ENCODED => Head::Encoded(first),
            _ if first == LEN_32_BIT => Head::Plain(u64::from(u32::from_be_bytes(self.array()?))),
            _ if first == LEN_64_BIT => Head::Plain(u64::from_be_bytes(self.array()?)),
            _ => return self.damaged("no length begins like this"),
        })
    }

    /// A length, which is also how counts and numbers are written.
    pub(super) fn length(&mut self) -> Result<u64, ReadError> {
        match self.head()? {
            Head::Plain(length) => Ok(length),
            Head::Encoded(_) => self.damaged("a length is wanted, an encoded string is there"),
        }
    }

    /// Puts the next string into `text`. False if it is longer than a string may be; then it was passed over.
    pub(super) fn string(&mut self, text: &mut Vec<u8>) -> Result<bool, ReadError> {
        const LONGEST: u64 = STRING_BYTES_MAX as u64;
        text.clear();
        let mut whole = |number: i64| text.extend_from_slice(Digits::of_i64(number).as_bytes());
        match self.head()? {
            Head::Encoded(ENCODED_I8) => whole(i64::from(i8::from_le_bytes(self.array()?))),
            Head::Encoded(ENCODED_I16) => whole(i64::from(i16::from_le_bytes(self.array()?))),
            Head::Encoded(ENCODED_I32) => whole(i64::from(i32::from_le_bytes(self.array()?))),
            Head::Encoded(ENCODED_LZF) => {
                let (packed_bytes, value_bytes) = (self.length()?, self.length()?);
                // Packing never makes longer: what claims so is damaged, or too long in any case.
                if value_bytes > LONGEST || packed_bytes > LONGEST {
                    return self.skip(packed_bytes).map(|()| false);
                }
                let mut packed = std::mem::take(&mut self.packed);
                packed.clear();
                self.pass(packed_bytes, |piece| packed.extend_from_slice(piece))?;
                let unpacked = lzf::unpack(&packed, value_bytes as usize);
                packed.shrink_to(KEPT_BYTES_MAX);
                self.packed = packed;
                let Some(unpacked) = unpacked else { return self.damaged("a packed string does not unpack") };
                *text = unpacked;
            }
            Head::Encoded(_) => return self.damaged("no string is encoded like this"),
            Head::Plain(length) if length > LONGEST => return self.skip(length).map(|()| false),
            Head::Plain(length) => self.pass(length, |piece| text.extend_from_slice(piece))?,
        }
        Ok(true)
    }

    /// Passes over a string.
    pub(super) fn skip_string(&mut self) -> Result<(), ReadError> {
        let bytes = match self.head()? {
            Head::Plain(length) => length,
            Head::Encoded(ENCODED_I8) => 1,
            Head::Encoded(ENCODED_I16) => 2,
            Head::Encoded(ENCODED_I32) => 4,
            Head::Encoded(ENCODED_LZF) => {
                let packed_bytes = self.length()?;
                self.length()?;
                packed_bytes
            }
            Head::Encoded(_) => return self.damaged("no string is encoded like this"),
        };
        self.skip(bytes)
    }
}

/// A buffer that one long string made larger than this is given back.
pub(super) const KEPT_BYTES_MAX: usize = 1024 * 1024;

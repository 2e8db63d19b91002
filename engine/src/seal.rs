//! How a frame's payload is stored, between what a core has to say and the frame around it.
//!
//! Raw bytes are compressed if that saves room, then encrypted if the file has a key; the frame's checksum is taken of what comes
//! out, so that files can be checked by whoever has no key. [`Seal`] does this for one file, [`Unseal`] undoes it.
//!
//! Encryption is AES-256-GCM (NIST SP 800-38D). Its nonce is the file's prefix, drawn by chance, and the frame's offset: a key
//! belongs to one file, and no offset of a file is sealed twice. The frame's header goes in as associated data: a payload opens
//! behind its own header only. Frames without a payload are stored as they are.

use crate::keys::Keys;
use lz4_flex::block::{CompressTable, compress_into_with_table, decompress_into, get_maximum_output_size};
use ring::aead::{Aad, LessSafeKey, NONCE_LEN, Nonce};
use shards::log::{FrameFlags, FrameHeader, FrameSpec, LogError, SegmentHeader, frame_bytes};
use std::fmt;
use std::str::FromStr;

/// Bytes that encryption adds to a payload: its tag.
const SEAL_BYTES_MAX: usize = 16;

/// Payloads shorter than this are not compressed: with the frame's header they take one or two blocks whatever is done.
const COMPRESS_BYTES_MIN: usize = 512;

/// Zstandard's own default is 3; 1 takes half its time for some percent more bytes.
const ZSTD_LEVEL: i32 = 1;

/// A buffer that is kept for the next frame.
const BUFFER_BYTES_KEPT: usize = 512 * 1024;

/// An LZ4 block is at most so many times smaller than what it says: one byte of length stands for 255.
const LZ4_RATIO_MAX: u64 = 256;

/// How frames are compressed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Compression {
    /// Not.
    #[default]
    None,
    /// LZ4: costs least.
    Lz4,
    /// Zstandard: saves most.
    Zstd,
}

impl Compression {
    const ALL: [(Compression, &'static str); 3] = [(Compression::None, "none"), (Compression::Lz4, "lz4"), (Compression::Zstd, "zstd")];
}

impl FromStr for Compression {
    type Err = String;

    fn from_str(text: &str) -> Result<Compression, String> {
        let found = Compression::ALL.iter().find(|(_, name)| name.eq_ignore_ascii_case(text));
        found.map(|(compression, _)| *compression).ok_or_else(|| "argument(s) must be one of the following: none, lz4, zstd".into())
    }
}

impl fmt::Display for Compression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (_, name) = Compression::ALL[*self as usize];
        f.write_str(name)
    }
}

/// What one file is encrypted with.
struct Lock {
    key: LessSafeKey,
    number: u32,
    nonce_prefix: u32,
}

impl Lock {
    fn of(header: &SegmentHeader, key: LessSafeKey) -> Lock {
        Lock { key, number: header.key_number, nonce_prefix: header.nonce_prefix }
    }

    fn nonce(&self, at: u64) -> Nonce {
        let mut nonce = [0; NONCE_LEN];
        nonce[..4].copy_from_slice(&self.nonce_prefix.to_le_bytes());
        nonce[4..].copy_from_slice(&at.to_le_bytes());
        Nonce::assume_unique_for_key(nonce)
    }
}

/// What compresses; kept from frame to frame because its tables cost more to make than a small frame to compress.
enum Compressor {
    None,
    Lz4(CompressTable),
    Zstd(Box<zstd::bulk::Compressor<'static>>),
}

impl Compressor {
    fn of(compression: Compression) -> Compressor {
        match compression {
            Compression::None => Compressor::None,
            Compression::Lz4 => Compressor::Lz4(CompressTable::default()),
            Compression::Zstd => {
                let compressor = zstd::bulk::Compressor::new(ZSTD_LEVEL).expect("a level that Zstandard has; else memory is at its end");
                Compressor::Zstd(Box::new(compressor))
            }
        }
    }

    fn is(&self, compression: Compression) -> bool {
        matches!(
            (self, compression),
            (Compressor::None, Compression::None) | (Compressor::Lz4(_), Compression::Lz4) | (Compressor::Zstd(_), Compression::Zstd)
        )
    }

    /// Compresses into the front of `out`; how many bytes, and what to call them. `None` if it did not come to anything.
    fn compress(&mut self, raw: &[u8], out: &mut Vec<u8>) -> Option<(usize, FrameFlags)> {
        if raw.len() < COMPRESS_BYTES_MIN {
            return None;
        }
        match self {
            Compressor::None => None,
            Compressor::Lz4(table) => {
                hold(out, get_maximum_output_size(raw.len()));
                Some((compress_into_with_table(raw, out, table).ok()?, FrameFlags::LZ4))
            }
            Compressor::Zstd(compressor) => {
                hold(out, zstd::zstd_safe::compress_bound(raw.len()));
                Some((compressor.compress_to_buffer(raw, &mut out[..]).ok()?, FrameFlags::ZSTD))
            }
        }
    }
}

/// Makes `buffer` at least so long. What is in it is of no interest.
fn hold(buffer: &mut Vec<u8>, bytes: usize) {
    if buffer.len() < bytes {
        buffer.resize(bytes, 0);
    }
}

/// Seals the frames of one file.
pub(crate) struct Seal {
    lock: Option<Lock>,
    compressor: Compressor,
    align_bytes: u32,
    /// No frame before this may be sealed any more.
    at_min: u64,
    stored: Vec<u8>,
}

impl Seal {
    /// For a new file with this header. `None` if the key it names is not there.
    pub(crate) fn of(header: &SegmentHeader, keys: &Keys) -> Option<Seal> {
        let lock = match header.key_number {
            0 => None,
            _ => Some(Lock::of(header, keys.of_file(header)?)),
        };
        Some(Seal { lock, compressor: Compressor::None, align_bytes: header.align_bytes, at_min: 0, stored: Vec::new() })
    }

    /// What is stored for `raw`, and says so in `spec`, which says everything else already. No longer than `raw` by more than
    /// a tag's length. With no compression and no key this is `raw` itself.
    ///
    /// # Panics
    /// If the file has a key and a frame there, or behind it, was sealed before: two payloads under one nonce would give both away.
    pub(crate) fn seal<'a>(&'a mut self, compression: Compression, spec: &mut FrameSpec, raw: &'a [u8]) -> &'a [u8] {
        if raw.is_empty() {
            return raw;
        }
        if !self.compressor.is(compression) {
            self.compressor = Compressor::of(compression);
        }
        if self.stored.capacity() > BUFFER_BYTES_KEPT {
            self.stored = Vec::new();
        }
        let whole = frame_bytes(self.bytes_max(raw.len()), self.align_bytes);
        let compressed = self.compressor.compress(raw, &mut self.stored);
        let compressed = compressed.filter(|(bytes, _)| frame_bytes(self.bytes_max(*bytes), self.align_bytes) < whole);
        let Seal { lock, align_bytes, at_min, stored, .. } = self;
        if let Some((_, how)) = compressed {
            spec.flags = spec.flags.with(how);
        }
        let Some(lock) = lock else {
            return compressed.map_or(raw, |(bytes, _)| &stored[..bytes]);
        };
        assert!(spec.at >= *at_min, "a place in a file was to be sealed twice");
        let bytes = compressed.map_or(raw.len(), |(bytes, _)| bytes);
        hold(stored, bytes + SEAL_BYTES_MAX);
        if compressed.is_none() {
            stored[..bytes].copy_from_slice(raw);
        }
        (spec.flags, spec.key_number) = (spec.flags.with(FrameFlags::ENCRYPTED), lock.number);
        *at_min = spec.at + frame_bytes(bytes + SEAL_BYTES_MAX, *align_bytes) as u64;
        let vouched = spec.vouched((bytes + SEAL_BYTES_MAX) as u32);
        let tag = lock.key.seal_in_place_separate_tag(lock.nonce(spec.at), Aad::from(vouched), &mut stored[..bytes]);
        let tag = tag.expect("frames are shorter than 4 GiB, the cipher takes 64");
        stored[bytes..bytes + SEAL_BYTES_MAX].copy_from_slice(tag.as_ref());
        &stored[..bytes + SEAL_BYTES_MAX]
    }

    /// The most that is stored for so many bytes.
    pub(crate) fn bytes_max(&self, raw_bytes: usize) -> usize {
        if self.lock.is_some() { raw_bytes + SEAL_BYTES_MAX } else { raw_bytes }
    }

    /// Bytes it holds.
    pub(crate) fn memory_bytes(&self) -> usize {
        self.stored.capacity()
    }
}

/// Why a payload whose checksum held could not be opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unopened {
    /// The key of this number is not the one it was sealed with.
    WrongKey(u32),
    /// It is not what [`Seal`] makes.
    Damaged(LogError),
}

impl Unopened {
    /// The same where it makes no difference which.
    pub(crate) fn into_error(self) -> LogError {
        match self {
            Unopened::Damaged(error) => error,
            Unopened::WrongKey(number) => LogError { place: 0, why: format!("key {number} is not the one it was written with").into() },
        }
    }
}

/// Opens the frames of one file.
pub struct Unseal {
    lock: Option<Lock>,
    zstd: Option<Box<zstd::bulk::Decompressor<'static>>>,
    opened: Vec<u8>,
    raw: Vec<u8>,
}

impl Unseal {
    /// For a file with this header. `None` if the key it names is not there.
    pub fn of(header: &SegmentHeader, keys: &Keys) -> Option<Unseal> {
        let lock = match header.key_number {
            0 => None,
            _ => Some(Lock::of(header, keys.of_file(header)?)),
        };
        Some(Unseal { lock, zstd: None, opened: Vec::new(), raw: Vec::new() })
    }

    /// The payload as it was before it was sealed.
    ///
    /// # Errors
    /// If this is not the key, or not the frame.
    pub fn open<'a>(&'a mut self, header: &FrameHeader, stored: &'a [u8]) -> Result<&'a [u8], Unopened> {
        let damaged = |why: &'static str| Err(Unopened::Damaged(LogError { place: header.at, why: why.into() }));
        if stored.is_empty() && header.flags.is_plain() {
            return Ok(stored);
        }
        let Unseal { lock, zstd, opened, raw } = self;
        for buffer in [&mut *opened, &mut *raw] {
            if buffer.capacity() > BUFFER_BYTES_KEPT {
                *buffer = Vec::new();
            }
        }
        let compressed = match lock {
            None if header.flags.have(FrameFlags::ENCRYPTED) => return damaged("an encrypted frame in a file that is not"),
            None => stored,
            Some(_) if !header.flags.have(FrameFlags::ENCRYPTED) => return damaged("a frame that is not encrypted in a file that is"),
            Some(lock) if lock.number != header.key_number => return damaged("a frame under another key than its file"),
            Some(lock) => {
                hold(opened, stored.len());
                let opened = &mut opened[..stored.len()];
                opened.copy_from_slice(stored);
                match lock.key.open_in_place(lock.nonce(header.at), Aad::from(header.vouched()), opened) {
                    Ok(opened) => &*opened,
                    Err(_) => return Err(Unopened::WrongKey(lock.number)),
                }
            }
        };
        let raw_bytes = header.raw_bytes as usize;
        let decompressed = if header.flags.have(FrameFlags::LZ4) {
            if u64::from(header.raw_bytes) > LZ4_RATIO_MAX * compressed.len() as u64 {
                return damaged("a frame that says it was longer than it can have been");
            }
            hold(raw, raw_bytes);
            let written = decompress_into(compressed, &mut raw[..raw_bytes]);
            written.ok().map(|bytes| &raw[..bytes])
        } else if header.flags.have(FrameFlags::ZSTD) {
            let zstd = zstd.get_or_insert_with(|| Box::new(zstd::bulk::Decompressor::new().expect("memory is not at its end")));
            raw.clear();
            // Not touched before something is written there, however long a frame says it was.
            if raw.try_reserve_exact(raw_bytes).is_err() {
                return damaged("a frame that was longer than memory has room for");
            }
            zstd.decompress_to_buffer(compressed, raw).ok().map(|_| &raw[..])
        } else {
            Some(compressed)
        };
        match decompressed {
            Some(raw) if raw.len() == raw_bytes => Ok(raw),
            _ => damaged("a compressed frame that cannot be decompressed, though its checksum holds"),
        }
    }
}

#[cfg(test)]
mod tests;

/// Whether the tag is what was reserved for it.
const _: () = assert!(SEAL_BYTES_MAX == ring::aead::MAX_TAG_LEN);

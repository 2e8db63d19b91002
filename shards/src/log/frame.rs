//! What one write puts into a file: a header of 64 bytes, the stored payload, zeros up to the file's alignment.
//!
//! A frame's checksum starts from its file's, covers the header behind it and the payload, and the header says where in
//! the file it belongs: so a frame that ended up in another place or another file is told from the one that belongs there.

use super::{FRAME_HEADER_BYTES, LogError, Lsn};
use rkyv::Portable;
use rkyv::bytecheck::CheckBytes;
use rkyv::rancor;
use rkyv::rend::unaligned::{u32_ule, u64_ule};

const MAGIC: [u8; 4] = *b"CWFR";

/// As it is stored.
#[derive(Portable, CheckBytes)]
#[bytecheck(crate = rkyv::bytecheck)]
#[repr(C)]
struct Stored {
    magic: [u8; 4],
    crc: u32_ule,
    stored_bytes: u32_ule,
    raw_bytes: u32_ule,
    at: u64_ule,
    first_lsn: u64_ule,
    synced_lsn: u64_ule,
    clock_ms: u64_ule,
    entry_count: u32_ule,
    flags: u32_ule,
    key_number: u32_ule,
    reserved: u32_ule,
}

/// What the checksum covers begins behind it.
const COVERED_AT: usize = 8;
const _: () = assert!(size_of::<Stored>() == FRAME_HEADER_BYTES && align_of::<Stored>() == 1);

/// What a frame is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FrameKind {
    /// Entries of a stream.
    Entries,
    /// No entries; says that what came before it is durable.
    Mark,
    /// No entries; the stream was closed in order.
    End,
    /// Entries that could not be read any more and were left out by a person's decision: they are counted, not there.
    Skipped,
    /// A block of a snapshot, a manifest or an opening.
    Block,
}

/// What a frame is for, and how its payload is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameFlags(u32);

impl FrameFlags {
    /// See [`FrameKind::Entries`].
    pub const ENTRIES: FrameFlags = FrameFlags(1);
    /// See [`FrameKind::Mark`].
    pub const MARK: FrameFlags = FrameFlags(2);
    /// See [`FrameKind::End`].
    pub const END: FrameFlags = FrameFlags(3);
    /// See [`FrameKind::Skipped`].
    pub const SKIPPED: FrameFlags = FrameFlags(4);
    /// See [`FrameKind::Block`].
    pub const BLOCK: FrameFlags = FrameFlags(5);

    /// The payload is an LZ4 block.
    pub const LZ4: FrameFlags = FrameFlags(0x10);
    /// The payload is a Zstandard frame.
    pub const ZSTD: FrameFlags = FrameFlags(0x20);
    /// The payload, compressed or not, is encrypted with AES-256-GCM, its tag behind it.
    pub const ENCRYPTED: FrameFlags = FrameFlags(0x40);

    /// Never written. Stands, once read, for a field in use that this version does not know.
    const NEWER: FrameFlags = FrameFlags(1 << 31);

    const KIND: u32 = 0xF;
    const KNOWN: u32 = FrameFlags::KIND | FrameFlags::LZ4.0 | FrameFlags::ZSTD.0 | FrameFlags::ENCRYPTED.0;

    /// What the frame is for; `None` if this version does not know it.
    pub fn kind(self) -> Option<FrameKind> {
        Some(match self.0 & FrameFlags::KIND {
            1 => FrameKind::Entries,
            2 => FrameKind::Mark,
            3 => FrameKind::End,
            4 => FrameKind::Skipped,
            5 => FrameKind::Block,
            _ => return None,
        })
    }

    /// Whether the payload is stored as it is.
    pub fn is_plain(self) -> bool {
        self.0 & !FrameFlags::KIND == 0
    }

    /// These and those.
    #[must_use]
    pub fn with(self, others: FrameFlags) -> FrameFlags {
        FrameFlags(self.0 | others.0)
    }

    /// Whether all of `others` are among these.
    pub fn have(self, others: FrameFlags) -> bool {
        self.0 & others.0 == others.0
    }

    /// Whether this version knows how such a payload is opened.
    fn are_known(self) -> bool {
        self.0 & !FrameFlags::KNOWN == 0 && !self.have(FrameFlags::LZ4.with(FrameFlags::ZSTD))
    }
}

/// What its writer says of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameSpec {
    /// Offset in the file.
    pub at: u64,
    /// Lsn of its first entry, or of the next one if it has none; in files of blocks, the block's number.
    pub first_lsn: Lsn,
    /// Everything up to here was durable when this was written.
    pub synced_lsn: Lsn,
    /// Its entries' clocks are counted from here.
    pub clock_ms: u64,
    /// How many entries it holds.
    pub entry_count: u32,
    /// Length of the payload before compression.
    pub raw_bytes: u32,
    /// What it is for.
    pub flags: FrameFlags,
    /// The key it is encrypted with; 0 for none.
    pub key_number: u32,
}

/// A frame's header whose checksum held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the fields of `FrameSpec`, and one more")]
pub struct FrameHeader {
    pub at: u64,
    pub first_lsn: Lsn,
    pub synced_lsn: Lsn,
    pub clock_ms: u64,
    pub entry_count: u32,
    /// Length of the payload as it is stored.
    pub stored_bytes: u32,
    pub raw_bytes: u32,
    pub flags: FrameFlags,
    pub key_number: u32,
}

/// Bytes of a header that its checksum covers, and that encryption vouches for.
pub const FRAME_VOUCHED_BYTES: usize = FRAME_HEADER_BYTES - COVERED_AT;

impl FrameSpec {
    /// All that the header of a frame with so many bytes of stored payload says, but for its checksum. An encrypted payload is
    /// bound to it: behind another header it does not open.
    pub fn vouched(&self, stored_bytes: u32) -> [u8; FRAME_VOUCHED_BYTES] {
        let mut vouched = [0; FRAME_VOUCHED_BYTES];
        vouched[..4].copy_from_slice(&stored_bytes.to_le_bytes());
        vouched[4..8].copy_from_slice(&self.raw_bytes.to_le_bytes());
        vouched[8..16].copy_from_slice(&self.at.to_le_bytes());
        vouched[16..24].copy_from_slice(&self.first_lsn.0.to_le_bytes());
        vouched[24..32].copy_from_slice(&self.synced_lsn.0.to_le_bytes());
        vouched[32..40].copy_from_slice(&self.clock_ms.to_le_bytes());
        vouched[40..44].copy_from_slice(&self.entry_count.to_le_bytes());
        vouched[44..48].copy_from_slice(&self.flags.0.to_le_bytes());
        vouched[48..52].copy_from_slice(&self.key_number.to_le_bytes());
        vouched
    }
}

/// The 64 header bytes of a frame whose stored payload is `stored`; the caller writes header, payload, padding. `seed` is
/// the file's, see [`super::SegmentHeader::read`].
///
/// # Panics
/// If the payload is 4 GiB or longer.
pub fn frame_header(spec: &FrameSpec, stored: &[u8], seed: u32) -> [u8; FRAME_HEADER_BYTES] {
    let stored_bytes = u32::try_from(stored.len()).expect("a frame is shorter than 4 GiB");
    let mut header = [0; FRAME_HEADER_BYTES];
    header[..4].copy_from_slice(&MAGIC);
    header[COVERED_AT..].copy_from_slice(&spec.vouched(stored_bytes));
    let crc = crc32c::crc32c_append(crc32c::crc32c_append(seed, &header[COVERED_AT..]), stored);
    header[4..COVERED_AT].copy_from_slice(&crc.to_le_bytes());
    header
}

/// How much of the file a frame takes, its padding included.
pub fn frame_bytes(stored_bytes: usize, align_bytes: u32) -> usize {
    (FRAME_HEADER_BYTES + stored_bytes).next_multiple_of(align_bytes as usize)
}

/// What bytes at a place look like.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Sight<'a> {
    /// A frame whose checksum holds, and its stored payload.
    Frame(FrameHeader, &'a [u8]),
    /// The beginning of what may be a frame of so many bytes, header included.
    Beginning(usize),
    /// No frame.
    Nothing,
}

/// Looks for a frame at the start of `bytes`.
pub(crate) fn look(bytes: &[u8], seed: u32) -> Sight<'_> {
    let Some((header, rest)) = bytes.split_at_checked(FRAME_HEADER_BYTES) else {
        let is_like_it = bytes.iter().zip(MAGIC).all(|(byte, magic)| *byte == magic);
        return if is_like_it { Sight::Beginning(FRAME_HEADER_BYTES) } else { Sight::Nothing };
    };
    if header[..4] != MAGIC {
        return Sight::Nothing;
    }
    let Ok(stored) = rkyv::access::<Stored, rancor::Failure>(header) else { return Sight::Nothing };
    let stored_bytes = stored.stored_bytes.to_native();
    let Some(payload) = rest.get(..stored_bytes as usize) else {
        return Sight::Beginning(FRAME_HEADER_BYTES + stored_bytes as usize);
    };
    if crc32c::crc32c_append(crc32c::crc32c_append(seed, &header[COVERED_AT..]), payload) != stored.crc.to_native() {
        return Sight::Nothing;
    }
    let flags = FrameFlags(stored.flags.to_native());
    let header = FrameHeader {
        at: stored.at.to_native(),
        first_lsn: Lsn(stored.first_lsn.to_native()),
        synced_lsn: Lsn(stored.synced_lsn.to_native()),
        clock_ms: stored.clock_ms.to_native(),
        entry_count: stored.entry_count.to_native(),
        stored_bytes,
        raw_bytes: stored.raw_bytes.to_native(),
        flags: if stored.reserved.to_native() == 0 { flags } else { flags.with(FrameFlags::NEWER) },
        key_number: stored.key_number.to_native(),
    };
    Sight::Frame(header, payload)
}

impl FrameHeader {
    /// What it is for.
    ///
    /// # Errors
    /// If this version cannot read it: then it is no damage, and must not be taken for one.
    pub fn kind(&self) -> Result<FrameKind, LogError> {
        let is_as_said = !self.flags.is_plain() || self.raw_bytes == self.stored_bytes;
        let has_its_key = self.flags.have(FrameFlags::ENCRYPTED) == (self.key_number != 0);
        match self.flags.kind() {
            Some(kind) if self.flags.are_known() && is_as_said && has_its_key => Ok(kind),
            _ => Err(LogError { place: self.at, why: "a frame of a newer version".into() }),
        }
    }

    /// See [`FrameSpec::vouched`].
    pub fn vouched(&self) -> [u8; FRAME_VOUCHED_BYTES] {
        let FrameHeader { at, first_lsn, synced_lsn, clock_ms, entry_count, stored_bytes, raw_bytes, flags, key_number } = *self;
        FrameSpec { at, first_lsn, synced_lsn, clock_ms, entry_count, raw_bytes, flags, key_number }.vouched(stored_bytes)
    }
}

/// The frame at the start of `bytes`, which lie at `at` in the file whose seed this is; `None` if there is none that is whole
/// and belongs there. For whoever looks behind what [`super::Scan`] stopped at.
pub fn frame_at(bytes: &[u8], at: u64, seed: u32) -> Option<(FrameHeader, &[u8])> {
    match look(bytes, seed) {
        Sight::Frame(header, payload) if header.at == at => Some((header, payload)),
        _ => None,
    }
}

/// Reads the block number `number` of a manifest or opening, which are stored as they are, from the start of `bytes`, which
/// lie at `at` in the file. Returns its header and payload; the next block is [`frame_bytes`] further on.
///
/// # Errors
/// If it is not whole and right.
pub fn read_block(bytes: &[u8], at: u64, number: u64, seed: u32) -> Result<(FrameHeader, &[u8]), LogError> {
    let refused = |why: &'static str| Err(LogError { place: at, why: why.into() });
    match look(bytes, seed) {
        Sight::Frame(header, payload) => match header.kind()? {
            _ if !header.flags.is_plain() => refused("a block that is compressed or encrypted, where none is"),
            FrameKind::Block if header.at == at && header.first_lsn.0 == number => Ok((header, payload)),
            FrameKind::Block => refused("a block that belongs elsewhere"),
            _ => refused("not a block"),
        },
        Sight::Beginning(_) => refused("a block that is cut off"),
        Sight::Nothing => refused("a block whose checksum does not hold"),
    }
}

/// Appends a block to a file that is `out` so far, padding included.
pub(crate) fn append_block(out: &mut Vec<u8>, payload: &[u8], number: u64, clock_ms: u64, align_bytes: u32, seed: u32) {
    let spec = FrameSpec {
        at: out.len() as u64,
        first_lsn: Lsn(number),
        synced_lsn: Lsn(0),
        clock_ms,
        entry_count: 0,
        raw_bytes: payload.len() as u32,
        flags: FrameFlags::BLOCK,
        key_number: 0,
    };
    out.extend_from_slice(&frame_header(&spec, payload, seed));
    out.extend_from_slice(payload);
    out.resize(out.len().next_multiple_of(align_bytes as usize), 0);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn spec() -> FrameSpec {
        FrameSpec {
            at: 0x1000,
            first_lsn: Lsn(0x11),
            synced_lsn: Lsn(0x10),
            clock_ms: 0x0102_0304_0506,
            entry_count: 2,
            raw_bytes: 3,
            flags: FrameFlags::ENTRIES,
            key_number: 0,
        }
    }

    fn whole(payload: &[u8], seed: u32) -> Vec<u8> {
        let spec = FrameSpec { raw_bytes: payload.len() as u32, ..spec() };
        [&frame_header(&spec, payload, seed)[..], payload].concat()
    }

    #[test]
    fn the_layout_is_for_ever() {
        let header = frame_header(&spec(), b"abc", 7);
        assert_eq!(header[..4], *b"CWFR");
        assert_eq!(header[4..8], crc32c::crc32c_append(crc32c::crc32c_append(7, &header[8..]), b"abc").to_le_bytes());
        assert_eq!(header[8..16], [3, 0, 0, 0, 3, 0, 0, 0]);
        assert_eq!(header[16..32], [0, 0x10, 0, 0, 0, 0, 0, 0, 0x11, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(header[32..48], [0x10, 0, 0, 0, 0, 0, 0, 0, 6, 5, 4, 3, 2, 1, 0, 0]);
        assert_eq!(header[48..], [2, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!((frame_bytes(0, 512), frame_bytes(448, 512), frame_bytes(449, 512), frame_bytes(1, 4096)), (512, 512, 1024, 4096));
    }

    #[test]
    fn what_this_version_cannot_read_is_no_damage() {
        for (flags, raw_bytes, key_number) in [(0, 0, 0), (9, 0, 0), (0x31, 0, 0), (0x81, 0, 0), (0x41, 0, 0), (1, 0, 5), (1, 9, 0)] {
            let bytes = frame_header(&FrameSpec { flags: FrameFlags(flags), raw_bytes, key_number, ..spec() }, b"", 7);
            let Sight::Frame(header, _) = look(&bytes, 7) else { panic!("the checksum holds") };
            assert_eq!(header.kind().unwrap_err().place, 0x1000);
        }
        let mut bytes = whole(b"x", 7);
        bytes[62] = 1;
        let crc = crc32c::crc32c_append(7, &bytes[8..]);
        bytes[4..8].copy_from_slice(&crc.to_le_bytes());
        let Sight::Frame(header, _) = look(&bytes, 7) else { panic!("the checksum holds") };
        assert_eq!(header.kind().unwrap_err().place, 0x1000);
        let bytes = whole(b"x", 7);
        let Sight::Frame(header, _) = look(&bytes, 7) else { panic!("the checksum holds") };
        assert_eq!(header.kind(), Ok(FrameKind::Entries));
        for (flags, key_number) in [(0x11, 0), (0x21, 0), (0x41, 5), (0x51, 5), (0x61, 5)] {
            let bytes = frame_header(&FrameSpec { flags: FrameFlags(flags), key_number, ..spec() }, b"x", 7);
            let Sight::Frame(header, _) = look(&[&bytes[..], b"x"].concat(), 7) else { panic!("the checksum holds") };
            assert_eq!((header.kind(), header.flags.is_plain()), (Ok(FrameKind::Entries), false));
            assert_eq!(header.vouched(), bytes[8..]);
        }
    }

    proptest! {
        #[test]
        fn one_flip_one_cut_or_another_file_is_never_believed(
            payload in prop::collection::vec(any::<u8>(), 0..300), seed: u32, at in 0usize..1 << 16, bit in 0u32..8, other in 1u32..u32::MAX
        ) {
            let bytes = whole(&payload, seed);
            let Sight::Frame(header, stored) = look(&bytes, seed) else { panic!("just written") };
            prop_assert_eq!(stored, &payload[..]);
            prop_assert_eq!((header.first_lsn, header.synced_lsn, header.at), (Lsn(0x11), Lsn(0x10), 0x1000));
            prop_assert_eq!(look(&bytes, seed ^ other), Sight::Nothing);
            let at = at % bytes.len();
            prop_assert!(!matches!(look(&bytes[..at], seed), Sight::Frame(..)));
            let mut flipped = bytes.clone();
            flipped[at] ^= 1 << bit;
            prop_assert!(!matches!(look(&flipped, seed), Sight::Frame(..)));
        }

        #[test]
        fn blocks_are_read_where_they_belong(payloads in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..700), 1..5), seed: u32) {
            let mut file = vec![0; 4096];
            for (number, payload) in payloads.iter().enumerate() {
                append_block(&mut file, payload, number as u64, 5, 512, seed);
            }
            let mut at = 4096;
            for (number, payload) in payloads.iter().enumerate() {
                let (header, read) = read_block(&file[at..], at as u64, number as u64, seed).unwrap();
                prop_assert_eq!(read, &payload[..]);
                prop_assert!(read_block(&file[at..], at as u64, number as u64 + 1, seed).is_err());
                prop_assert!(read_block(&file[at..], at as u64 + 512, number as u64, seed).is_err());
                at += frame_bytes(header.stored_bytes as usize, 512);
            }
            prop_assert_eq!(at, file.len());
        }
    }
}

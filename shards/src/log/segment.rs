//! The first block of every file: whose it is, what it holds, and what its frames' checksums start from. And the files'
//! names.
//!
//! The block holds its header twice, so that one lost sector does not lose a file.

use super::{Generation, LogError, NodeId, SEGMENT_HEADER_BYTES, StreamId};
use crate::key::PARTITION_COUNT;
use rkyv::Portable;
use rkyv::bytecheck::CheckBytes;
use rkyv::rancor;
use rkyv::rend::unaligned::{u16_ule, u32_ule, u64_ule};
use std::ops::Range;

const MAGIC: [u8; 8] = *b"CWSEGMT1";
const VERSION: u16 = 1;

/// Where the two copies are.
const COPIES: [usize; 2] = [0, SEGMENT_HEADER_BYTES / 2];

/// As it is stored.
#[derive(Portable, CheckBytes)]
#[bytecheck(crate = rkyv::bytecheck)]
#[repr(C)]
struct Stored {
    magic: [u8; 8],
    version: u16_ule,
    kind: u16_ule,
    core: u16_ule,
    core_count: u16_ule,
    partition_first: u16_ule,
    partition_end: u16_ule,
    partition_count: u16_ule,
    reserved_16: u16_ule,
    node: [u8; 16],
    seq: u64_ule,
    room_bytes: u64_ule,
    generation: u64_ule,
    created_ms: u64_ule,
    align_bytes: u32_ule,
    key_number: u32_ule,
    nonce_prefix: u32_ule,
    crc: u32_ule,
}

const STORED_BYTES: usize = size_of::<Stored>();
const CRC_AT: usize = STORED_BYTES - size_of::<u32>();
const _: () = assert!(STORED_BYTES == 88 && align_of::<Stored>() == 1);

/// What a file holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SegmentKind {
    /// A piece of a stream.
    Log,
    /// One core's share of a snapshot.
    Snapshot,
    /// What a generation decided about those before it: [`super::Opening`].
    Opening,
    /// What a snapshot consists of: [`super::Manifest`].
    Manifest,
    /// The directory's identity; nothing follows.
    Node,
}

impl SegmentKind {
    fn number(self) -> u16 {
        match self {
            SegmentKind::Log => 1,
            SegmentKind::Snapshot => 2,
            SegmentKind::Opening => 3,
            SegmentKind::Manifest => 4,
            SegmentKind::Node => 5,
        }
    }

    fn of(number: u16) -> Option<SegmentKind> {
        use SegmentKind::*;
        [Log, Snapshot, Opening, Manifest, Node].into_iter().find(|kind| kind.number() == number)
    }
}

/// A file's header. One block of [`SEGMENT_HEADER_BYTES`], written before anything else in the file, and never again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SegmentHeader {
    /// What follows.
    pub kind: SegmentKind,
    /// Whose directory it belongs to.
    pub node: NodeId,
    /// Who wrote it, and when.
    pub stream: StreamId,
    /// How many cores wrote in that generation.
    pub core_count: u16,
    /// The partitions that core owned.
    pub partitions: Range<u16>,
    /// Which of the stream's files, from 0; of a snapshot, its number.
    pub seq: u64,
    /// Milliseconds since 1970.
    pub created_ms: u64,
    /// Frames begin at multiples of it.
    pub align_bytes: u32,
    /// The key its frames are encrypted with; 0 for none.
    pub key_number: u32,
    /// What its frames' nonces begin with.
    pub nonce_prefix: u32,
    /// The length the file of a stream was made with, before anything was in it: until the stream goes on in the next file, or
    /// ends, it is no shorter. 0 for one that grows.
    pub room_bytes: u64,
}

impl SegmentHeader {
    /// How many of the block's first bytes say something: all but the checksum, the second copy and zeros.
    pub const SAID_BYTES: usize = CRC_AT;

    /// What the checksums of the file's frames start from: its header's own checksum.
    pub fn seed(&self) -> u32 {
        let stored = self.stored();
        crc32c::crc32c(&stored)
    }

    /// The whole block.
    pub fn to_bytes(&self) -> [u8; SEGMENT_HEADER_BYTES] {
        let stored = self.stored();
        let crc = crc32c::crc32c(&stored);
        let mut block = [0; SEGMENT_HEADER_BYTES];
        for at in COPIES {
            block[at..at + CRC_AT].copy_from_slice(&stored);
            block[at + CRC_AT..at + STORED_BYTES].copy_from_slice(&crc.to_le_bytes());
        }
        block
    }

    /// Everything that the checksum covers.
    fn stored(&self) -> [u8; CRC_AT] {
        let mut stored = Vec::with_capacity(CRC_AT);
        stored.extend_from_slice(&MAGIC);
        let Range { start, end } = self.partitions;
        for number in [VERSION, self.kind.number(), self.stream.core, self.core_count, start, end, PARTITION_COUNT, 0] {
            stored.extend_from_slice(&number.to_le_bytes());
        }
        stored.extend_from_slice(&self.node.0);
        for number in [self.seq, self.room_bytes, self.stream.generation.0, self.created_ms] {
            stored.extend_from_slice(&number.to_le_bytes());
        }
        for number in [self.align_bytes, self.key_number, self.nonce_prefix] {
            stored.extend_from_slice(&number.to_le_bytes());
        }
        stored.try_into().expect("the fields are all of it")
    }

    /// Reads a file's first block, from whichever copy holds. With it comes the *seed*, what the checksums of the file's
    /// frames start from, so that a frame of another file never passes for one of this.
    ///
    /// # Errors
    /// Says what is wrong with the first copy.
    pub fn read(bytes: &[u8]) -> Result<(SegmentHeader, u32), LogError> {
        let [first, second] = COPIES.map(|at| read_copy(bytes.get(at..).unwrap_or_default()));
        first.or_else(|why| second.map_err(|_| why))
    }
}

fn read_copy(bytes: &[u8]) -> Result<(SegmentHeader, u32), LogError> {
    let stored = bytes.get(..STORED_BYTES).ok_or_else(|| LogError::new(bytes.len(), "the file is too short for a header"))?;
    let seed = crc32c::crc32c(&stored[..CRC_AT]);
    let stored = rkyv::access::<Stored, rancor::Failure>(stored).map_err(|_| LogError::new(0, "not a header"))?;
    if stored.magic != MAGIC {
        return Err(LogError::new(0, "not a file of ours: it does not begin with CWSEGMT1"));
    }
    if stored.crc.to_native() != seed {
        return Err(LogError::new(CRC_AT, "the header's checksum does not hold"));
    }
    if stored.version.to_native() != VERSION {
        return Err(LogError::new(8, "written by another version of the format"));
    }
    let kind =
        SegmentKind::of(stored.kind.to_native()).ok_or_else(|| LogError::new(10, "a kind of file that this version does not know"))?;
    if stored.partition_count.to_native() != PARTITION_COUNT {
        return Err(LogError::new(20, "written with another number of partitions"));
    }
    let partitions = stored.partition_first.to_native()..stored.partition_end.to_native();
    if partitions.start > partitions.end || partitions.end > PARTITION_COUNT {
        return Err(LogError::new(16, "a range of partitions that there is not"));
    }
    let align_bytes = stored.align_bytes.to_native();
    if !align_bytes.is_power_of_two() || align_bytes as usize > SEGMENT_HEADER_BYTES || align_bytes < 64 {
        return Err(LogError::new(72, "frames cannot be aligned like this"));
    }
    let generation = Generation(stored.generation.to_native());
    let header = SegmentHeader {
        kind,
        node: NodeId(stored.node),
        stream: StreamId { generation, core: stored.core.to_native() },
        core_count: stored.core_count.to_native(),
        partitions,
        seq: stored.seq.to_native(),
        created_ms: stored.created_ms.to_native(),
        align_bytes,
        key_number: stored.key_number.to_native(),
        nonce_prefix: stored.nonce_prefix.to_native(),
        room_bytes: stored.room_bytes.to_native(),
    };
    Ok((header, seed))
}

/// A snapshot's table of contents.
pub const MANIFEST_NAME: &str = "manifest";

/// The name of a stream's file number `seq`.
pub fn segment_name(stream: StreamId, seq: u64) -> String {
    format!("g{:08}-c{:04}-{seq:08}.log", stream.generation.0, stream.core)
}

/// What [`segment_name`] made `name` of; `None` for any other name.
pub fn segment_of(name: &str) -> Option<(StreamId, u64)> {
    let (generation, rest) = name.strip_prefix('g')?.split_once("-c")?;
    let (core, seq) = rest.strip_suffix(".log")?.split_once('-')?;
    let stream = StreamId { generation: Generation(generation.parse().ok()?), core: core.parse().ok()? };
    let seq = seq.parse().ok()?;
    (segment_name(stream, seq) == name).then_some((stream, seq))
}

/// The name of the file in which a generation says what it decided about those before it.
pub fn opening_name(generation: Generation) -> String {
    format!("g{:08}.open", generation.0)
}

/// What [`opening_name`] made `name` of; `None` for any other name.
pub fn opening_generation(name: &str) -> Option<Generation> {
    let generation = Generation(name.strip_prefix('g')?.strip_suffix(".open")?.parse().ok()?);
    (opening_name(generation) == name).then_some(generation)
}

/// The name of a snapshot's folder.
pub fn snapshot_name(id: u64) -> String {
    format!("{id:08}")
}

/// What [`snapshot_name`] made `name` of; `None` for any other name.
pub fn snapshot_id(name: &str) -> Option<u64> {
    name.parse().ok().filter(|id| snapshot_name(*id) == name)
}

/// The name of one core's file in a snapshot's folder.
pub fn snapshot_file_name(core: u16) -> String {
    format!("c{core:04}.snap")
}

/// What [`snapshot_file_name`] made `name` of; `None` for any other name.
pub fn snapshot_file_core(name: &str) -> Option<u16> {
    let core = name.strip_prefix('c')?.strip_suffix(".snap")?.parse().ok()?;
    (snapshot_file_name(core) == name).then_some(core)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn header() -> SegmentHeader {
        SegmentHeader {
            kind: SegmentKind::Log,
            node: NodeId(*b"0123456789abcdef"),
            stream: StreamId { generation: Generation(3), core: 2 },
            core_count: 4,
            partitions: 64..128,
            seq: 7,
            created_ms: 1_700_000_000_000,
            align_bytes: 512,
            key_number: 9,
            nonce_prefix: 0x0102_0304,
            room_bytes: 0x0100_0000,
        }
    }

    #[test]
    fn the_layout_is_for_ever() {
        let bytes = header().to_bytes();
        assert_eq!(bytes[..24], *b"CWSEGMT1\x01\0\x01\0\x02\0\x04\0\x40\0\x80\0\0\x01\0\0");
        assert_eq!(bytes[24..40], *b"0123456789abcdef");
        assert_eq!(bytes[40..64], *b"\x07\0\0\0\0\0\0\0\0\0\0\x01\0\0\0\0\x03\0\0\0\0\0\0\0");
        assert_eq!(bytes[72..84], *b"\0\x02\0\0\x09\0\0\0\x04\x03\x02\x01");
        assert_eq!(bytes[88..2048], [0; 1960]);
        assert_eq!(bytes[..2048], bytes[2048..]);
    }

    #[test]
    fn names_are_read_as_they_are_written() {
        let stream = StreamId { generation: Generation(12), core: 3 };
        assert_eq!(segment_name(stream, 5), "g00000012-c0003-00000005.log");
        assert_eq!(opening_name(Generation(12)), "g00000012.open");
        assert_eq!((snapshot_name(4), snapshot_file_name(11)), ("00000004".to_string(), "c0011.snap".to_string()));
        for seq in [0, 5, 99_999_999, 100_000_000, u64::MAX] {
            let stream = StreamId { generation: Generation(seq), core: u16::MAX };
            assert_eq!(segment_of(&segment_name(stream, seq)), Some((stream, seq)));
            assert_eq!(opening_generation(&opening_name(Generation(seq))), Some(Generation(seq)));
            assert_eq!(snapshot_id(&snapshot_name(seq)), Some(seq));
            assert_eq!(snapshot_file_core(&snapshot_file_name(seq as u16)), Some(seq as u16));
        }
        for other in
            ["", "g1-c1-1.log", "g00000012-c0003-00000005.log.tmp", "g00000012-c0003-+0000005.log", "g000000012-c0003-00000005.log"]
        {
            assert_eq!(segment_of(other), None, "{other}");
        }
        assert_eq!(
            (opening_generation("g1.open"), snapshot_id("4"), snapshot_id("manifest"), snapshot_file_core("c1.snap")),
            (None, None, None, None)
        );
    }

    #[test]
    fn files_of_other_versions_and_owners_are_refused_in_words() {
        for (at, value, why) in [
            (8, 2, "written by another version of the format"),
            (10, 9, "a kind of file that this version does not know"),
            (18, 0, "a range of partitions that there is not"),
            (20, 1, "written with another number of partitions"),
            (73, 3, "frames cannot be aligned like this"),
        ] {
            let mut bytes = header().to_bytes();
            for copy in COPIES {
                bytes[copy + at] = value;
                let crc = crc32c::crc32c(&bytes[copy..copy + CRC_AT]).to_le_bytes();
                bytes[copy + CRC_AT..copy + STORED_BYTES].copy_from_slice(&crc);
            }
            assert_eq!(SegmentHeader::read(&bytes).unwrap_err().why, why);
        }
        assert_eq!(SegmentHeader::read(b"short").unwrap_err().place, 5);
        assert!(SegmentHeader::read(&[0; SEGMENT_HEADER_BYTES]).unwrap_err().to_string().starts_with("at byte 0: not a file of ours"));
    }

    #[test]
    fn either_copy_will_do() {
        let (header, seed) = SegmentHeader::read(&header().to_bytes()).unwrap();
        for copy in COPIES {
            let mut bytes = header.to_bytes();
            bytes[copy..copy + 512].fill(0xA5);
            assert_eq!(SegmentHeader::read(&bytes), Ok((header.clone(), seed)));
        }
    }

    proptest! {
        #[test]
        fn one_flip_is_never_believed(at in 0usize..STORED_BYTES, bit in 0u32..8) {
            let (expected, seed) = SegmentHeader::read(&header().to_bytes()).unwrap();
            let mut bytes = header().to_bytes();
            bytes[at] ^= 1 << bit;
            prop_assert_eq!(SegmentHeader::read(&bytes), Ok((expected, seed)));
            bytes[COPIES[1] + at] ^= 1 << bit;
            prop_assert!(SegmentHeader::read(&bytes).is_err());
        }
    }
}

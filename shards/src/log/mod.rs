//! The bytes of a log and of snapshots, and what may be concluded from them.
//!
//! A *stream* is what one core wrote in one *generation* (one start of the server): entries, numbered from 1 by their
//! [`Lsn`], in frames, one frame per write, in segments, one file each. Everything here is bytes in and values out: who
//! writes when, and where files are, is the engine's. The words and the byte layouts are in `docs/log.md`.
//!
//! Nothing read here is trusted before its checksum held, and nothing is refused without saying where and why.

mod blocks;
mod entry;
mod frame;
mod manifest;
mod opening;
mod plan;
mod scan;
mod segment;
pub(crate) mod varint;

pub use blocks::{Blocks, TakeBlock};
pub use entry::{Body, Cores, Entries, Entry, Part, PartMode, Words, encode, encode_command, entries};
pub use frame::{FRAME_VOUCHED_BYTES, FrameFlags, FrameHeader, FrameKind, FrameSpec, frame_at, frame_bytes, frame_header, read_block};
pub use manifest::{Manifest, Section};
pub use opening::Opening;
pub use plan::{FoundPart, Plan, gap, gap_filled};
pub use scan::{Scan, Tail, retired_bytes};
pub use segment::{
    MANIFEST_NAME, SegmentHeader, SegmentKind, opening_generation, opening_name, segment_name, segment_of, snapshot_file_core,
    snapshot_file_name, snapshot_id, snapshot_name,
};

use std::borrow::Cow;
use std::fmt;

/// The ordinal of an entry in its stream, from 1. Zero is before everything.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, rkyv::Archive, rkyv::Serialize, rkyv::Deserialize)]
pub struct Lsn(pub u64);

/// One start of the server on a directory, from 1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, rkyv::Archive, rkyv::Serialize, rkyv::Deserialize)]
pub struct Generation(pub u64);

/// What one core wrote in one generation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, rkyv::Archive, rkyv::Serialize, rkyv::Deserialize)]
pub struct StreamId {
    /// When it was written.
    pub generation: Generation,
    /// By whom.
    pub core: u16,
}

impl fmt::Display for StreamId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "generation {} core {}", self.generation.0, self.core)
    }
}

/// Whose files these are: drawn by chance when a directory is first used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, rkyv::Archive, rkyv::Serialize, rkyv::Deserialize)]
pub struct NodeId(pub [u8; 16]);

/// An entry's partition that means every partition of its stream.
pub const PARTITION_ALL: u16 = u16::MAX;

/// Length of a file's header; frames begin behind it.
pub const SEGMENT_HEADER_BYTES: usize = 4096;

/// Length of a frame's header; the stored payload follows it.
pub const FRAME_HEADER_BYTES: usize = 64;

/// Why bytes were refused, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogError {
    /// Offset of the first byte that is not understood, in whatever was being read.
    pub place: u64,
    /// For people.
    pub why: Cow<'static, str>,
}

impl LogError {
    pub(crate) fn new(place: usize, why: &'static str) -> LogError {
        LogError { place: place as u64, why: Cow::Borrowed(why) }
    }
}

impl fmt::Display for LogError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "at byte {}: {}", self.place, self.why)
    }
}

impl std::error::Error for LogError {}

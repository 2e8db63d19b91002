//! What a generation decided, at its birth, about those before it: where each of their streams ends, and which commands
//! over several cores are left out.
//!
//! It is written before the generation's first segment. So whoever recovers later reads what was decided, and cannot
//! decide differently: a tail that was cut once stays cut.

use super::frame::{append_block, read_block};
use super::segment::{SegmentHeader, SegmentKind};
use super::{Generation, LogError, NodeId, Plan, SEGMENT_HEADER_BYTES, StreamId};
use crate::key::PARTITION_COUNT;
use rkyv::rancor;

/// One generation's birth record. One file, see [`super::opening_name`].
#[derive(Clone, Debug, PartialEq, Eq, rkyv::Archive, rkyv::Serialize, rkyv::Deserialize)]
pub struct Opening {
    /// Whose.
    pub node: NodeId,
    /// The generation that begins.
    pub generation: Generation,
    /// How many cores it has.
    pub core_count: u16,
    /// What was decided about the streams of earlier generations that are still needed.
    pub plan: Plan,
    /// The entry clock it begins with: no entry of earlier generations has a later one.
    pub clock_ms: u64,
    /// When, by the wall: milliseconds since 1970.
    pub created_ms: u64,
}

/// How decisions and tables of contents are aligned: written rarely, so as generously as any disk wants.
pub(super) const ALIGN_BYTES: u32 = 4096;

impl Opening {
    /// The whole file.
    pub fn to_bytes(&self) -> Vec<u8> {
        let stream = StreamId { generation: self.generation, core: 0 };
        let archived = rkyv::to_bytes::<rancor::Error>(self).expect("memory is all it takes");
        to_file(SegmentKind::Opening, self.node, stream, 0, (self.core_count, self.created_ms, self.clock_ms), &archived)
    }

    /// Reads the whole file.
    ///
    /// # Errors
    /// If it is not one, or not whole and right.
    pub fn read(bytes: &[u8]) -> Result<Opening, LogError> {
        let (header, archived) = from_file(SegmentKind::Opening, bytes)?;
        let opening: Opening = rkyv::from_bytes::<Opening, rancor::Error>(archived).map_err(|_| not_readable())?;
        if opening.generation != header.stream.generation || opening.node != header.node {
            return Err(not_readable());
        }
        Ok(opening)
    }
}

fn not_readable() -> LogError {
    LogError::new(SEGMENT_HEADER_BYTES, "its checksum holds, but this version cannot read it")
}

/// A file of one block.
pub(super) fn to_file(
    kind: SegmentKind,
    node: NodeId,
    stream: StreamId,
    seq: u64,
    (core_count, created_ms, clock_ms): (u16, u64, u64),
    payload: &[u8],
) -> Vec<u8> {
    let header = SegmentHeader {
        kind,
        node,
        stream,
        core_count,
        partitions: 0..PARTITION_COUNT,
        seq,
        created_ms,
        align_bytes: ALIGN_BYTES,
        key_number: 0,
        nonce_prefix: 0,
        room_bytes: 0,
    };
    let mut file = header.to_bytes().to_vec();
    append_block(&mut file, payload, 0, clock_ms, ALIGN_BYTES, header.seed());
    file
}

/// What [`to_file`] was given.
pub(super) fn from_file(kind: SegmentKind, bytes: &[u8]) -> Result<(SegmentHeader, &[u8]), LogError> {
    let (header, seed) = SegmentHeader::read(bytes)?;
    if header.kind != kind {
        return Err(LogError::new(10, "another kind of file than its name says"));
    }
    let rest = bytes.get(SEGMENT_HEADER_BYTES..).unwrap_or_default();
    let (_, payload) = read_block(rest, SEGMENT_HEADER_BYTES as u64, 0, seed)?;
    Ok((header, payload))
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::log::Lsn;
    use proptest::prelude::*;

    fn opening(ends: Vec<(u64, u16, u64)>, dropped: Vec<(u64, u16, u16, u64)>) -> Opening {
        let stream = |generation, core| StreamId { generation: Generation(generation), core };
        let plan = Plan {
            ends: ends.into_iter().map(|(generation, core, lsn)| (stream(generation, core), Lsn(lsn))).collect(),
            dropped: dropped.into_iter().map(|(generation, core, origin, number)| (stream(generation, core), origin, number)).collect(),
        };
        Opening { node: NodeId(*b"0123456789abcdef"), generation: Generation(9), core_count: 3, plan, clock_ms: 17, created_ms: 16 }
    }

    /// Whatever is done to one bit, and wherever a file is cut, it is read as it was written or not at all.
    pub(crate) fn check_every_fault<T: PartialEq + std::fmt::Debug>(bytes: &[u8], read: impl Fn(&[u8]) -> Result<T, LogError>) {
        let expected = read(bytes).unwrap();
        for at in 0..bytes.len() {
            let mut bad = bytes.to_vec();
            bad[at] ^= 1 << (at % 8);
            if let Ok(found) = read(&bad) {
                assert_eq!(found, expected, "flipped at {at}");
            }
            if at % 16 == 0
                && let Ok(found) = read(&bytes[..at])
            {
                assert_eq!(found, expected, "cut at {at}");
            }
        }
        let payload = SEGMENT_HEADER_BYTES + 70;
        let mut bad = bytes.to_vec();
        bad[payload] ^= 1;
        assert!(read(&bad).is_err() && read(&bytes[..payload]).is_err());
    }

    #[test]
    fn no_fault_makes_another_decision() {
        let opening = opening(vec![(1, 0, 7), (1, 1, 9)], vec![(1, 0, 1, 4)]);
        check_every_fault(&opening.to_bytes(), Opening::read);
    }

    #[test]
    fn a_file_under_another_name_is_refused() {
        let stream = StreamId { generation: Generation(9), core: 0 };
        let file = to_file(SegmentKind::Manifest, NodeId([0; 16]), stream, 0, (1, 1, 1), b"");
        assert!(Opening::read(&file).is_err());
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(ends in prop::collection::vec(any::<(u64, u16, u64)>(), 0..40),
                                   dropped in prop::collection::vec(any::<(u64, u16, u16, u64)>(), 0..40)) {
            let opening = opening(ends, dropped);
            let bytes = opening.to_bytes();
            prop_assert_eq!(bytes.len() % ALIGN_BYTES as usize, 0);
            prop_assert_eq!(Opening::read(&bytes), Ok(opening));
        }
    }
}

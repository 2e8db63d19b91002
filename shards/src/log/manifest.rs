//! A snapshot's table of contents: which partition's records are where, from which entry on the log continues them, and
//! where each stream's log begins that goes with it.
//!
//! A folder without a manifest is no snapshot. It is written last, when everything it names is durable and was read back.

use super::opening::{from_file, to_file};
use super::segment::SegmentKind;
use super::{Generation, LogError, Lsn, NodeId, SEGMENT_HEADER_BYTES, StreamId};
use rkyv::rancor;

/// One partition's records in a snapshot.
#[derive(Clone, Debug, PartialEq, Eq, rkyv::Archive, rkyv::Serialize, rkyv::Deserialize)]
pub struct Section {
    /// Whose.
    pub partition: u16,
    /// The first entry of its core's stream that these records do not show yet.
    pub as_of: (Generation, Lsn),
    /// The entry clock then: records over by it are left out.
    pub clock_ms: u64,
    /// The core in whose file it is.
    pub file: u16,
    /// Offset of the block that begins it.
    pub at: u64,
    /// How many records.
    pub count: u64,
    /// The exclusive or of their digests; see [`crate::Shard::digest`].
    pub digest: u64,
}

/// What a snapshot consists of. One file, named [`super::MANIFEST_NAME`].
#[derive(Clone, Debug, PartialEq, Eq, rkyv::Archive, rkyv::Serialize, rkyv::Deserialize)]
pub struct Manifest {
    /// Its number; the greater, the later.
    pub id: u64,
    /// Whose.
    pub node: NodeId,
    /// When, by the wall: milliseconds since 1970.
    pub created_ms: u64,
    /// The largest entry clock among its sections.
    pub clock_ms: u64,
    /// Each core that wrote a file, and the file's length.
    pub files: Vec<(u16, u64)>,
    /// Every partition once.
    pub sections: Vec<Section>,
    /// The first entry of each stream that is needed with it.
    pub log_start: Vec<(StreamId, Lsn)>,
}

impl Manifest {
    /// The whole file.
    pub fn to_bytes(&self) -> Vec<u8> {
        let stream = StreamId { generation: Generation(0), core: 0 };
        let core_count = self.files.len() as u16;
        let archived = rkyv::to_bytes::<rancor::Error>(self).expect("memory is all it takes");
        to_file(SegmentKind::Manifest, self.node, stream, self.id, (core_count, self.created_ms, self.clock_ms), &archived)
    }

    /// Reads the whole file.
    ///
    /// # Errors
    /// If it is not one, or not whole and right.
    pub fn read(bytes: &[u8]) -> Result<Manifest, LogError> {
        let (header, archived) = from_file(SegmentKind::Manifest, bytes)?;
        match rkyv::from_bytes::<Manifest, rancor::Error>(archived) {
            Ok(manifest) if manifest.id == header.seq && manifest.node == header.node => Ok(manifest),
            _ => Err(LogError::new(SEGMENT_HEADER_BYTES, "its checksum holds, but this version cannot read it")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::opening::tests::check_every_fault;
    use super::*;

    fn manifest(sections: u16) -> Manifest {
        let generation = Generation(3);
        let section = |partition: u16| Section {
            partition,
            as_of: (generation, Lsn(u64::from(partition) + 7)),
            clock_ms: 1_700_000_000_000 + u64::from(partition),
            file: partition % 4,
            at: 4096 * u64::from(partition),
            count: 11,
            digest: 0x0123_4567_89AB_CDEF ^ u64::from(partition),
        };
        Manifest {
            id: 12,
            node: NodeId(*b"0123456789abcdef"),
            created_ms: 1,
            clock_ms: 2,
            files: vec![(0, 4096), (3, 1 << 40)],
            sections: (0..sections).map(section).collect(),
            log_start: vec![(StreamId { generation, core: 0 }, Lsn(5)), (StreamId { generation, core: 3 }, Lsn(1))],
        }
    }

    #[test]
    fn what_is_written_is_read() {
        for sections in [0, 1, 256] {
            let manifest = manifest(sections);
            assert_eq!(Manifest::read(&manifest.to_bytes()), Ok(manifest));
        }
    }

    #[test]
    fn no_fault_makes_another_table() {
        check_every_fault(&manifest(2).to_bytes(), Manifest::read);
    }
}

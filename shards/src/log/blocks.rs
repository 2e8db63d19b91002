//! A file of blocks, read from the front: a snapshot's. Unlike a stream it was finished before anybody called it one, so
//! whatever is not right in it is damage.

use super::frame::{FrameHeader, FrameKind, Sight, frame_bytes, look};
use super::{LogError, SEGMENT_HEADER_BYTES, SegmentHeader};

/// Takes a block: its header and payload. May refuse it.
pub type TakeBlock<'a> = dyn FnMut(&FrameHeader, &[u8]) -> Result<(), LogError> + 'a;

/// Reads one file, block after block.
#[derive(Debug)]
pub struct Blocks {
    seed: u32,
    align_bytes: u32,
    /// The next block's number, and the offset of the first byte of `kept`.
    number: u64,
    at: u64,
    /// The beginning of a block.
    kept: Vec<u8>,
}

impl Blocks {
    /// Begins behind the header.
    pub fn begin(header: &SegmentHeader, seed: u32) -> Blocks {
        Blocks { seed, align_bytes: header.align_bytes, number: 0, at: SEGMENT_HEADER_BYTES as u64, kept: Vec::new() }
    }

    /// Takes consecutive bytes from [`SEGMENT_HEADER_BYTES`] on. Blocks that ended inside are given to `take` with their payload.
    /// Keeps no more than the beginning of one.
    ///
    /// # Errors
    /// If there is something else than the next block, or what `take` says; its place is in the file then.
    pub fn feed(&mut self, bytes: &[u8], take: &mut TakeBlock<'_>) -> Result<(), LogError> {
        let mut kept = std::mem::take(&mut self.kept);
        if kept.is_empty() {
            let used = self.walk(bytes, take)?;
            self.kept.extend_from_slice(&bytes[used..]);
            return Ok(());
        }
        kept.extend_from_slice(bytes);
        let used = self.walk(&kept, take)?;
        kept.drain(..used);
        self.kept = kept;
        Ok(())
    }

    /// Says that the file is over.
    ///
    /// # Errors
    /// If it ends within a block.
    pub fn finish(self) -> Result<(), LogError> {
        if self.kept.is_empty() { Ok(()) } else { Err(LogError { place: self.at, why: "a block that is cut off".into() }) }
    }

    fn walk(&mut self, bytes: &[u8], take: &mut TakeBlock<'_>) -> Result<usize, LogError> {
        let mut used = 0;
        while used < bytes.len() {
            let refused = |why: &'static str| Err(LogError { place: self.at, why: why.into() });
            let (header, payload) = match look(&bytes[used..], self.seed) {
                Sight::Frame(header, payload) => (header, payload),
                Sight::Beginning(_) => break,
                Sight::Nothing => return refused("a block whose checksum does not hold"),
            };
            if header.kind()? != FrameKind::Block {
                return refused("not a block");
            }
            if header.at != self.at || header.first_lsn.0 != self.number {
                return refused("a block that belongs elsewhere");
            }
            let step = frame_bytes(payload.len(), self.align_bytes);
            if step > bytes.len() - used {
                break;
            }
            take(&header, payload).map_err(|error| LogError { place: self.at, why: error.why })?;
            (self.number, self.at) = (self.number + 1, self.at + step as u64);
            used += step;
        }
        Ok(used)
    }
}

#[cfg(test)]
mod tests {
    use super::super::frame::append_block;
    use super::super::{Generation, NodeId, SegmentKind, StreamId};
    use super::*;
    use proptest::prelude::*;

    const ALIGN_BYTES: u32 = 512;

    fn file(payloads: &[Vec<u8>]) -> (SegmentHeader, Vec<u8>) {
        let header = SegmentHeader {
            kind: SegmentKind::Snapshot,
            node: NodeId([1; 16]),
            stream: StreamId { generation: Generation(1), core: 0 },
            core_count: 1,
            partitions: 0..256,
            seq: 1,
            created_ms: 0,
            align_bytes: ALIGN_BYTES,
            key_number: 0,
            nonce_prefix: 0,
            room_bytes: 0,
        };
        let mut bytes = header.to_bytes().to_vec();
        let (_, seed) = SegmentHeader::read(&bytes).unwrap();
        for (number, payload) in payloads.iter().enumerate() {
            append_block(&mut bytes, payload, number as u64, 0, ALIGN_BYTES, seed);
        }
        (header, bytes)
    }

    fn read(file: &[u8], chunk: usize) -> Result<Vec<Vec<u8>>, LogError> {
        let (header, seed) = SegmentHeader::read(file)?;
        let mut blocks = Blocks::begin(&header, seed);
        let mut found = Vec::new();
        for bytes in file[SEGMENT_HEADER_BYTES..].chunks(chunk) {
            blocks.feed(bytes, &mut |_, payload| {
                found.push(payload.to_vec());
                Ok(())
            })?;
        }
        blocks.finish().map(|()| found)
    }

    proptest! {
        #[test]
        fn blocks_come_out_as_they_went_in_whatever_the_chunks(
            payloads in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..3000), 0..8),
            chunk in 1usize..4000,
        ) {
            let (_, bytes) = file(&payloads);
            prop_assert_eq!(read(&bytes, chunk), Ok(payloads));
        }

        #[test]
        fn no_fault_goes_unseen(
            payloads in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..900), 1..5),
            at in any::<prop::sample::Index>(),
            bit in 0u32..8,
            cut in any::<bool>(),
        ) {
            let (_, mut bytes) = file(&payloads);
            let at = SEGMENT_HEADER_BYTES + at.index(bytes.len() - SEGMENT_HEADER_BYTES);
            if cut {
                bytes.truncate(at);
            } else {
                bytes[at] ^= 1 << bit;
            }
            // A cut between two blocks is for whoever knows the file's length; padding means nothing.
            let found = read(&bytes, 700);
            prop_assert!(found.is_err() || found.unwrap() == payloads[..] || (cut && at.is_multiple_of(ALIGN_BYTES as usize)));
        }
    }

    #[test]
    fn blocks_in_another_order_are_refused() {
        let (header, mut bytes) = file(&[vec![1; 100], vec![2; 100]]);
        let (first, second) = bytes[SEGMENT_HEADER_BYTES..].split_at_mut(512);
        first.swap_with_slice(second);
        let error = read(&bytes, 512).unwrap_err();
        assert_eq!((error.place, &*error.why), (header.to_bytes().len() as u64, "a block that belongs elsewhere"));
    }
}

//! The second reading: entries are applied again, by the same handlers, with the clocks they had.

use super::meeting::{Decision, Loading};
use super::refusal::{Loss, Refusal};
use super::survey::{Reader, Surveyed};
use crate::executor::Executor;
use crate::planted::{Bug, planted};
use crate::seal::{Unopened, Unseal};
use netio::Aligned;
use shards::key::PARTITION_COUNT;
use shards::log::{
    FRAME_HEADER_BYTES, FrameHeader, FrameKind, Generation, LogError, Lsn, Manifest, PARTITION_ALL, Scan, SegmentHeader, StreamId, entries,
};
use std::collections::HashSet;
use std::ops::Range;
use std::sync::Arc;

/// Bytes applied before other things may have their turn: about a millisecond of entries.
const SLICE_BYTES: usize = 128 * 1024;

/// One core's share of what is applied.
pub(crate) struct Share {
    /// The partitions this core owns now.
    pub(crate) partitions: Range<u16>,
    /// What its snapshot holds of each partition: everything before this.
    as_of: Arc<[(Generation, Lsn)]>,
}

/// A stream being applied. Travels between the task that reads and the shard that changes.
struct Applying {
    id: StreamId,
    end: Lsn,
    /// The first entry not met yet.
    next: Lsn,
    partitions: Range<u16>,
    as_of: Arc<[(Generation, Lsn)]>,
    decision: Arc<Decision>,
    /// Until nothing more comes.
    scan: Option<Scan>,
    clock_ms: u64,
    /// Since it was last asked: entries applied, and bytes of the frames met.
    applied: u64,
    bytes: u64,
    /// Opens the frames of the segment being read.
    unseal: Unseal,
    error: Option<Unopened>,
}

impl Share {
    /// What falls to these partitions, of which the snapshot `base` has a part.
    pub(crate) fn new(partitions: Range<u16>, base: Option<&Manifest>) -> Share {
        let mut as_of = vec![(Generation(0), Lsn(0)); usize::from(PARTITION_COUNT)];
        for section in base.iter().flat_map(|base| &base.sections) {
            as_of[usize::from(section.partition)] = section.as_of;
        }
        Share { partitions, as_of: as_of.into() }
    }

    /// Applies every stream that has to do with this core, in order. Returns the latest clock met.
    pub(crate) async fn apply(&self, reader: &Reader, decision: &Arc<Decision>, loading: &Loading) -> Result<u64, Refusal> {
        let mut clock_ms = 0;
        for stream in decision.streams.iter().filter(|stream| stream.meets(&self.partitions)) {
            clock_ms = clock_ms.max(self.apply_stream(reader, decision, stream, loading).await?);
        }
        Ok(clock_ms)
    }

    async fn apply_stream(&self, reader: &Reader, decision: &Arc<Decision>, stream: &Surveyed, loading: &Loading) -> Result<u64, Refusal> {
        let mut applying: Option<Applying> = None;
        for segment in &stream.segments {
            let mut reading = reader.open(stream.id, *segment).await?;
            let unseal = reading.unseal.take().expect("nobody took it before");
            let begun = match applying.take() {
                None => self.begin(decision, stream, &reading.header, reading.seed, unseal),
                Some(applying) => {
                    let (header, seed) = (reading.header.clone(), reading.seed);
                    reader.desk.act(move |executor| applying.go_on(&header, seed, unseal, executor)).await
                }
            };
            let mut under_way = begun;
            while let Some((bytes, mut from)) = reading.next().await? {
                let mut bytes = bytes;
                while from < bytes.len() && under_way.is_going_on() {
                    let to = (from + SLICE_BYTES).min(bytes.len());
                    (under_way, bytes) = reader.desk.act(move |executor| under_way.feed(bytes, from..to, executor)).await;
                    loading.note_progress(std::mem::take(&mut under_way.bytes), std::mem::take(&mut under_way.applied));
                    from = to;
                }
                reading.chunks.give_back(bytes);
                if !under_way.is_going_on() {
                    break;
                }
            }
            if let Some(error) = under_way.error.take() {
                return Err(reader.unopened(stream.id, *segment, &error));
            }
            let is_over = under_way.next >= under_way.end;
            applying = Some(under_way);
            if is_over {
                break;
            }
        }
        let Some(applying) = applying else { return Ok(0) };
        let mut applying = reader.desk.act(move |executor| applying.finish(executor)).await;
        loading.note_progress(std::mem::take(&mut applying.bytes), std::mem::take(&mut applying.applied));
        let last = stream.segments.last().expect("a stream that is needed has a segment");
        if let Some(error) = applying.error.take() {
            return Err(reader.unopened(stream.id, *last, &error));
        }
        if applying.next < applying.end && applying.end > stream.replay_from {
            let loss = Loss { stream: stream.id, from: applying.next, known: Lsn(applying.end.0 - 1) };
            let file = reader.directory.segment(stream.id, *last);
            return Err(Refusal::lost(reader.directory.root(), file, 0, "it was whole when it was first read, and is not any more", loss));
        }
        Ok(applying.clock_ms)
    }

    fn begin(&self, decision: &Arc<Decision>, stream: &Surveyed, header: &SegmentHeader, seed: u32, unseal: Unseal) -> Applying {
        Applying {
            id: stream.id,
            end: decision.ends[&stream.id],
            next: Lsn(1),
            partitions: self.partitions.start.max(stream.partitions.start)..self.partitions.end.min(stream.partitions.end),
            as_of: self.as_of.clone(),
            decision: decision.clone(),
            scan: Some(Scan::begin(header, seed, stream.from)),
            clock_ms: 0,
            applied: 0,
            bytes: 0,
            unseal,
            error: None,
        }
    }
}

impl Applying {
    fn is_going_on(&self) -> bool {
        self.error.is_none() && self.next < self.end
    }

    /// The next segment begins.
    fn go_on(mut self, header: &SegmentHeader, seed: u32, unseal: Unseal, executor: &mut Executor) -> Applying {
        self.scanned(|scan, take| scan.as_mut().map_or(Ok(()), |scan| scan.next_segment(header, seed, take)), executor);
        // Only now: until the next segment begins, frames of the one before may come.
        self.unseal = unseal;
        self
    }

    /// More of the segment.
    fn feed(mut self, bytes: Aligned, at: Range<usize>, executor: &mut Executor) -> (Applying, Aligned) {
        self.scanned(|scan, take| scan.as_mut().map_or(Ok(()), |scan| scan.feed(&bytes[at], take)), executor);
        (self, bytes)
    }

    /// Nothing more comes.
    fn finish(mut self, executor: &mut Executor) -> Applying {
        self.scanned(|scan, take| scan.take().map_or(Ok(()), |scan| scan.finish(take).map(|_| ())), executor);
        self
    }

    fn scanned(
        &mut self,
        read: impl FnOnce(&mut Option<Scan>, &mut dyn FnMut(&FrameHeader, &[u8])) -> Result<(), LogError>,
        executor: &mut Executor,
    ) {
        let Applying { id, end, next, partitions, as_of, decision, scan, clock_ms, applied, bytes, unseal, error } = self;
        let mut frame = Frame {
            id: *id,
            end: *end,
            partitions,
            as_of,
            dropped: &decision.dropped,
            executor,
            next,
            clock_ms,
            applied,
            bytes,
            unseal,
            error,
        };
        let read = read(scan, &mut |header, payload| frame.take(header, payload));
        if let Err(why) = read {
            self.error.get_or_insert(Unopened::Damaged(why));
        }
    }
}

/// What applying one frame needs.
struct Frame<'a> {
    id: StreamId,
    end: Lsn,
    partitions: &'a Range<u16>,
    as_of: &'a [(Generation, Lsn)],
    dropped: &'a HashSet<(StreamId, u16, u64)>,
    executor: &'a mut Executor,
    next: &'a mut Lsn,
    clock_ms: &'a mut u64,
    applied: &'a mut u64,
    bytes: &'a mut u64,
    unseal: &'a mut Unseal,
    error: &'a mut Option<Unopened>,
}

impl Frame<'_> {
    fn take(&mut self, header: &FrameHeader, stored: &[u8]) {
        if self.error.is_some() || *self.next >= self.end {
            return;
        }
        *self.next = Lsn(header.first_lsn.0 + u64::from(header.entry_count)).min(self.end);
        *self.bytes += (FRAME_HEADER_BYTES + stored.len()) as u64;
        *self.clock_ms = (*self.clock_ms).max(header.clock_ms);
        let payload = match self.unseal.open(header, stored) {
            Ok(payload) => payload,
            Err(error) => {
                *self.error = Some(error);
                return;
            }
        };
        if header.kind() != Ok(FrameKind::Entries) {
            return;
        }
        for entry in entries(payload, header) {
            let applied = entry.and_then(|(lsn, entry)| {
                if lsn >= self.end {
                    return Ok(());
                }
                *self.clock_ms = (*self.clock_ms).max(entry.clock_ms);
                let is_mine = entry.partition == PARTITION_ALL || self.partitions.contains(&entry.partition);
                let is_dropped = entry.part.is_some_and(|part| self.dropped.contains(&(self.id, part.origin, part.number)));
                if !is_mine || is_dropped {
                    return Ok(());
                }
                *self.applied += 1;
                let (partitions, as_of, at) = (self.partitions, self.as_of, (self.id.generation, lsn));
                let is_wanted = |partition: u16| partitions.contains(&partition) && as_of[usize::from(partition)] <= at;
                if planted(Bug::EntryReplayedTwice) && lsn.0 + 1 == header.first_lsn.0 + u64::from(header.entry_count) {
                    self.executor.shard.replay(&entry, &is_wanted)?;
                }
                self.executor.shard.replay(&entry, &is_wanted)
            });
            if let Err(error) = applied {
                let place = header.at + FRAME_HEADER_BYTES as u64 + error.place;
                *self.error = Some(Unopened::Damaged(LogError { place, why: error.why }));
                return;
            }
        }
    }
}

//! Writes one core's stream: frames into segments, one write at a time, and makes it durable when somebody waits or it is time.
//!
//! A segment is made ahead, under another name: room for it, its header, then the name, then the directory are made durable one
//! after the other, and only then may a frame go into it. Written bytes are never written again. A write and the sync that
//! may belong to it are one request; while it is under way the next frame fills in the [`Journal`].

use super::FileOwner;
use super::room::Room;
use crate::directory::{Directory, unfinished};
use crate::journal::{Journal, Payload};
use crate::keys::Keys;
use crate::planted::{Bug, planted};
use crate::seal::{Compression, Seal};
use netio::{Aligned, FileDone, FileFailure, FileId, FileRequest, FileTraits, Kernel, MonotonicNs, Now};
use shards::log::{
    FRAME_HEADER_BYTES, FrameFlags, FrameSpec, Lsn, NodeId, SEGMENT_HEADER_BYTES, SegmentHeader, SegmentKind, StreamId, frame_bytes,
    frame_header, retired_bytes,
};
use std::collections::VecDeque;
use std::io;
use std::ops::Range;
use std::path::PathBuf;

/// Entries that are written although nobody waits for them to be durable: so many bytes, or those that are so old. So a process
/// that is killed loses no more than that, whatever the level, because the machine lives on.
const WRITE_BYTES: usize = 128 * 1024;
const WRITE_AGE_NS: u64 = 10_000_000;

/// How long a frame that somebody waits for goes on gathering, at most, while every turn brings more. A sync costs as much as
/// some ten requests, whatever it syncs; a core that turns without getting anything is idle, and syncs at once.
const GATHER_NS: u64 = 2_000_000;

/// The write buffer that is kept.
const BUFFER_BYTES_KEPT: usize = 512 * 1024;

/// How long after the newest frame a mark says that it is durable.
const MARK_AFTER_NS: u64 = 100_000_000;

/// Which log this is.
#[derive(Clone, Debug)]
pub(crate) struct Identity {
    pub(crate) directory: Directory,
    pub(crate) node: NodeId,
    pub(crate) stream: StreamId,
    pub(crate) core_count: u16,
    pub(crate) partitions: Range<u16>,
}

/// What a writer has done, for `INFO`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LogCounts {
    /// Bytes of frames written, headers and padding included.
    pub bytes: u64,
    /// Bytes of entries in them.
    pub payload_bytes: u64,
    /// Writes and syncs that were durable when they were done.
    pub syncs: u64,
    /// Those under way.
    pub syncs_under_way: u64,
    /// Frames.
    pub frames: u64,
    /// Segments begun.
    pub segments: u64,
}

/// The writer of one stream.
pub(crate) struct Writer {
    identity: Identity,
    segment_bytes: u64,
    compression: Compression,
    keys: Keys,
    current: Option<Segment>,
    spare: Spare,
    next_seq: u64,
    under_way: Option<UnderWay>,
    /// A frame that the disk had no room for. It is written before anything else.
    stuck: Option<(Aligned, Frame)>,
    /// A segment that is full, until something in the next one is durable: nothing else tells that it may be shorter now.
    full: Option<Segment>,
    /// Segments that are over: cut to their length, then closed; the first of them now.
    retiring: VecDeque<(FileId, u64)>,
    buffer: Option<Aligned>,
    /// Entries up to here were written.
    written: Lsn,
    /// Entries up to here were there when it was last looked.
    seen: Lsn,
    /// What the newest frame says is durable.
    announced: Lsn,
    /// The newest mark is not durable.
    mark_unsynced: bool,
    framed_at: MonotonicNs,
    ending: Ending,
    room: Room,
    /// Segments that were not deleted: number, and first entry.
    segments: VecDeque<(u64, Lsn)>,
    pub(crate) counts: LogCounts,
}

struct Segment {
    file: FileId,
    path: PathBuf,
    /// Where the next frame goes.
    at: u64,
    bytes: u64,
    align_bytes: u32,
    seed: u32,
    seal: Seal,
}

/// The segment after the current one.
enum Spare {
    None,
    Creating,
    Heading(Segment),
    Naming(Segment),
    Publishing(Segment),
    Ready(Segment),
    /// Its file, which has no room for a header, is being removed.
    Removing,
    /// There was no room. To be tried again.
    Refused,
}

enum UnderWay {
    Frame(Frame),
    /// A sync alone: entries up to here.
    Sync(Lsn),
}

#[derive(Clone, Copy)]
struct Frame {
    /// Entries up to here have been written with it.
    last: Lsn,
    bytes: u64,
    /// Whether done means durable.
    sync: bool,
    announces: Lsn,
    is_mark: bool,
    is_end: bool,
}

/// How far the orderly end of the stream is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Ending {
    No,
    Wanted,
    Written,
    Closed,
}

/// What a request was for: the low bytes of its token.
const FRAME: u64 = 0;
const SYNC: u64 = 1;
const SPARE: u64 = 2;
const RETIRE: u64 = 3;
/// What nothing waits for.
const ASIDE: u64 = 4;

/// Why a stream cannot go on: the step, the file and the system's reason.
pub(crate) type Broken = String;

impl Writer {
    pub(crate) fn new(identity: Identity, segment_bytes: u64) -> Writer {
        Writer {
            identity,
            segment_bytes,
            compression: Compression::None,
            keys: Keys::default(),
            current: None,
            spare: Spare::None,
            next_seq: 0,
            under_way: None,
            stuck: None,
            full: None,
            retiring: VecDeque::new(),
            buffer: None,
            written: Lsn(0),
            seen: Lsn(0),
            announced: Lsn(0),
            mark_unsynced: false,
            framed_at: MonotonicNs(0),
            ending: Ending::No,
            room: Room::Enough,
            segments: VecDeque::new(),
            counts: LogCounts::default(),
        }
    }

    /// Whether a frame can be written.
    pub(crate) fn is_open(&self) -> bool {
        self.current.is_some()
    }

    /// Whether the stream has ended in order, and nothing is under way any more.
    pub(crate) fn is_closed(&self) -> bool {
        self.ending == Ending::Closed && self.retiring.is_empty()
    }

    /// Ends the stream when everything is written. One that has not begun has nothing to end.
    pub(crate) fn end(&mut self) {
        if self.ending == Ending::No {
            self.ending = if self.is_open() { Ending::Wanted } else { Ending::Closed };
        }
    }

    /// Whether it is to end, or has: what changes from here on is in no log.
    pub(crate) fn is_ending(&self) -> bool {
        self.ending != Ending::No
    }

    /// What is known of the disk.
    pub(crate) fn room(&self) -> Room {
        self.room
    }

    /// Bytes it holds itself; what is under way the kernel counts.
    pub(crate) fn memory_bytes(&self) -> usize {
        self.buffer.as_ref().map_or(0, Aligned::capacity)
            + self.current.as_ref().map_or(0, |current| current.seal.memory_bytes())
            + self.stuck.as_ref().map_or(0, |(buffer, _)| buffer.capacity())
    }

    /// Frames are compressed like this from now on, and new segments encrypted with the newest of these keys.
    pub(crate) fn set_sealing(&mut self, compression: Compression, keys: &Keys) {
        self.compression = compression;
        self.keys = keys.clone();
    }

    /// New segments are this large from now on.
    pub(crate) fn set_segment_bytes(&mut self, bytes: u64) {
        self.segment_bytes = bytes;
    }

    /// Numbers of the segments that hold no entry from `start` on. They are not named again.
    pub(crate) fn take_segments_before(&mut self, start: Lsn) -> Vec<u64> {
        let mut over = Vec::new();
        while self.segments.get(1).is_some_and(|(_, first)| *first <= start) {
            over.extend(self.segments.pop_front().map(|(seq, _)| seq));
        }
        over
    }

    /// Begins what is due, at most one write. `wanted` is the furthest that somebody waits for.
    pub(crate) fn pump<K: Kernel>(&mut self, kernel: &mut K, journal: &mut Journal, wanted: Lsn, now: Now) {
        self.adopt_spare_first();
        self.prepare_spare(kernel, journal);
        self.look_at_room(journal);
        if self.under_way.is_some() || self.stuck.is_some() || self.current.is_none() || self.ending >= Ending::Written {
            return;
        }
        let grows = journal.last() > std::mem::replace(&mut self.seen, journal.last());
        let due = wanted > journal.synced() || journal.sync_due().is_some_and(|at| at <= now.monotonic) || self.ending == Ending::Wanted;
        if journal.next_bytes().is_some() {
            let age_ns = journal.waiting_since().map_or(0, |since| now.monotonic.since(since));
            // What is due by its period has waited long enough.
            let gathers =
                grows && self.ending == Ending::No && journal.unsynced_since().is_none_or(|since| now.monotonic.since(since) < GATHER_NS);
            if (due && !gathers) || age_ns >= WRITE_AGE_NS || journal.waiting_bytes() >= WRITE_BYTES {
                self.write_entries(kernel, journal, due, now);
            }
        } else if due && self.written > journal.synced() {
            self.sync(kernel);
        } else if self.ending == Ending::Wanted {
            self.write_bare(kernel, journal, FrameFlags::END, now);
        }
    }

    /// When [`Writer::pump`] will have something to do by itself. `None` while something else must happen first.
    pub(crate) fn due(&self, journal: &Journal, wanted: Lsn) -> Option<MonotonicNs> {
        if self.under_way.is_some() || self.stuck.is_some() || self.current.is_none() || self.waits_for_spare(journal) {
            return None;
        }
        if wanted > journal.synced() {
            return Some(MonotonicNs(0));
        }
        let write = journal.waiting_since().map(|since| MonotonicNs(since.0 + WRITE_AGE_NS));
        journal.sync_due().into_iter().chain(write).min()
    }

    fn waits_for_spare(&self, journal: &Journal) -> bool {
        let (Some(current), Some(bytes)) = (&self.current, journal.next_bytes()) else { return false };
        let is_synced = self.written <= journal.synced() && !self.mark_unsynced && self.full.is_none();
        !current.takes(bytes) && !matches!(self.spare, Spare::Ready(_)) && is_synced
    }

    /// Ten times a second: tries again what the disk had no room for, and says what has become durable since the last frame.
    pub(crate) fn round<K: Kernel>(&mut self, kernel: &mut K, journal: &Journal, now: Now) {
        if matches!(self.spare, Spare::Refused) {
            self.spare = Spare::None;
        }
        if self.under_way.is_some() || self.current.is_none() || self.ending != Ending::No {
            return;
        }
        if let Some((buffer, frame)) = self.stuck.take() {
            self.submit(kernel, buffer, frame);
        } else if journal.synced() > self.announced
            && journal.next_bytes().is_none()
            && now.monotonic.since(self.framed_at) >= MARK_AFTER_NS
        {
            self.write_bare(kernel, journal, FrameFlags::MARK, now);
        }
    }

    fn adopt_spare_first(&mut self) {
        if self.current.is_none() && matches!(self.spare, Spare::Ready(_)) && self.ending == Ending::No {
            self.adopt_spare();
        }
    }

    fn adopt_spare(&mut self) {
        let Spare::Ready(segment) = std::mem::replace(&mut self.spare, Spare::None) else { unreachable!("the caller has seen it") };
        self.current = Some(segment);
        self.segments.push_back((self.counts.segments, Lsn(self.written.0 + 1)));
        self.counts.segments += 1;
    }

    fn prepare_spare<K: Kernel>(&mut self, kernel: &mut K, journal: &Journal) {
        let takes_next = |current: &Segment| current.takes(journal.next_bytes().unwrap_or(0));
        let is_wanted = |current: &Segment| match self.ending {
            // A frame may be larger than half a segment, and find no place in one that has hardly begun.
            Ending::No => current.at > current.bytes / 2 || !takes_next(current),
            // What is still to be written, be it the end alone, must go somewhere.
            Ending::Wanted => !takes_next(current),
            Ending::Written | Ending::Closed => false,
        };
        let wanted = self.current.as_ref().map_or(self.ending == Ending::No, is_wanted);
        if wanted && matches!(self.spare, Spare::None) {
            let path = self.spare_path();
            kernel.file(token(SPARE), FileRequest::Create { path, bytes: self.segment_bytes });
            self.spare = Spare::Creating;
        }
    }

    /// Says once that there is no room: it is tried again ten times a second.
    fn tell_full(&self, failure: &FileFailure) {
        if self.room == Room::Enough {
            let core = self.identity.stream.core;
            tracing::warn!(core, %failure, "the log's disk is full: when the file at hand is full too, writes are refused until there is space");
        }
    }

    fn look_at_room(&mut self, journal: &mut Journal) {
        let before = self.room;
        self.room = match (&self.spare, &self.current) {
            _ if self.stuck.is_some() => Room::Full,
            (Spare::Refused | Spare::Removing, Some(current)) => {
                Room::without_next(current.bytes.saturating_sub(current.at), current.bytes)
            }
            (Spare::Refused | Spare::Removing, None) => Room::Full,
            // Being tried again: what was thought before holds until it is known better.
            (Spare::None | Spare::Creating | Spare::Heading(_), _) if self.room != Room::Enough => self.room,
            _ => Room::Enough,
        };
        if before != Room::Enough && self.room == Room::Enough {
            tracing::info!(core = self.identity.stream.core, "the log's disk has room again");
        }
        journal.set_refuses(self.room == Room::Full);
    }

    fn write_entries<K: Kernel>(&mut self, kernel: &mut K, journal: &mut Journal, sync: bool, now: Now) {
        let bytes = journal.next_bytes().expect("the caller has seen some");
        if !self.make_place(kernel, journal, bytes) {
            return;
        }
        let payload = journal.take_payload().expect("just seen");
        let frame = Frame {
            last: payload.last(),
            bytes: 0,
            sync: sync && !planted(Bug::SyncSkipped),
            announces: journal.synced(),
            is_mark: false,
            is_end: false,
        };
        self.counts.payload_bytes += payload.bytes.len() as u64;
        if planted(Bug::AckedBeforeSync) {
            journal.note_synced(frame.last);
        }
        self.framed_at = now.monotonic;
        self.write_frame(kernel, &payload, FrameFlags::ENTRIES, frame);
        journal.recycle(payload.bytes);
    }

    /// Writes a frame without entries.
    fn write_bare<K: Kernel>(&mut self, kernel: &mut K, journal: &Journal, flags: FrameFlags, now: Now) {
        if !self.make_place(kernel, journal, 0) {
            return;
        }
        let is_end = flags == FrameFlags::END;
        let frame = Frame { last: self.written, bytes: 0, sync: is_end, announces: journal.synced(), is_mark: !is_end, is_end };
        let payload = Payload { first: Lsn(self.written.0 + 1), clock_ms: journal.clock_ms().max(now.wall.0), ..Payload::default() };
        self.framed_at = now.monotonic;
        self.write_frame(kernel, &payload, flags, frame);
    }

    /// Whether the current segment takes a frame with so many bytes of entries. If not, begins what must happen before it does.
    fn make_place<K: Kernel>(&mut self, kernel: &mut K, journal: &Journal, bytes: usize) -> bool {
        let current = self.current.as_ref().expect("the caller has seen it");
        if current.takes(bytes) {
            return true;
        }
        // What the next segment says is durable must be so: this one's frames first. And the one before is let go of only then.
        if self.written > journal.synced() || self.mark_unsynced || self.full.is_some() {
            self.sync(kernel);
            return false;
        }
        if !matches!(self.spare, Spare::Ready(_)) {
            return false;
        }
        self.full = self.current.take();
        self.adopt_spare();
        true
    }

    fn write_frame<K: Kernel>(&mut self, kernel: &mut K, payload: &Payload, flags: FrameFlags, mut frame: Frame) {
        let current = self.current.as_mut().expect("the caller has seen it");
        let mut spec = FrameSpec {
            at: current.at,
            first_lsn: payload.first,
            synced_lsn: frame.announces,
            clock_ms: payload.clock_ms,
            entry_count: payload.count,
            raw_bytes: payload.bytes.len() as u32,
            flags,
            key_number: 0,
        };
        let stored = current.seal.seal(self.compression, &mut spec, &payload.bytes);
        let bytes = frame_bytes(stored.len(), current.align_bytes);
        let mut buffer = self.buffer.take().unwrap_or_else(|| Aligned::with_capacity(bytes));
        buffer.clear();
        buffer.extend_from_slice(&frame_header(&spec, stored, current.seed));
        buffer.extend_from_slice(stored);
        buffer.pad_to(current.align_bytes as usize);
        debug_assert_eq!(buffer.len(), bytes);
        frame.bytes = bytes as u64;
        self.submit(kernel, buffer, frame);
    }

    fn submit<K: Kernel>(&mut self, kernel: &mut K, buffer: Aligned, frame: Frame) {
        let current = self.current.as_ref().expect("the caller has seen it");
        self.counts.syncs_under_way = frame.sync.into();
        kernel.file(token(FRAME), FileRequest::Write { file: current.file, at: current.at, buffer, sync: frame.sync });
        self.under_way = Some(UnderWay::Frame(frame));
    }

    fn sync<K: Kernel>(&mut self, kernel: &mut K) {
        let current = self.current.as_ref().expect("the caller has seen it");
        self.counts.syncs_under_way = 1;
        kernel.file(token(SYNC), FileRequest::Sync { file: current.file });
        self.under_way = Some(UnderWay::Sync(self.written));
    }

    fn retire<K: Kernel>(&mut self, kernel: &mut K, segment: Segment) {
        let bytes = retired_bytes(segment.at, segment.bytes, segment.align_bytes);
        self.retiring.push_back((segment.file, bytes));
        if self.retiring.len() == 1 {
            kernel.file(token(RETIRE), FileRequest::Truncate { file: segment.file, bytes });
        }
    }

    /// Something is done.
    ///
    /// # Errors
    /// What makes it impossible to go on. It is not tried again: what a failed sync has left on the disk nobody knows.
    pub(crate) fn take<K: Kernel>(
        &mut self,
        number: u64,
        outcome: Result<FileDone, FileFailure>,
        kernel: &mut K,
        journal: &mut Journal,
        now_ms: u64,
    ) -> Result<(), Broken> {
        match number {
            FRAME | SYNC => self.take_write(outcome, kernel, journal),
            SPARE => self.take_spare(outcome, kernel, now_ms),
            RETIRE => {
                self.take_retired(outcome, kernel);
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn take_write<K: Kernel>(
        &mut self,
        outcome: Result<FileDone, FileFailure>,
        kernel: &mut K,
        journal: &mut Journal,
    ) -> Result<(), Broken> {
        let under_way = self.under_way.take().expect("only what is under way is done");
        let ignored = planted(Bug::SyncErrorIgnored) && outcome.as_ref().is_err_and(|failure| failure.step == "sync");
        match (outcome, under_way) {
            (Ok(FileDone::Wrote { buffer }), UnderWay::Frame(frame)) => {
                if buffer.capacity() <= BUFFER_BYTES_KEPT {
                    self.buffer = Some(buffer);
                }
                self.note_written(frame, kernel, journal);
            }
            (Ok(_), UnderWay::Sync(last)) => self.note_synced(last, kernel, journal),
            (Ok(done), UnderWay::Frame(_)) => unreachable!("a write was answered {done:?}"),
            (Err(_), UnderWay::Frame(frame)) if ignored => self.note_written(frame, kernel, journal),
            (Err(_), UnderWay::Sync(last)) if ignored => self.note_synced(last, kernel, journal),
            (Err(mut failure), UnderWay::Frame(frame)) if is_full(&failure) && failure.step != "sync" => match failure.buffer.take() {
                Some(buffer) => {
                    self.tell_full(&failure);
                    self.stuck = Some((buffer, frame));
                }
                None => return Err(failure.to_string()),
            },
            (Err(failure), _) => return Err(failure.to_string()),
        }
        self.counts.syncs_under_way = 0;
        Ok(())
    }

    fn note_written<K: Kernel>(&mut self, frame: Frame, kernel: &mut K, journal: &mut Journal) {
        self.current.as_mut().expect("it was written to").at += frame.bytes;
        self.written = frame.last;
        self.announced = frame.announces;
        self.counts.bytes += frame.bytes;
        self.counts.frames += 1;
        self.mark_unsynced |= frame.is_mark;
        if frame.sync || planted(Bug::SyncSkipped) {
            self.note_synced(frame.last, kernel, journal);
        }
        if frame.is_end {
            self.ending = Ending::Written;
            let last = self.current.take().expect("it was written to");
            self.retire(kernel, last);
            // One that is still being made is answered yet; it stays as what it is, a segment without frames.
            if let Spare::Ready(spare) = &self.spare {
                kernel.file(token(ASIDE), FileRequest::Close { file: spare.file });
                kernel.file(token(ASIDE), FileRequest::Unlink { path: spare.path.clone() });
                self.spare = Spare::None;
            }
        }
    }

    fn note_synced<K: Kernel>(&mut self, last: Lsn, kernel: &mut K, journal: &mut Journal) {
        self.counts.syncs += 1;
        self.mark_unsynced = false;
        journal.note_synced(last);
        // What is synced is the segment at hand, and nothing is synced before it has a frame.
        if let Some(full) = self.full.take() {
            self.retire(kernel, full);
        }
    }

    fn take_spare<K: Kernel>(&mut self, outcome: Result<FileDone, FileFailure>, kernel: &mut K, now_ms: u64) -> Result<(), Broken> {
        let step = std::mem::replace(&mut self.spare, Spare::None);
        self.spare = match (step, outcome) {
            (Spare::Creating, Ok(FileDone::Opened { file, traits })) => self.head_spare(kernel, file, traits, now_ms),
            (Spare::Heading(segment), Ok(FileDone::Wrote { .. })) => {
                let from = self.spare_path();
                kernel.file(token(SPARE), FileRequest::Rename { from, to: segment.path.clone() });
                Spare::Naming(segment)
            }
            (Spare::Naming(segment), Ok(_)) => {
                self.next_seq += 1;
                if planted(Bug::DirectorySyncForgotten) {
                    Spare::Ready(segment)
                } else {
                    kernel.file(token(SPARE), FileRequest::SyncDirectory { path: self.identity.directory.log() });
                    Spare::Publishing(segment)
                }
            }
            (Spare::Publishing(segment), Ok(_)) => Spare::Ready(segment),
            (Spare::Removing, _) => Spare::Refused,
            (Spare::Creating, Err(failure)) if is_full(&failure) => {
                self.tell_full(&failure);
                Spare::Refused
            }
            (Spare::Heading(segment) | Spare::Naming(segment), Err(failure)) if is_full(&failure) => {
                self.tell_full(&failure);
                kernel.file(token(ASIDE), FileRequest::Close { file: segment.file });
                kernel.file(token(SPARE), FileRequest::Unlink { path: self.spare_path() });
                Spare::Removing
            }
            (_, Err(failure)) => return Err(failure.to_string()),
            (_, Ok(done)) => unreachable!("a step of the next segment was answered {done:?}"),
        };
        Ok(())
    }

    fn head_spare<K: Kernel>(&mut self, kernel: &mut K, file: FileId, traits: FileTraits, now_ms: u64) -> Spare {
        let Identity { node, stream, core_count, partitions, .. } = self.identity.clone();
        let key_number = self.keys.newest().unwrap_or(0);
        let header = SegmentHeader {
            kind: SegmentKind::Log,
            node,
            stream,
            core_count,
            partitions,
            seq: self.next_seq,
            created_ms: now_ms,
            align_bytes: traits.align_bytes,
            key_number,
            nonce_prefix: if key_number == 0 { 0 } else { kernel.entropy() as u32 },
            room_bytes: traits.bytes,
        };
        let block = header.to_bytes();
        let (_, seed) = SegmentHeader::read(&block).expect("just made");
        let mut buffer = Aligned::with_capacity(SEGMENT_HEADER_BYTES);
        buffer.extend_from_slice(&block);
        kernel.file(token(SPARE), FileRequest::Write { file, at: 0, buffer, sync: true });
        let path = self.identity.directory.segment(stream, self.next_seq);
        Spare::Heading(Segment {
            file,
            path,
            at: SEGMENT_HEADER_BYTES as u64,
            bytes: traits.bytes.max(self.segment_bytes),
            align_bytes: traits.align_bytes,
            seed,
            seal: Seal::of(&header, &self.keys).expect("the newest key is among them"),
        })
    }

    fn take_retired<K: Kernel>(&mut self, outcome: Result<FileDone, FileFailure>, kernel: &mut K) {
        let &(file, _) = self.retiring.front().expect("something is being retired");
        if matches!(outcome, Ok(FileDone::Closed)) || outcome.as_ref().is_err_and(|failure| failure.step == "close") {
            self.retiring.pop_front();
            if let Some(&(file, bytes)) = self.retiring.front() {
                kernel.file(token(RETIRE), FileRequest::Truncate { file, bytes });
            } else if self.ending == Ending::Written {
                self.ending = Ending::Closed;
            }
            return;
        }
        if let Err(failure) = outcome {
            // It keeps room that it does not need; what it says is as good as before.
            tracing::warn!(%failure, "a full file of the log could not be cut to its length");
        }
        kernel.file(token(RETIRE), FileRequest::Close { file });
    }

    fn spare_path(&self) -> PathBuf {
        unfinished(&self.identity.directory.segment(self.identity.stream, self.next_seq))
    }
}

impl Segment {
    /// Whether it takes a frame with so many bytes of entries. An empty one takes any, and grows for it.
    fn takes(&self, bytes: usize) -> bool {
        self.at == SEGMENT_HEADER_BYTES as u64 || self.at + frame_bytes(self.seal.bytes_max(bytes), self.align_bytes) as u64 <= self.bytes
    }
}

fn token(number: u64) -> u64 {
    FileOwner::Log.token(number)
}

/// Whether there was no room. Which of the two words is said depends on whether the disk or a quota is used up.
fn is_full(failure: &FileFailure) -> bool {
    matches!(failure.cause.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

const _: () = assert!(FRAME_HEADER_BYTES < crate::settings::LOG_SEGMENT_BYTES_MIN as usize / 2);

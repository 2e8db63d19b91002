//! The first reading of a stream: every checksum, where it ends, and the shares it holds of commands over several cores.

use super::chunks::{Chunks, read_front};
use super::needed::Needed;
use super::refusal::{Loss, Refusal};
use crate::directory::Directory;
use crate::keys::Keys;
use crate::planted::{Bug, planted};
use crate::seal::{Unopened, Unseal};
use crate::task::{Desk, Open};
use netio::{Aligned, FileRequest};
use shards::log::{
    FRAME_HEADER_BYTES, FoundPart, FrameHeader, FrameKind, LogError, Lsn, NodeId, SEGMENT_HEADER_BYTES, Scan, SegmentHeader, SegmentKind,
    StreamId, Tail, entries,
};
use std::ops::Range;

/// What a stream is.
#[derive(Clone, Debug)]
pub(crate) struct Surveyed {
    pub(crate) id: StreamId,
    /// The partitions its core owned.
    pub(crate) partitions: Range<u16>,
    /// The segments that hold what is needed.
    pub(crate) segments: Vec<u64>,
    /// The first entry that has to be there, and the first that is not.
    pub(crate) from: Lsn,
    pub(crate) end: Lsn,
    /// Whether a later generation has decided the end.
    pub(crate) is_decided: bool,
    /// What a crash left behind the end.
    pub(crate) torn: Option<Torn>,
    pub(crate) parts: Vec<FoundPart>,
    /// The first entry that may have to be applied.
    pub(crate) replay_from: Lsn,
    /// The latest clock of its frames and entries.
    pub(crate) clock_ms: u64,
    /// Bytes of frames.
    pub(crate) bytes: u64,
}

impl Surveyed {
    /// Whether any of these partitions is in it.
    pub(crate) fn meets(&self, partitions: &Range<u16>) -> bool {
        self.partitions.start < partitions.end && partitions.start < self.partitions.end
    }
}

/// A tail that nobody was promised.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Torn {
    /// The segment where it begins.
    pub(crate) seq: u64,
    pub(crate) at: u64,
    pub(crate) bytes: u64,
}

/// Who reads, and where.
#[derive(Clone)]
pub(crate) struct Reader {
    pub(crate) desk: Desk,
    pub(crate) directory: Directory,
    pub(crate) node: NodeId,
    pub(crate) keys: Keys,
}

/// One segment as it is being read.
pub(crate) struct Reading {
    pub(crate) chunks: Chunks,
    /// What came after the header with the first read.
    pub(crate) rest: Option<(Aligned, usize)>,
    pub(crate) header: SegmentHeader,
    pub(crate) seed: u32,
    /// Opens its frames, until somebody takes it.
    pub(crate) unseal: Option<Unseal>,
}

impl Reader {
    /// Opens a segment and reads its header.
    pub(crate) async fn open(&self, id: StreamId, seq: u64) -> Result<Reading, Refusal> {
        let path = self.directory.segment(id, seq);
        let mut chunks = Chunks::open(&self.desk, &path, 0, false).await?;
        let first = chunks.next().await?;
        let bytes = first.as_deref().unwrap_or_default();
        let refused = |at: u64, why: &str| Err(Refusal::damaged(self.directory.root(), path.clone(), at, why));
        match SegmentHeader::read(bytes) {
            Ok((header, _)) if header.node != self.node => refused(24, "it belongs to another directory"),
            Ok((header, _)) if (header.kind, header.stream, header.seq) != (SegmentKind::Log, id, seq) => {
                refused(10, "it is another file under this name")
            }
            Ok((header, seed)) => {
                let rest = first.filter(|bytes| bytes.len() > SEGMENT_HEADER_BYTES).map(|bytes| (bytes, SEGMENT_HEADER_BYTES));
                let Some(unseal) = Unseal::of(&header, &self.keys) else {
                    let why = format!("it is encrypted with key {}, and {}", header.key_number, self.keys.said());
                    return Err(Refusal::Key { file: path, why });
                };
                Ok(Reading { chunks, rest, header, seed, unseal: Some(unseal) })
            }
            Err(error) => refused(error.place, &error.why),
        }
    }

    /// Reads all of a stream that is needed.
    pub(crate) async fn survey(&self, needed: &Needed) -> Result<Surveyed, Refusal> {
        let segments = self.segments_from(needed).await?;
        let mut found = Found::of(needed);
        let mut scan: Option<Scan> = None;
        let mut partitions = 0..0;
        let mut files = Vec::new();
        for segment in &segments {
            let mut reading = self.open(needed.id, *segment).await?;
            let refused = |at: LogError| self.refused(needed.id, *segment, &at);
            let mut scanned = match scan.take() {
                None => {
                    partitions = reading.header.partitions.clone();
                    Scan::begin(&reading.header, reading.seed, needed.from)
                }
                Some(mut scan) => {
                    scan.next_segment(&reading.header, reading.seed, &mut |header, payload| found.take(header, payload))
                        .map_err(refused)?;
                    scan
                }
            };
            // Only now: until the next segment begins, frames of the one before may come.
            found.unseal = reading.unseal.take();
            while let Some((bytes, from)) = reading.next().await? {
                // Reading is another core's data, so it happens in slices like everything else.
                self.desk.turn().await;
                scanned.feed(&bytes[from..], &mut |header, payload| found.take(header, payload)).map_err(refused)?;
                reading.chunks.give_back(bytes);
                if needed.decided.is_some_and(|end| scanned.end() >= end) {
                    break;
                }
            }
            if let Some(error) = found.error.take() {
                return Err(self.unopened(needed.id, *segment, &error));
            }
            // What lies behind an end that was decided once means nothing any more.
            let is_over = needed.decided.is_some_and(|end| scanned.end() >= end);
            scan = Some(scanned);
            files.push(reading);
            if is_over {
                break;
            }
        }
        let mut scan = scan.expect("a stream that is needed has a segment");
        scan.note_durable(needed.durable);
        let last = *segments.last().expect("as many as there are scans");
        let refused = |at: LogError| self.refused(needed.id, last, &at);
        let tail = scan.finish(&mut |header, payload| found.take(header, payload)).map_err(refused)?;
        if let Some(error) = found.error.take() {
            return Err(self.unopened(needed.id, last, &error));
        }
        let tail = needed.decided.map_or(tail, |end| tail.decided(end));
        let torn = match tail {
            Tail::Clean { .. } => None,
            Tail::Torn { segment, at, bytes, .. } => Some(Torn { seq: segment, at, bytes }),
            Tail::Damaged { segment, at, .. } if planted(Bug::DamageTakenForTornTail) => Some(Torn { seq: segment, at, bytes: 0 }),
            Tail::Damaged { end, segment, at, known } => return Err(self.lost(needed.id, segment, at, end, known)),
            Tail::Cut { segment, at, room_bytes, .. } => {
                let error = LogError { place: at, why: cut_text(room_bytes).into() };
                return Err(self.refused(needed.id, segment, &error));
            }
        };
        if needed.decided.is_none() && !planted(Bug::TailNotSyncedAfterKill) {
            self.sync(&files).await?;
        }
        Ok(Surveyed {
            id: needed.id,
            partitions,
            segments,
            from: needed.from,
            end: tail.end(),
            is_decided: needed.decided.is_some(),
            torn,
            parts: found.parts,
            replay_from: needed.replay_from,
            clock_ms: found.clock_ms,
            bytes: found.bytes,
        })
    }

    /// What a killed process left in the page cache is made durable before anything is built on it.
    async fn sync(&self, files: &[Reading]) -> Result<(), Refusal> {
        for reading in files {
            let Open { file, .. } = *reading.chunks.file();
            self.desk.ask(FileRequest::Sync { file }).await?;
        }
        Ok(())
    }

    /// The segments from the one on that holds the first entry needed. Those before it are left alone: nobody needs them any more,
    /// and an older snapshot may.
    async fn segments_from(&self, needed: &Needed) -> Result<Vec<u64>, Refusal> {
        let mut first = needed.segments.len() - 1;
        while first > 0 {
            let path = self.directory.segment(needed.id, needed.segments[first]);
            let front = read_front(&self.desk, &path, 2 * SEGMENT_HEADER_BYTES).await?;
            if first_lsn_of(&front).is_some_and(|lsn| lsn <= needed.from) {
                break;
            }
            first -= 1;
        }
        Ok(needed.segments[first..].to_vec())
    }

    fn refused(&self, id: StreamId, seq: u64, error: &LogError) -> Refusal {
        Refusal::damaged(self.directory.root(), self.directory.segment(id, seq), error.place, error.why.clone())
    }

    /// A frame could not be opened or understood.
    pub(crate) fn unopened(&self, id: StreamId, seq: u64, error: &Unopened) -> Refusal {
        match error {
            Unopened::WrongKey(number) => {
                let why = format!("key {number} is not the one it was encrypted with");
                Refusal::Key { file: self.directory.segment(id, seq), why }
            }
            Unopened::Damaged(error) => self.refused(id, seq, error),
        }
    }

    fn lost(&self, id: StreamId, seq: u64, at: u64, from: Lsn, known: Lsn) -> Refusal {
        let why = "what was written there cannot be read";
        Refusal::lost(self.directory.root(), self.directory.segment(id, seq), at, why, Loss { stream: id, from, known })
    }
}

impl Reading {
    /// The next bytes, and from where on they count.
    pub(crate) async fn next(&mut self) -> Result<Option<(Aligned, usize)>, netio::FileFailure> {
        if let Some(rest) = self.rest.take() {
            return Ok(Some(rest));
        }
        Ok(self.chunks.next().await?.map(|bytes| (bytes, 0)))
    }
}

/// What is wrong with the newest file of a stream that is shorter than it was made with.
pub fn cut_text(room_bytes: u64) -> String {
    format!("it ends there, though it was made with {room_bytes} bytes and nothing follows it: what it or a newer file held is gone")
}

/// What the first frame of a segment says of itself: a hint, because nothing is verified here. The scan that begins there is.
fn first_lsn_of(front: &[u8]) -> Option<Lsn> {
    let header = front.get(SEGMENT_HEADER_BYTES..SEGMENT_HEADER_BYTES + FRAME_HEADER_BYTES)?;
    let lsn = u64::from_le_bytes(header[24..32].try_into().expect("eight bytes"));
    (header.starts_with(b"CWFR") && lsn > 0).then_some(Lsn(lsn))
}

/// What is gathered while a stream is read.
struct Found {
    id: StreamId,
    /// Where the stream ends, if that is decided already.
    end: Option<Lsn>,
    parts: Vec<FoundPart>,
    clock_ms: u64,
    bytes: u64,
    /// Opens the frames of the segment being read.
    unseal: Option<Unseal>,
    error: Option<Unopened>,
}

impl Found {
    fn of(needed: &Needed) -> Found {
        let Needed { id, decided, .. } = *needed;
        Found { id, end: decided, parts: Vec::new(), clock_ms: 0, bytes: 0, unseal: None, error: None }
    }

    fn take(&mut self, header: &FrameHeader, stored: &[u8]) {
        self.clock_ms = self.clock_ms.max(header.clock_ms);
        self.bytes += (FRAME_HEADER_BYTES + stored.len()) as u64;
        let payload = match self.unseal.as_mut().expect("a segment is being read").open(header, stored) {
            Ok(payload) => payload,
            Err(error) => {
                self.error.get_or_insert(error);
                return;
            }
        };
        if header.kind() != Ok(FrameKind::Entries) {
            return;
        }
        for entry in entries(payload, header) {
            match entry {
                Ok((lsn, entry)) => {
                    self.clock_ms = self.clock_ms.max(entry.clock_ms);
                    if let Some(part) = entry.part
                        && self.parts.last().is_none_or(|last| !last.is_of(&part))
                    {
                        let part = FoundPart::of(self.id, lsn, &part);
                        // Where a stream ends that is decided, nothing is decided again.
                        if self.end.is_none() || part.is_gap() {
                            self.parts.push(part);
                        }
                    }
                }
                Err(error) => {
                    let place = header.at + FRAME_HEADER_BYTES as u64 + error.place;
                    self.error.get_or_insert(Unopened::Damaged(LogError { place, why: error.why }));
                    return;
                }
            }
        }
    }
}

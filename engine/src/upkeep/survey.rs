//! One stream, or one snapshot, read from the front to its end.

use engine::load::{Needed, cut_text};
use engine::seal::{Unopened, Unseal};

use super::home::{Fault, Home, read_front};
use shards::key::PARTITION_COUNT;
use shards::log::{
    Blocks, FRAME_HEADER_BYTES, FoundPart, FrameHeader, FrameKind, LogError, Lsn, Manifest, SEGMENT_HEADER_BYTES, Scan, Section,
    SegmentHeader, SegmentKind, StreamId, Tail, entries, frame_at,
};
use shards::snapshot::{SnapshotItem, Tally};
use std::fs::{self, File};
use std::io::Read;
use std::path::Path;

/// Bytes read at once.
const CHUNK_BYTES: usize = 1 << 20;

/// What is in one segment.
#[derive(Clone, Debug)]
pub(super) struct Segment {
    pub(super) seq: u64,
    pub(super) entries: u64,
    pub(super) first: Option<Lsn>,
}

/// How a stream ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// As it should.
    Whole,
    /// With a write that nobody was promised.
    Torn { segment: u64, at: u64, bytes: u64 },
    /// Before entries that were safe: up to `known` at the least.
    Lost { segment: u64, at: u64, known: Lsn },
    /// Because a file is shorter than it was made, and nothing behind it tells that it may be.
    Cut { segment: u64, at: u64, room_bytes: u64 },
    /// Before a segment that is missing, or whose header cannot be read.
    Headless { segment: u64, at: u64, why: String },
    /// Before something that is not damaged, but not understood either; or that the machine does not give.
    Foreign { segment: u64, at: u64, why: String },
}

/// What a stream is.
#[derive(Clone, Debug)]
pub(super) struct Survey {
    pub(super) needed: Needed,
    /// The segments that were read.
    pub(super) segments: Vec<Segment>,
    /// The first entry that is not there.
    pub(super) end: Lsn,
    pub(super) state: State,
    pub(super) parts: Vec<FoundPart>,
    /// The latest clock of its frames and entries.
    pub(super) clock_ms: u64,
    /// Bytes that are no frames, where nothing is missing.
    pub(super) stray_bytes: u64,
    /// A segment whose key was not given: its checksums were checked, and nothing more.
    pub(super) locked: Option<(u64, u32)>,
}

impl Survey {
    pub(super) fn id(&self) -> StreamId {
        self.needed.id
    }

    pub(super) fn is_damaged(&self) -> bool {
        !matches!(self.state, State::Whole | State::Torn { .. })
    }

    /// What is wrong with it, if something is.
    pub(super) fn fault(&self, home: &Home) -> Option<Fault> {
        let file = |segment| home.directory.segment(self.id(), segment);
        match &self.state {
            State::Whole | State::Torn { .. } => None,
            State::Lost { segment, at, known } => {
                let count = (known.0 + 1).saturating_sub(self.end.0);
                let why = format!("entries {} to {} of {} were safe and cannot be read: at least {count}", self.end.0, known.0, self.id());
                Some(Fault::new(file(*segment), *at, why))
            }
            State::Cut { segment, at, room_bytes } => Some(Fault::new(file(*segment), *at, cut_text(*room_bytes))),
            State::Headless { segment, at, why } | State::Foreign { segment, at, why } => {
                Some(Fault::new(file(*segment), *at, why.clone()))
            }
        }
    }
}

/// Reads a stream as a server would.
pub(super) fn survey(home: &Home, needed: &Needed) -> Survey {
    let segments = segments_from(home, needed);
    let mut found = Found { id: needed.id, segments: Vec::new(), parts: Vec::new(), clock_ms: 0, unseal: None, locked: None, error: None };
    let mut scan: Option<Scan> = None;
    let mut stopped = None;
    for seq in &segments {
        stopped = read_segment(home, needed, *seq, &mut scan, &mut found).err();
        if stopped.is_some() {
            break;
        }
    }
    let (mut end, mut stray_bytes, mut state) = (needed.from, 0, State::Whole);
    if let Some(mut scan) = scan {
        scan.note_durable(needed.durable);
        let last = found.segments.last().map_or(0, |segment| segment.seq);
        let ended = scan.end_segment(&mut |header, payload| found.take(header, payload));
        (end, stray_bytes) = (scan.end(), scan.stray_bytes());
        let tail = ended.and_then(|()| scan.finish(&mut |header, payload| found.take(header, payload)));
        match tail.map(|tail| needed.decided.map_or(tail, |decided| tail.decided(decided))) {
            Ok(tail) => (end, state) = (tail.end(), state_of(tail)),
            Err(error) => state = foreign(last, &error),
        }
    }
    let missing = || needed.missing.map(|segment| State::Headless { segment, at: 0, why: "the file is missing".into() });
    if let Some(stopped) = found.error.take().map(|(seq, error)| foreign(seq, &error)).or(stopped).or_else(missing) {
        state = stopped;
    }
    let Found { segments, parts, clock_ms, locked, .. } = found;
    Survey { needed: needed.clone(), segments, end, state, parts, clock_ms, stray_bytes, locked }
}

fn state_of(tail: Tail) -> State {
    match tail {
        Tail::Clean { .. } => State::Whole,
        Tail::Torn { segment, at, bytes, .. } => State::Torn { segment, at, bytes },
        Tail::Damaged { segment, at, known, .. } => State::Lost { segment, at, known },
        Tail::Cut { segment, at, room_bytes, .. } => State::Cut { segment, at, room_bytes },
    }
}

fn foreign(segment: u64, error: &LogError) -> State {
    State::Foreign { segment, at: error.place, why: error.why.to_string() }
}

/// Feeds one segment to the scan.
fn read_segment(home: &Home, needed: &Needed, seq: u64, scan: &mut Option<Scan>, found: &mut Found) -> Result<(), State> {
    let path = home.directory.segment(needed.id, seq);
    let machine = |error: std::io::Error| State::Foreign { segment: seq, at: 0, why: error.to_string() };
    let (header, seed) = read_header(home, &path, needed.id, seq)?;
    match scan {
        None => *scan = Some(Scan::begin(&header, seed, needed.from)),
        Some(scan) => {
            scan.next_segment(&header, seed, &mut |header, payload| found.take(header, payload)).map_err(|error| foreign(seq, &error))?
        }
    }
    found.segments.push(Segment { seq, entries: 0, first: None });
    // Only now: until the next segment began, frames of the one before might come.
    found.unseal = Unseal::of(&header, &home.keys);
    if found.unseal.is_none() {
        found.locked.get_or_insert((seq, header.key_number));
    }
    let scan = scan.as_mut().expect("just begun");
    each_chunk(&path, SEGMENT_HEADER_BYTES, &mut |bytes| scan.feed(bytes, &mut |header, payload| found.take(header, payload)))
        .map_err(machine)?
        .map_err(|error| foreign(seq, &error))
}

/// A segment's header, if it is the one its name says.
pub(super) fn read_header(home: &Home, path: &Path, id: StreamId, seq: u64) -> Result<(SegmentHeader, u32), State> {
    let headless = |at, why: &str| State::Headless { segment: seq, at, why: why.to_string() };
    let front = read_front(path).map_err(|error| State::Foreign { segment: seq, at: 0, why: error.to_string() })?;
    match SegmentHeader::read(&front) {
        Ok((header, _)) if home.is_foreign(header.node) => Err(headless(24, "it belongs to another directory")),
        Ok((header, _)) if (header.kind, header.stream, header.seq) != (SegmentKind::Log, id, seq) => {
            Err(headless(10, "it is another file under this name"))
        }
        Ok(read) => Ok(read),
        Err(error) => Err(headless(error.place, &error.why)),
    }
}

/// The file's bytes from `from` on, piece by piece, until `take` says otherwise.
pub(super) fn each_chunk<E>(path: &Path, from: usize, take: &mut dyn FnMut(&[u8]) -> Result<(), E>) -> std::io::Result<Result<(), E>> {
    let mut file = File::open(path)?;
    let (mut buffer, mut skip) = (vec![0; CHUNK_BYTES], from);
    loop {
        let mut filled = 0;
        // Chunks are whole as long as there is more, so that they stay multiples of the alignment.
        while filled < buffer.len() {
            match file.read(&mut buffer[filled..])? {
                0 => break,
                read => filled += read,
            }
        }
        let bytes = &buffer[skip.min(filled)..filled];
        skip = skip.saturating_sub(filled);
        if let Err(stop) = take(bytes) {
            return Ok(Err(stop));
        }
        if filled < buffer.len() {
            return Ok(Ok(()));
        }
    }
}

/// The segments from the one on that holds the first entry needed: those before it are nobody's.
fn segments_from(home: &Home, needed: &Needed) -> Vec<u64> {
    let begins_before = |seq: u64| {
        let path = home.directory.segment(needed.id, seq);
        let Ok((header, seed)) = read_header(home, &path, needed.id, seq) else { return false };
        let mut first = None;
        let looked = each_chunk(&path, SEGMENT_HEADER_BYTES, &mut |bytes: &[u8]| -> Result<(), ()> {
            first = frame_at(bytes, SEGMENT_HEADER_BYTES as u64, seed).map(|(header, _)| header.first_lsn);
            Err(())
        });
        looked.is_ok() && header.align_bytes > 0 && first.is_some_and(|first| first <= needed.from)
    };
    let from = (0..needed.segments.len()).rev().find(|index| begins_before(needed.segments[*index])).unwrap_or(0);
    needed.segments[from..].to_vec()
}

/// What is gathered while a stream is read.
struct Found {
    id: StreamId,
    segments: Vec<Segment>,
    parts: Vec<FoundPart>,
    clock_ms: u64,
    /// Opens the frames of the segment being read, if its key was given.
    unseal: Option<Unseal>,
    locked: Option<(u64, u32)>,
    error: Option<(u64, LogError)>,
}

impl Found {
    fn take(&mut self, header: &FrameHeader, stored: &[u8]) {
        self.clock_ms = self.clock_ms.max(header.clock_ms);
        if header.kind() != Ok(FrameKind::Entries) {
            return;
        }
        let segment = self.segments.last_mut().expect("frames come from segments");
        segment.first.get_or_insert(header.first_lsn);
        segment.entries += u64::from(header.entry_count);
        let Some(unseal) = &mut self.unseal else { return };
        let payload = match unseal.open(header, stored) {
            Ok(payload) => payload,
            Err(unopened) => {
                self.error.get_or_insert((segment.seq, why_unopened(header, unopened)));
                return;
            }
        };
        for entry in entries(payload, header) {
            match entry {
                Ok((lsn, entry)) => {
                    self.clock_ms = self.clock_ms.max(entry.clock_ms);
                    if let Some(part) = entry.part
                        && self.parts.last().is_none_or(|last| !last.is_of(&part))
                    {
                        self.parts.push(FoundPart::of(self.id, lsn, &part));
                    }
                }
                Err(error) => {
                    let place = header.at + FRAME_HEADER_BYTES as u64 + error.place;
                    self.error.get_or_insert((segment.seq, LogError { place, why: error.why }));
                    return;
                }
            }
        }
    }
}

fn why_unopened(header: &FrameHeader, unopened: Unopened) -> LogError {
    match unopened {
        Unopened::WrongKey(number) => {
            LogError { place: header.at, why: format!("key {number} is not the one it was encrypted with").into() }
        }
        Unopened::Damaged(error) => error,
    }
}

/// A snapshot that holds from the first byte to the last; else the first fault.
pub(super) fn read_snapshot(home: &Home, id: u64) -> Result<Manifest, Fault> {
    let path = home.directory.manifest(id);
    let bytes = fs::read(&path).map_err(|error| Fault::new(path.clone(), 0, error.to_string()))?;
    let manifest = match Manifest::read(&bytes) {
        Ok(manifest) if home.is_foreign(manifest.node) => return Err(Fault::new(path, 24, "it belongs to another directory")),
        Ok(manifest) if manifest.id != id => return Err(Fault::new(path, 40, "it is that of another snapshot")),
        Ok(manifest) => manifest,
        Err(error) => return Err(Fault::new(path, error.place, error.why)),
    };
    let mut partitions: Vec<u16> = manifest.sections.iter().map(|section| section.partition).collect();
    partitions.sort_unstable();
    if !partitions.into_iter().eq(0..PARTITION_COUNT) {
        return Err(Fault::new(path, 0, "it does not name every partition once"));
    }
    for (core, bytes) in &manifest.files {
        read_snapshot_file(home, &manifest, *core, *bytes)?;
    }
    Ok(manifest)
}

fn read_snapshot_file(home: &Home, manifest: &Manifest, core: u16, bytes: u64) -> Result<(), Fault> {
    let path = home.directory.snapshot_file(manifest.id, core);
    let fault = |at, why: String| Fault::new(path.clone(), at, why);
    let machine = |error: std::io::Error| fault(0, error.to_string());
    let length = fs::metadata(&path).map_err(machine)?.len();
    if length != bytes {
        return Err(fault(length.min(bytes), format!("it has {length} bytes instead of {bytes}")));
    }
    let (header, seed) = SegmentHeader::read(&read_front(&path).map_err(machine)?).map_err(|error| fault(error.place, error.why.into()))?;
    if (header.kind, header.seq, header.stream.core) != (SegmentKind::Snapshot, manifest.id, core) || home.is_foreign(header.node) {
        return Err(fault(10, "it is another file under this name".into()));
    }
    let mut blocks = Blocks::begin(&header, seed);
    let mut sections =
        Sections { left: manifest.sections.iter().filter(|section| section.file == core).collect(), active: None, tally: Tally::default() };
    let mut unseal = Unseal::of(&header, &home.keys);
    let mut take = |header: &FrameHeader, stored: &[u8]| {
        // Without its key, the checksum is all that can be looked at.
        let Some(unseal) = &mut unseal else { return Ok(()) };
        sections.take(header.at, unseal.open(header, stored).map_err(|unopened| why_unopened(header, unopened))?)
    };
    each_chunk(&path, SEGMENT_HEADER_BYTES, &mut |bytes| blocks.feed(bytes, &mut take))
        .map_err(machine)?
        .and_then(|()| blocks.finish())
        .map_err(|error| fault(error.place, error.why.into()))?;
    if sections.left.is_empty() || unseal.is_none() { Ok(()) } else { Err(fault(bytes, "it ends before its last section".into())) }
}

/// What a manifest says of a file, compared with what is in it.
struct Sections<'a> {
    left: Vec<&'a Section>,
    active: Option<&'a Section>,
    tally: Tally,
}

impl Sections<'_> {
    fn take(&mut self, at: u64, mut payload: &[u8]) -> Result<(), LogError> {
        while let Some(item) = SnapshotItem::take(&mut payload)? {
            self.take_item(at, &item)?;
        }
        Ok(())
    }

    fn take_item(&mut self, at: u64, item: &SnapshotItem<'_>) -> Result<(), LogError> {
        let wrong = |why: &'static str| Err(LogError { place: 0, why: why.into() });
        self.tally.add(item)?;
        match *item {
            // One that was begun again counts only where the manifest says that it begins.
            SnapshotItem::SectionStart { partition, as_of, clock_ms } => {
                self.active = self.left.iter().find(|section| section.partition == partition && section.at == at).copied();
                match self.active {
                    Some(section) if (section.as_of, section.clock_ms) != (as_of, clock_ms) => wrong("a section of another moment"),
                    _ => Ok(()),
                }
            }
            SnapshotItem::SectionEnd { partition, count, digest } => {
                let Some(section) = self.active.take() else { return Ok(()) };
                if (partition, count, digest) != (section.partition, section.count, section.digest) {
                    return wrong("a section that is not what the manifest says");
                }
                self.left.retain(|other| !std::ptr::eq(*other, section));
                Ok(())
            }
            _ => Ok(()),
        }
    }
}

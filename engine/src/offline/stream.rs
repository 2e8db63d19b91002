//! One core's log of one generation, read from a directory's files: how much of each file means something, and where a point lies
//! in it.

use super::Trouble;
use super::point::Point;
use engine::keys::Keys;
use engine::seal::{Unopened, Unseal};
use shards::log::{
    FRAME_HEADER_BYTES, FoundPart, FrameHeader, FrameKind, LogError, Lsn, NodeId, SEGMENT_HEADER_BYTES, Scan, SegmentHeader, SegmentKind,
    StreamId, Tail, entries, frame_bytes, segment_name, segment_of,
};
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};

/// Bytes read at once.
const CHUNK_BYTES: usize = 1 << 20;

/// The files of every stream in a directory, by number.
pub(super) type Streams = BTreeMap<StreamId, Vec<u64>>;

/// Lists a directory's log.
pub(super) fn streams(log: &Path) -> Result<Streams, Trouble> {
    let mut streams = Streams::new();
    for name in names(log)? {
        if let Some((stream, seq)) = segment_of(&name) {
            streams.entry(stream).or_default().push(seq);
        }
    }
    streams.values_mut().for_each(|segments| segments.sort_unstable());
    Ok(streams)
}

/// The names in a directory, sorted; none if it is not there.
pub(super) fn names(folder: &Path) -> Result<Vec<String>, Trouble> {
    let trouble = |error| Trouble::new(format!("cannot list {}: {error}", folder.display()));
    let listed = match fs::read_dir(folder) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        listed => listed.map_err(trouble)?,
    };
    let mut names = Vec::new();
    for entry in listed {
        names.extend(entry.map_err(trouble)?.file_name().into_string());
    }
    names.sort_unstable();
    Ok(names)
}

/// What was asked about a stream.
#[derive(Clone, Copy)]
pub(super) struct Question<'a> {
    /// The directory its files are in.
    pub(super) log: &'a Path,
    pub(super) node: NodeId,
    pub(super) id: StreamId,
    pub(super) segments: &'a [u64],
    /// The first entry that has to be there; without one, the first that is.
    pub(super) from: Option<Lsn>,
    /// Entries behind it do not count.
    pub(super) point: Option<Point>,
    /// What encrypted frames are opened with. Without, they stay closed, and nothing is known of their entries.
    pub(super) keys: Option<&'a Keys>,
}

/// What a stream is.
#[derive(Debug)]
pub(super) struct Stream {
    pub(super) id: StreamId,
    /// Each file's number, and how much of it means something.
    pub(super) segments: Vec<(u64, u64)>,
    pub(super) tail: Tail,
    /// The first entry behind the point, if there is one.
    pub(super) cut: Option<Lsn>,
    pub(super) parts: Vec<FoundPart>,
    /// The latest clock before the point, and how many entries there are.
    pub(super) clock_ms: u64,
    pub(super) count: u64,
    /// The clock of the point's own entry, if that is in here.
    pub(super) last_clock_ms: Option<u64>,
}

impl Stream {
    /// The first entry that does not count: it is not there, or lies behind the point.
    pub(super) fn end(&self) -> Lsn {
        self.cut.map_or(self.tail.end(), |cut| cut.min(self.tail.end()))
    }

    /// Refuses what is damaged.
    pub(super) fn checked(self, log: &Path) -> Result<Stream, Trouble> {
        match self.tail {
            Tail::Damaged { end, segment, at, known } => Err(Trouble::new(format!(
                "{} is damaged at byte {at}: entries {} to {} of {} were safe there and cannot be read; `corewheel check` tells more",
                log.join(segment_name(self.id, segment)).display(),
                end.0,
                known.0,
                self.id
            ))),
            _ => Ok(self),
        }
    }
}

impl Question<'_> {
    /// Reads all of the stream's files.
    pub(super) fn read(&self) -> Result<Stream, Trouble> {
        let mut found = Found::of(self);
        let mut scan: Option<Scan> = None;
        let from = match self.from {
            Some(from) => from,
            None => self.first_lsn(self.segments[0])?.unwrap_or(Lsn(1)),
        };
        let mut buffer = vec![0; CHUNK_BYTES];
        for seq in self.segments {
            let (mut file, header, seed) = self.open(*seq)?;
            let refused = |error: LogError| Trouble::new(format!("{} {error}", self.path(*seq).display()));
            let mut scanned = match scan.take() {
                None => Scan::begin(&header, seed, from),
                Some(mut scan) => {
                    scan.next_segment(&header, seed, &mut |header, payload| found.take(header, payload)).map_err(refused)?;
                    scan
                }
            };
            found.begin_segment(*seq, header.align_bytes);
            found.unseal = self.unseal(&header)?;
            loop {
                let count =
                    read_full(&mut file, &mut buffer).map_err(Trouble::step(format!("cannot read {}", self.path(*seq).display())))?;
                scanned.feed(&buffer[..count], &mut |header, payload| found.take(header, payload)).map_err(refused)?;
                if count < buffer.len() {
                    break;
                }
            }
            scan = Some(scanned);
        }
        let last = *self.segments.last().expect("a stream has files");
        let refused = |error: LogError| Trouble::new(format!("{} {error}", self.path(last).display()));
        let scan = scan.expect("as many files as were read");
        let tail = scan.finish(&mut |header, payload| found.take(header, payload)).map_err(refused)?;
        match found.error.take() {
            Some(error) => Err(refused(error)),
            None => Ok(found.stream(tail)),
        }
    }

    /// Reads as little as tells the latest clock: the last files that hold anything.
    pub(super) fn latest_clock(&self) -> Result<u64, Trouble> {
        let mut first = self.segments.len() - 1;
        while first > 0 && self.first_lsn(self.segments[first])?.is_none() {
            first -= 1;
        }
        Ok(Question { segments: &self.segments[first..], from: None, ..*self }.read()?.clock_ms)
    }

    fn path(&self, seq: u64) -> PathBuf {
        self.log.join(segment_name(self.id, seq))
    }

    /// Opens a file behind its header.
    fn open(&self, seq: u64) -> Result<(File, SegmentHeader, u32), Trouble> {
        let path = self.path(seq);
        let mut file = File::open(&path).map_err(Trouble::step(format!("cannot open {}", path.display())))?;
        let mut block = [0; SEGMENT_HEADER_BYTES];
        let count = read_full(&mut file, &mut block).map_err(Trouble::step(format!("cannot read {}", path.display())))?;
        let (header, seed) = SegmentHeader::read(&block[..count]).map_err(|error| Trouble::new(format!("{} {error}", path.display())))?;
        if header.node != self.node {
            return Err(Trouble::new(format!("{} belongs to another directory", path.display())));
        }
        if (header.kind, header.stream, header.seq) != (SegmentKind::Log, self.id, seq) {
            return Err(Trouble::new(format!("{} is another file under this name", path.display())));
        }
        Ok((file, header, seed))
    }

    /// What opens a file's frames, if anything does.
    fn unseal(&self, header: &SegmentHeader) -> Result<Option<Unseal>, Trouble> {
        let Some(keys) = self.keys else { return Ok(Unseal::of(header, &Keys::default())) };
        let unseal = Unseal::of(header, keys);
        let missing = || {
            let file = self.path(header.seq);
            Trouble::new(format!("{} is encrypted with key {}, and {}", file.display(), header.key_number, keys.said()))
        };
        unseal.map(Some).ok_or_else(missing)
    }

    /// What the first frame of a file says of itself: a hint, because nothing is verified here.
    fn first_lsn(&self, seq: u64) -> Result<Option<Lsn>, Trouble> {
        let (mut file, ..) = self.open(seq)?;
        let mut front = [0; FRAME_HEADER_BYTES];
        let step = format!("cannot read {}", self.path(seq).display());
        let count = read_full(&mut file, &mut front).map_err(Trouble::step(step))?;
        let lsn = u64::from_le_bytes(front[24..32].try_into().expect("eight bytes"));
        Ok((count == FRAME_HEADER_BYTES && front.starts_with(b"CWFR") && lsn > 0).then_some(Lsn(lsn)))
    }
}

/// Reads until the buffer is full or the file ends.
pub(super) fn read_full(from: &mut impl Read, buffer: &mut [u8]) -> std::io::Result<usize> {
    let mut count = 0;
    while count < buffer.len() {
        match from.read(&mut buffer[count..]) {
            Ok(0) => break,
            Ok(read) => count += read,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(count)
}

/// What is gathered while a stream is read.
struct Found {
    stream: StreamId,
    point: Option<Point>,
    segments: Vec<(u64, u64)>,
    align_bytes: u32,
    cut: Option<Lsn>,
    parts: Vec<FoundPart>,
    clock_ms: u64,
    count: u64,
    last_clock_ms: Option<u64>,
    /// The entry before this one said that it belongs to the same group.
    in_group: bool,
    /// Opens the frames of the file being read.
    unseal: Option<Unseal>,
    error: Option<LogError>,
}

impl Found {
    fn of(question: &Question<'_>) -> Found {
        Found {
            stream: question.id,
            point: question.point,
            segments: Vec::new(),
            align_bytes: 0,
            cut: None,
            parts: Vec::new(),
            clock_ms: 0,
            count: 0,
            last_clock_ms: None,
            in_group: false,
            unseal: None,
            error: None,
        }
    }

    fn begin_segment(&mut self, seq: u64, align_bytes: u32) {
        self.segments.push((seq, SEGMENT_HEADER_BYTES as u64));
        self.align_bytes = align_bytes;
    }

    fn take(&mut self, header: &FrameHeader, stored: &[u8]) {
        let (_, bytes) = self.segments.last_mut().expect("frames are in a file");
        *bytes = header.at + frame_bytes(stored.len(), self.align_bytes) as u64;
        if header.kind() != Ok(FrameKind::Entries) {
            return;
        }
        let Some(mut unseal) = self.unseal.take() else {
            self.clock_ms = self.clock_ms.max(header.clock_ms);
            return;
        };
        match unseal.open(header, stored) {
            Ok(payload) => self.take_payload(header, payload),
            Err(Unopened::Damaged(error)) => _ = self.error.get_or_insert(error),
            Err(Unopened::WrongKey(number)) => {
                let why = format!("key {number} is not the one it was encrypted with");
                self.error.get_or_insert(LogError { place: header.at, why: why.into() });
            }
        }
        self.unseal = Some(unseal);
    }

    fn take_payload(&mut self, header: &FrameHeader, payload: &[u8]) {
        for entry in entries(payload, header) {
            match entry {
                Ok((lsn, entry)) => self.take_entry(lsn, &entry),
                Err(error) => {
                    let place = header.at + FRAME_HEADER_BYTES as u64 + error.place;
                    self.error.get_or_insert(LogError { place, why: error.why });
                    return;
                }
            }
        }
    }

    fn take_entry(&mut self, lsn: Lsn, entry: &shards::log::Entry<'_>) {
        let begins_group = !self.in_group;
        self.in_group = entry.in_group;
        if let Some(part) = entry.part
            && self.parts.last().is_none_or(|last| !last.is_of(&part))
        {
            self.parts.push(FoundPart::of(self.stream, lsn, &part));
        }
        if self.point.is_some_and(|point| point.last.is_some_and(|last| (last.stream, last.lsn) == (self.stream, lsn))) {
            self.last_clock_ms = Some(entry.clock_ms);
        }
        // A command's entries count together or not at all.
        if self.cut.is_none() && begins_group && self.point.is_some_and(|point| point.is_before(self.stream, lsn, entry.clock_ms)) {
            self.cut = Some(lsn);
        }
        if self.cut.is_none() {
            self.clock_ms = self.clock_ms.max(entry.clock_ms);
            self.count += 1;
        }
    }

    fn stream(self, tail: Tail) -> Stream {
        let Found { stream, segments, cut, parts, clock_ms, count, last_clock_ms, .. } = self;
        Stream { id: stream, segments, tail, cut, parts, clock_ms, count, last_clock_ms }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{Folder, write_segment};
    use super::*;
    use shards::log::Generation;

    const ID: StreamId = StreamId { generation: Generation(1), core: 0 };

    fn read(folder: &Folder, point: Option<Point>) -> Stream {
        let log = folder.path().join("log");
        let found = streams(&log).unwrap();
        Question { log: &log, node: NodeId(*b"0123456789abcdef"), id: ID, segments: &found[&ID], from: None, point, keys: None }
            .read()
            .unwrap()
    }

    #[test]
    fn of_a_file_counts_what_is_whole_and_of_a_stream_what_is_before_the_point() {
        let folder = Folder::new("stream");
        let first = write_segment(folder.path(), ID, 0, 1, &[(10, false, None), (20, true, None), (21, false, None)], &[]);
        let second = write_segment(folder.path(), ID, 1, 4, &[(30, false, Some(7))], &[0xEE; 700]);
        write_segment(folder.path(), ID, 2, 5, &[], &[0; 4096]);
        let whole = read(&folder, None);
        assert_eq!(whole.segments, [(0, first), (1, second), (2, 4096)]);
        assert_eq!((whole.end(), whole.count, whole.clock_ms, whole.parts.len()), (Lsn(5), 4, 30, 1));
        assert!(matches!(whole.tail, Tail::Torn { .. }));
        let end = |clock_ms| read(&folder, Some(Point { clock_ms, last: None })).end().0;
        // The third entry belongs to the second's command.
        assert_eq!([9, 10, 19, 20, 29, 30].map(end), [1, 2, 2, 4, 4, 5]);
        let last = super::super::point::EntryName { stream: ID, lsn: Lsn(2) };
        let cut = read(&folder, Some(Point { clock_ms: u64::MAX, last: Some(last) }));
        assert_eq!((cut.end(), cut.last_clock_ms), (Lsn(4), Some(20)));
    }

    #[test]
    fn what_was_safe_and_cannot_be_read_is_refused_with_its_place() {
        let folder = Folder::new("rotten");
        write_segment(folder.path(), ID, 0, 1, &[(10, false, None), (20, false, None), (30, false, None)], &[]);
        let path = folder.path().join("log").join(segment_name(ID, 0));
        let mut bytes = fs::read(&path).unwrap();
        bytes[4096 + 512 + 66] ^= 1;
        fs::write(&path, bytes).unwrap();
        let refused = read(&folder, None).checked(&folder.path().join("log")).unwrap_err().to_string();
        assert!(refused.contains("00000000.log is damaged at byte 4608: entries 2 to 2 of generation 1 core 0"), "{refused}");
    }
}

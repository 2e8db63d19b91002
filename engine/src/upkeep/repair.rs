//! Decides what recovery refuses to decide: where damaged streams end, or what of them is left out.
//!
//! The decision is written as the opening of a generation, so that every later start reads it and none decides anew. Files
//! that have to be replaced are kept under their name with `.damaged` behind it.

use super::Unusable;
use super::check::{View, examine};
use super::home::{Fault, Home};
use super::survey::{State, Survey, read_header};
use engine::directory::unfinished;
use engine::seal::Unseal;
use shards::command::{COMMANDS_BY_NUMBER, Resolved, keys_of, resolve};
use shards::key::PARTITION_COUNT;
use shards::log::{
    Body, Entry, FRAME_HEADER_BYTES, FrameFlags, FrameHeader, FrameKind, FrameSpec, Generation, Lsn, NodeId, Opening, Plan,
    SEGMENT_HEADER_BYTES, SegmentHeader, SegmentKind, StreamId, entries, frame_at, frame_bytes, frame_header,
};
use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

/// What is done about damage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// The stream ends before it.
    Truncate,
    /// What cannot be read is left out.
    Skip,
}

/// Keys of entries that are left out: so many are told by name.
const KEYS_TOLD: usize = 20;

/// Alignment of a file that holds nothing but its header.
const ALIGN_BYTES: u32 = 4096;

/// Repairs the directory. What was done, and what is lost.
///
/// # Errors
/// If it needs none, or cannot be repaired in this way: then nothing was changed. Or if the machine does not do what it is
/// asked: then the error says how far it came, and the same may be tried again.
pub(super) fn repair(home: Home, way: Way) -> Result<String, Unusable> {
    let examined = examine(&home);
    if examined.refusals().is_empty() {
        return Err(Unusable("there is nothing to repair: a server starts on this directory".into()));
    }
    let mut view = examined.view;
    let node = refuse_hopeless(&home, &view, way)?;
    let mut report = String::new();
    let done = (|| {
        if way == Way::Skip {
            view.surveys.iter().try_for_each(|survey| skip_damage(&home, survey, &mut report))?;
            view = View::of(&home, home.snapshots.first());
        }
        let plan = view.plan();
        tell_losses(&home, &view, &plan, &mut report);
        for survey in &view.surveys {
            clear_behind(&home, node, survey, &mut report)?;
        }
        write_opening(&home, node, &view, plan, &mut report)
    })();
    let stopped = |why: String| Unusable(if report.is_empty() { why } else { format!("{why}; done before:\n{report}") });
    done.map_err(|error: Fault| stopped(error.to_string()))?;
    let (root, keys) = (home.directory.root().to_owned(), home.keys.clone());
    // The lock goes with it, and is taken again: a server that starts between finds everything done.
    drop(home);
    let again = Home::read(&root, keys)?;
    if let Some(fault) = examine(&again).refusals().first() {
        return Err(stopped(format!("and still a server would not start: {fault}")));
    }
    report.push_str("A server starts now. Make a snapshot then, and keep your copy until you have looked.\n");
    Ok(report)
}

/// Refuses what no decision about a stream's end can mend. Whose directory it is.
fn refuse_hopeless(home: &Home, view: &View, way: Way) -> Result<NodeId, Unusable> {
    if let Some(fault) = home.faults.iter().chain(&view.faults).next() {
        let snapshot = home.snapshot_faults.first().map(|fault| format!("\nAnd {fault}")).unwrap_or_default();
        return Err(Unusable(format!("{fault}\nNothing else holds what it held: put a copy of it back{snapshot}")));
    }
    if let Some((survey, (seq, number))) = view.surveys.iter().find_map(|survey| Some((survey, survey.locked?))) {
        let path = home.directory.segment(survey.id(), seq);
        return Err(Unusable(format!("{} is encrypted with key {number}, which was not given: see --encryption-key-file", path.display())));
    }
    for survey in view.surveys.iter().filter(|survey| survey.is_damaged()) {
        let Some(fault) = survey.fault(home) else { continue };
        match survey.state {
            State::Foreign { .. } => return Err(Unusable(format!("{fault}\nThis is not for repair to decide"))),
            State::Headless { .. } if way == Way::Skip => {
                return Err(Unusable(format!("{fault}\nNothing of it can be read, so there is no entry to go on from: see --truncate")));
            }
            _ => {}
        }
    }
    home.node.ok_or_else(|| Unusable("the directory has no name".into()))
}

/// A file read whole, with what its header says of its frames.
struct Whole {
    path: PathBuf,
    bytes: Vec<u8>,
    header: SegmentHeader,
    seed: u32,
    align_bytes: usize,
}

impl Whole {
    /// `None` if nothing in it can be read.
    fn read(home: &Home, id: StreamId, seq: u64) -> Option<Whole> {
        let path = home.directory.segment(id, seq);
        let (header, seed) = read_header(home, &path, id, seq).ok()?;
        let bytes = fs::read(&path).ok()?;
        let align_bytes = header.align_bytes as usize;
        Some(Whole { path, bytes, header, seed, align_bytes })
    }

    /// The first whole frame at or behind `at`: where, and what it is.
    fn frame_from(&self, at: usize) -> Option<(usize, FrameHeader, &[u8])> {
        let mut places = (at.next_multiple_of(self.align_bytes)..self.bytes.len()).step_by(self.align_bytes);
        places.find_map(|at| frame_at(&self.bytes[at..], at as u64, self.seed).map(|(header, payload)| (at, header, payload)))
    }

    /// Every whole frame from `at` on.
    fn each_frame(&self, mut at: usize, take: &mut dyn FnMut(&FrameHeader, &[u8])) {
        while let Some((found, header, payload)) = self.frame_from(at) {
            take(&header, payload);
            at = found + frame_bytes(payload.len(), self.align_bytes as u32);
        }
    }
}

/// Puts an empty frame where entries cannot be read, as often as there is something to go on with behind.
fn skip_damage(home: &Home, survey: &Survey, report: &mut String) -> Result<(), Fault> {
    let mut survey = survey.clone();
    while let State::Lost { segment, at, .. } = survey.state {
        let later = survey.needed.segments.iter().filter(|seq| **seq >= segment);
        let next = later.into_iter().find_map(|seq| {
            let whole = Whole::read(home, survey.id(), *seq)?;
            let mut from = if *seq == segment { at as usize + 1 } else { SEGMENT_HEADER_BYTES };
            loop {
                let (found, header, payload) = whole.frame_from(from)?;
                if header.first_lsn > survey.end {
                    return Some((*seq, found, header));
                }
                from = found + frame_bytes(payload.len(), whole.align_bytes as u32);
            }
        });
        let Some((next_seq, next_at, next)) = next else { return Ok(()) };
        let Some(mut whole) = Whole::read(home, survey.id(), segment) else { return Ok(()) };
        let at = (at as usize).next_multiple_of(whole.align_bytes);
        let to = if next_seq == segment { next_at } else { whole.bytes.len() };
        let spec = FrameSpec {
            at: at as u64,
            first_lsn: survey.end,
            synced_lsn: Lsn(0),
            clock_ms: next.clock_ms,
            entry_count: (next.first_lsn.0 - survey.end.0) as u32,
            raw_bytes: 0,
            flags: FrameFlags::SKIPPED,
            key_number: 0,
        };
        let frame = frame_header(&spec, b"", whole.seed);
        whole.bytes.resize(whole.bytes.len().max(at + whole.align_bytes), 0);
        whole.bytes[at..to.max(at + whole.align_bytes)].fill(0);
        whole.bytes[at..at + FRAME_HEADER_BYTES].copy_from_slice(&frame);
        let kept = set_aside(&whole.path, false)?;
        write_file(&whole.path, &whole.bytes)?;
        let _ = writeln!(
            report,
            "{}: entries {} to {} cannot be read and are left out; as it was, it is {}",
            whole.path.display(),
            survey.end.0,
            next.first_lsn.0 - 1,
            kept.display()
        );
        survey = super::survey::survey(home, &survey.needed);
    }
    Ok(())
}

/// Says what will not be there any more.
fn tell_losses(home: &Home, view: &View, plan: &Plan, report: &mut String) {
    for survey in &view.surveys {
        if let Some(fault) = survey.fault(home) {
            let _ = writeln!(report, "{fault}");
        }
        let end = plan.end(survey.id()).unwrap_or(survey.end);
        if survey.is_damaged() || end < survey.end {
            let _ = writeln!(report, "{} ends with entry {}", survey.id(), end.0 - 1);
            tell_left_out(home, survey, end, report);
        }
    }
    let known = |part: &&(StreamId, u16, u64)| home.history.openings.values().any(|opening| opening.plan.dropped.contains(part));
    for (stream, origin, number) in plan.dropped.iter().filter(|part| !known(part)) {
        let _ = writeln!(report, "{stream}: its share of command {number} of core {origin} is left out, because another core's is");
    }
}

/// Entries behind the end that can be read, and whose keys they are.
fn tell_left_out(home: &Home, survey: &Survey, end: Lsn, report: &mut String) {
    let (mut count, mut last, mut keys) = (0u64, end, BTreeSet::new());
    for seq in home.history.streams.get(&survey.id()).into_iter().flatten() {
        let Some(whole) = Whole::read(home, survey.id(), *seq) else { continue };
        let Some(mut unseal) = Unseal::of(&whole.header, &home.keys) else { continue };
        whole.each_frame(SEGMENT_HEADER_BYTES, &mut |header, stored| {
            let Ok(payload) = unseal.open(header, stored) else { return };
            if header.kind() != Ok(FrameKind::Entries) {
                return;
            }
            for (lsn, entry) in entries(payload, header).filter_map(Result::ok).filter(|(lsn, _)| *lsn >= end) {
                (count, last) = (count + 1, lsn);
                each_key(&entry, &mut |key| {
                    if keys.len() <= KEYS_TOLD {
                        keys.insert(key.escape_ascii().to_string());
                    }
                });
            }
        });
    }
    if count > 0 {
        let more = if keys.len() > KEYS_TOLD { " and others" } else { "" };
        let keys: Vec<&str> = keys.iter().take(KEYS_TOLD).map(String::as_str).collect();
        let _ = writeln!(report, "  left out behind it: {count} entries up to {}, of {}{more}", last.0, keys.join(" "));
    }
}

fn each_key(entry: &Entry<'_>, take: &mut dyn FnMut(&[u8])) {
    match entry.body {
        Body::Command(words) => {
            let mut spans = Vec::new();
            let args = words.spans(&mut spans);
            if let Resolved::Command(number) = resolve(args) {
                keys_of(COMMANDS_BY_NUMBER[usize::from(number)], args).for_each(|index| take(args.get(index)));
            }
        }
        Body::Store { key, .. } | Body::Evict { key } => take(key),
        Body::Tick => {}
    }
}

/// A stream that ends because a segment has no header, or is not there: what follows is set aside, so that there is no gap.
fn clear_behind(home: &Home, node: NodeId, survey: &Survey, report: &mut String) -> Result<(), Fault> {
    let State::Headless { segment, .. } = survey.state else { return Ok(()) };
    let id = survey.id();
    let all = home.history.streams.get(&id).map_or(&[][..], |segments| segments);
    for seq in all.iter().filter(|seq| **seq >= segment) {
        let path = home.directory.segment(id, *seq);
        let kept = set_aside(&path, true)?;
        let _ = writeln!(report, "{} is now {}", path.display(), kept.display());
    }
    if all.first().is_none_or(|first| *first >= segment) {
        // Something must be there, or it would seem that files were lost.
        let header = SegmentHeader {
            kind: SegmentKind::Log,
            node,
            stream: id,
            core_count: home.history.openings.get(&id.generation).map_or(1, |opening| opening.core_count),
            partitions: 0..PARTITION_COUNT,
            seq: segment,
            created_ms: now_ms(),
            align_bytes: ALIGN_BYTES,
            key_number: 0,
            nonce_prefix: 0,
            room_bytes: 0,
        };
        write_file(&home.directory.segment(id, segment), &header.to_bytes())?;
    }
    sync_folder(&home.directory.log())
}

/// Writes down what was decided.
fn write_opening(home: &Home, node: NodeId, view: &View, plan: Plan, report: &mut String) -> Result<(), Fault> {
    let generation: Generation = home.generation_next();
    let clocks = view.surveys.iter().map(|survey| survey.clock_ms);
    let clocks = clocks.chain(home.history.openings.values().map(|opening| opening.clock_ms));
    let clock_ms = clocks.chain(home.snapshots.iter().map(|snapshot| snapshot.clock_ms)).max().unwrap_or(0);
    let core_count = home.history.openings.values().next_back().map_or(1, |opening| opening.core_count);
    let opening = Opening { node, generation, core_count, plan, clock_ms, created_ms: now_ms() };
    let path = home.directory.opening(generation);
    write_file(&path, &opening.to_bytes())?;
    let _ = writeln!(report, "{}: what was decided here; whoever starts reads it", path.display());
    Ok(())
}

fn now_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64)
}

/// Gives a file a second name, under which it stays as it is; with `is_moved`, takes the first away. The second name.
fn set_aside(path: &Path, is_moved: bool) -> Result<PathBuf, Fault> {
    let name = |round: u32| {
        let mut name = path.as_os_str().to_owned();
        name.push(if round == 1 { ".damaged".to_string() } else { format!(".damaged-{round}") });
        PathBuf::from(name)
    };
    let kept = (1..).map(name).find(|kept| !kept.exists()).expect("some name is free");
    let done = if is_moved { fs::rename(path, &kept) } else { fs::hard_link(path, &kept).or_else(|_| fs::copy(path, &kept).map(drop)) };
    done.map_err(|error| machine(path, &error))?;
    Ok(kept)
}

/// Writes a file so that it is there whole, or as it was before.
fn write_file(path: &Path, bytes: &[u8]) -> Result<(), Fault> {
    let unfinished = unfinished(path);
    let written = File::create(&unfinished).and_then(|mut file| {
        file.write_all(bytes)?;
        file.sync_all()
    });
    written.and_then(|()| fs::rename(&unfinished, path)).map_err(|error| machine(path, &error))?;
    sync_folder(path.parent().unwrap_or(Path::new(".")))
}

fn sync_folder(path: &Path) -> Result<(), Fault> {
    File::open(path).and_then(|folder| folder.sync_all()).map_err(|error| machine(path, &error))
}

fn machine(path: &Path, error: &io::Error) -> Fault {
    Fault::new(path.to_owned(), 0, format!("it cannot be written: {error}"))
}

//! Directories that something happened to: what is said of them, and what can be done.

mod served;

use super::check::{Verdict, examine};
use super::home::Home;
use super::repair::{Way, repair};
use super::survey::State;
use engine::keys::Keys;
use shards::key::PartitionId;
use shards::log::{
    Body, Cores, Entry, FRAME_HEADER_BYTES, FrameFlags, FrameSpec, Generation, Lsn, NodeId, Opening, Part, PartMode, Plan,
    SEGMENT_HEADER_BYTES, SegmentHeader, SegmentKind, StreamId, Words, encode, frame_header, opening_name, segment_name,
};
use shards::wire::{Args, Span};
use shards::{Db, Slot};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

const NODE: NodeId = NodeId(*b"a node of a test");
const CLOCK_MS: u64 = 1_800_000_000_000;
const ALIGN_BYTES: usize = 512;

fn read(root: &Path) -> Result<Home, super::Unusable> {
    Home::read(root, Keys::default())
}

/// A directory of its own for each test, gone with it.
pub(super) struct Scratch(PathBuf);

impl Scratch {
    pub(super) fn new() -> Scratch {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("corewheel-upkeep-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let path = std::env::temp_dir().join(name);
        fs::create_dir_all(path.join("log")).unwrap();
        fs::create_dir_all(path.join("snap")).unwrap();
        Scratch(path)
    }

    pub(super) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn stream(generation: u64, core: u16) -> StreamId {
    StreamId { generation: Generation(generation), core }
}

fn header(kind: SegmentKind, stream: StreamId, seq: u64) -> SegmentHeader {
    SegmentHeader {
        kind,
        node: NODE,
        stream,
        core_count: 2,
        partitions: 0..256,
        seq,
        created_ms: CLOCK_MS,
        align_bytes: ALIGN_BYTES as u32,
        key_number: 0,
        nonce_prefix: 0,
        room_bytes: 0,
    }
}

/// One frame's entries: keys that are set, and for those of several cores the command's number and its cores.
type Write<'a> = &'a [(&'a str, Option<(u64, &'a [u16])>)];

/// A stream's files as its core would have written them, every write synced before the next. A `None` begins a new segment.
fn write_stream(root: &Path, id: StreamId, writes: &[Option<Write<'_>>]) {
    let (mut seq, mut next) = (0, 1);
    let mut file = header(SegmentKind::Log, id, 0).to_bytes().to_vec();
    let save = |seq: u64, file: &[u8]| fs::write(root.join("log").join(segment_name(id, seq)), file).unwrap();
    for write in writes {
        let Some(write) = write else {
            save(seq, &file);
            seq += 1;
            file = header(SegmentKind::Log, id, seq).to_bytes().to_vec();
            continue;
        };
        let mut payload = Vec::new();
        for (key, part) in *write {
            let bytes = format!("SET{key}{}", "v".repeat(200));
            let (name, len) = (3, key.len() as u32);
            let spans = [Span { start: 0, len: name }, Span { start: name, len }, Span { start: name + len, len: 200 }];
            let (mut words, mut cores) = (Vec::new(), Vec::new());
            let part = part.map(|(number, all)| Part {
                origin: 0,
                number,
                mode: PartMode::Held,
                participants: Cores::write(all.iter().copied(), &mut cores),
            });
            let body = Body::Command(Words::write(Args::new(bytes.as_bytes(), &spans), &mut words));
            let partition = PartitionId::of(Slot::of(key.as_bytes())).0;
            encode(&Entry { partition, db: Db(0), clock_ms: CLOCK_MS + next, in_group: false, part, body }, CLOCK_MS, &mut payload);
        }
        let spec = FrameSpec {
            at: file.len() as u64,
            first_lsn: Lsn(next),
            synced_lsn: Lsn(next - 1),
            clock_ms: CLOCK_MS,
            entry_count: write.len() as u32,
            raw_bytes: payload.len() as u32,
            flags: if write.is_empty() { FrameFlags::MARK } else { FrameFlags::ENTRIES },
            key_number: 0,
        };
        file.extend(frame_header(&spec, &payload, header(SegmentKind::Log, id, seq).seed()));
        file.extend(payload);
        file.resize(file.len().next_multiple_of(ALIGN_BYTES), 0);
        next += write.len() as u64;
    }
    file.resize(file.len() + 4 * ALIGN_BYTES, 0);
    save(seq, &file);
}

/// Two cores, one generation; core 0 wrote two segments, and both did command 7 together.
fn write_directory(root: &Path) {
    fs::write(root.join("node"), header(SegmentKind::Node, stream(0, 0), 0).to_bytes()).unwrap();
    write_opening(root, 1, &[]);
    let both = Some((7, &[0, 1][..]));
    let alone: [Write<'_>; 5] = [&[("a", None), ("b", None)], &[("c", None)], &[("d", both)], &[("e", None), ("f", None)], &[]];
    let [first, second, shared, last, mark] = alone.map(Some);
    write_stream(root, stream(1, 0), &[first, second, None, shared, last, mark]);
    write_stream(root, stream(1, 1), &[Some(&[("g", None)]), Some(&[("h", both), ("i", None)]), Some(&[])]);
}

fn write_opening(root: &Path, generation: u64, ends: &[(StreamId, Lsn)]) {
    let plan = Plan { ends: ends.to_vec(), dropped: Vec::new() };
    let opening = Opening { node: NODE, generation: Generation(generation), core_count: 2, plan, clock_ms: CLOCK_MS, created_ms: CLOCK_MS };
    fs::write(root.join("log").join(opening_name(Generation(generation))), opening.to_bytes()).unwrap();
}

/// Verdict, and where each stream ends.
fn look(root: &Path) -> (Verdict, Vec<u64>) {
    let home = read(root).unwrap();
    let examined = examine(&home);
    let plan = examined.view.plan();
    assert!(!examined.report().is_empty());
    (examined.verdict(), plan.ends.iter().map(|(_, end)| end.0).collect())
}

fn files(root: &Path) -> Vec<PathBuf> {
    let mut all = vec![root.join("node")];
    all.extend(fs::read_dir(root.join("log")).unwrap().map(|entry| entry.unwrap().path()));
    all.sort();
    all
}

fn log(root: &Path, core: u16, seq: u64) -> PathBuf {
    root.join("log").join(segment_name(stream(1, core), seq))
}

fn flip(path: &Path, at: usize) {
    let mut bytes = fs::read(path).unwrap();
    bytes[at] ^= 1 << (at % 8);
    fs::write(path, bytes).unwrap();
}

#[test]
fn a_whole_directory_is_clean() {
    let scratch = Scratch::new();
    write_directory(scratch.path());
    assert_eq!(look(scratch.path()), (Verdict::Clean, vec![7, 4]));
    let home = read(scratch.path()).unwrap();
    let refused = repair(home, Way::Truncate).unwrap_err();
    assert_eq!(refused.0, "there is nothing to repair: a server starts on this directory");
}

#[test]
fn a_folder_without_a_server_is_not_looked_through() {
    let scratch = Scratch::new();
    assert!(read(scratch.path()).is_err_and(|why| why.0.contains("holds nothing of a server")));
    assert!(read(&scratch.path().join("missing")).is_err());
}

#[test]
fn a_server_that_runs_is_left_alone() {
    let scratch = Scratch::new();
    write_directory(scratch.path());
    let lock = fs::File::create(scratch.path().join("lock")).unwrap();
    lock.lock().unwrap();
    assert!(read(scratch.path()).is_err_and(|why| why.0.contains("a server uses")));
    drop(lock);
    assert!(read(scratch.path()).is_ok());
}

#[test]
fn what_a_crash_tore_is_no_damage() {
    let scratch = Scratch::new();
    write_directory(scratch.path());
    // Core 1's last entries, without the mark that says that they are safe.
    let path = log(scratch.path(), 1, 0);
    let mut bytes = fs::read(&path).unwrap();
    let mark = SEGMENT_HEADER_BYTES + 2 * ALIGN_BYTES;
    bytes[mark..].fill(0);
    bytes[mark - 200] ^= 1;
    fs::write(&path, bytes).unwrap();
    // With them went its share of the command of both: core 0's counts no more.
    assert_eq!(look(scratch.path()), (Verdict::Torn, vec![7, 2]));
    let home = read(scratch.path()).unwrap();
    let examined = examine(&home);
    assert!(examined.report().contains("1 shares of commands that not every core has"));
    assert!(matches!(examined.view.surveys[1].state, State::Torn { segment: 0, bytes: 512, .. }));
}

/// Every region of every file, flipped and cut off: what was safe is either there or said to be damaged, and whatever can be
/// repaired leaves a directory that a server starts on, with what was before the damage.
#[test]
fn every_region_of_every_file_flipped_and_cut() {
    let whole = Scratch::new();
    write_directory(whole.path());
    let mut verdicts = std::collections::BTreeMap::new();
    for path in files(whole.path()) {
        let len = fs::metadata(&path).unwrap().len() as usize;
        let name = path.strip_prefix(whole.path()).unwrap();
        for at in (0..len).step_by(ALIGN_BYTES) {
            for is_cut in [false, true] {
                let scratch = Scratch::new();
                write_directory(scratch.path());
                let path = scratch.path().join(name);
                if is_cut {
                    let bytes = fs::read(&path).unwrap();
                    fs::write(&path, &bytes[..at]).unwrap();
                } else {
                    flip(&path, at + FRAME_HEADER_BYTES / 2);
                }
                let what = format!("{} {} at {at}", name.display(), if is_cut { "cut" } else { "flipped" });
                let home = read(scratch.path()).unwrap_or_else(|why| panic!("{what}: {}", why.0));
                let verdict = examine(&home).verdict();
                *verdicts.entry((verdict, is_cut)).or_insert(0) += 1;
                if verdict != Verdict::Damaged {
                    drop(home);
                    let (_, ends) = look(scratch.path());
                    // The marks say that all of it was safe; a cut may take a mark and what it speaks of together.
                    assert!(ends == [7, 4] || is_cut, "{what}: {ends:?}");
                    continue;
                }
                check_repaired(scratch.path(), home, &what);
            }
        }
    }
    assert!(verdicts.len() >= 4 && verdicts[&(Verdict::Damaged, false)] > 6, "{verdicts:?}");
}

/// Repairs both ways, as far as they can do it.
fn check_repaired(root: &Path, home: Home, what: &str) {
    let before: Vec<(PathBuf, Vec<u8>)> = files(root).into_iter().map(|path| (path.clone(), fs::read(path).unwrap())).collect();
    let hopeless = !home.faults.is_empty() || !examine(&home).view.faults.is_empty();
    let repaired = repair(home, Way::Truncate);
    if hopeless {
        assert!(repaired.is_err_and(|why| why.0.contains("put a copy of it back")), "{what}");
        assert!(before.iter().all(|(path, bytes)| fs::read(path).unwrap() == *bytes), "{what}: changed");
        return;
    }
    let report = repaired.unwrap_or_else(|why| panic!("{what}: {}", why.0));
    assert!(report.contains("A server starts now"), "{what}: {report}");
    let (verdict, truncated) = look(root);
    assert!(verdict < Verdict::Damaged, "{what}");
    assert!(truncated.iter().zip([7, 4]).all(|(end, all)| *end <= all) && truncated != [7, 4], "{what}: {truncated:?}");
    // Everything that was there still is, under one name or another.
    for (path, bytes) in &before {
        let kept = files(root)
            .into_iter()
            .any(|other| other.to_string_lossy().starts_with(&*path.to_string_lossy()) && fs::read(other).unwrap() == *bytes);
        assert!(kept, "{what}: {} is gone", path.display());
    }
    // From the same damage, the other way.
    for path in files(root) {
        fs::remove_file(path).unwrap();
    }
    for (path, bytes) in &before {
        fs::write(path, bytes).unwrap();
    }
    match repair(read(root).unwrap(), Way::Skip) {
        Ok(_) => {
            let (verdict, skipped) = look(root);
            assert!(verdict < Verdict::Damaged, "{what}");
            assert!(skipped.iter().zip(&truncated).all(|(skipped, truncated)| skipped >= truncated), "{what}: {skipped:?}");
        }
        Err(why) => assert!(why.0.contains("see --truncate"), "{what}: {}", why.0),
    }
}

#[test]
fn truncating_ends_a_stream_and_tells_what_goes() {
    let scratch = Scratch::new();
    write_directory(scratch.path());
    flip(&log(scratch.path(), 0, 0), SEGMENT_HEADER_BYTES + ALIGN_BYTES + 100);
    let report = repair(read(scratch.path()).unwrap(), Way::Truncate).unwrap();
    for words in [
        "entries 3 to 6 of generation 1 core 0 were safe and cannot be read: at least 4",
        "generation 1 core 0 ends with entry 2",
        "left out behind it: 3 entries up to 6, of d e f",
        "generation 1 core 1: its share of command 7 of core 0 is left out",
        "g00000002.open",
    ] {
        assert!(report.contains(words), "{words}\n{report}");
    }
    assert_eq!(look(scratch.path()), (Verdict::Clean, vec![3, 4]));
    let home = read(scratch.path()).unwrap();
    assert_eq!(home.history.openings[&Generation(2)].plan.dropped, [(stream(1, 1), 0, 7)]);
}

#[test]
fn skipping_leaves_out_one_frame_and_goes_on() {
    let scratch = Scratch::new();
    write_directory(scratch.path());
    // The second segment's first frame: core 0's share of the command of both.
    flip(&log(scratch.path(), 0, 1), SEGMENT_HEADER_BYTES + 100);
    let report = repair(read(scratch.path()).unwrap(), Way::Skip).unwrap();
    for words in ["entries 4 to 4 cannot be read and are left out", ".log.damaged", "its share of command 7 of core 0 is left out"] {
        assert!(report.contains(words), "{words}\n{report}");
    }
    assert_eq!(look(scratch.path()), (Verdict::Clean, vec![7, 4]));
}

/// The server that wrote it was killed: its newest file has all of its room. One that is shorter was cut.
#[test]
fn a_stream_that_was_cut_is_damaged_until_somebody_decides() {
    let scratch = Scratch::new();
    write_directory(scratch.path());
    let path = log(scratch.path(), 0, 1);
    let whole = fs::read(&path).unwrap();
    let (mut header, _) = SegmentHeader::read(&whole).unwrap();
    header.room_bytes = 64 * 1024;
    // No frame yet, and all of the room: nothing was written there.
    let mut fresh = header.to_bytes().to_vec();
    fresh.resize(64 * 1024, 0);
    fs::write(&path, &fresh).unwrap();
    assert_eq!(look(scratch.path()), (Verdict::Clean, vec![4, 4]));
    fs::write(&path, &fresh[..60 * 1024]).unwrap();
    assert_eq!(look(scratch.path()), (Verdict::Damaged, vec![4, 4]));
    let report = repair(read(scratch.path()).unwrap(), Way::Truncate).unwrap();
    assert!(report.contains("it ends there, though it was made with 65536 bytes"), "{report}");
    assert_eq!(look(scratch.path()), (Verdict::Clean, vec![4, 4]));
}

/// No core writes an entry before every core has its first file.
#[test]
fn a_core_whose_files_are_all_gone_is_missed() {
    let scratch = Scratch::new();
    write_directory(scratch.path());
    fs::remove_file(log(scratch.path(), 1, 0)).unwrap();
    let home = read(scratch.path()).unwrap();
    let faults = super::check::examine(&home).refusals();
    assert!(faults[0].to_string().contains("every file of this stream is missing"), "{faults:?}");
}

/// An end that an earlier generation decided is moved to before the damage, by the generation that repair begins.
#[test]
fn a_stream_of_an_older_generation_can_be_ended_earlier() {
    let scratch = Scratch::new();
    write_directory(scratch.path());
    write_opening(scratch.path(), 2, &[(stream(1, 0), Lsn(7)), (stream(1, 1), Lsn(4))]);
    write_stream(scratch.path(), stream(2, 0), &[Some(&[("j", None)]), Some(&[])]);
    write_stream(scratch.path(), stream(2, 1), &[Some(&[])]);
    assert_eq!(look(scratch.path()), (Verdict::Clean, vec![7, 4, 2, 1]));
    flip(&log(scratch.path(), 1, 0), SEGMENT_HEADER_BYTES + ALIGN_BYTES + 100);
    assert_eq!(look(scratch.path()).0, Verdict::Damaged);
    repair(read(scratch.path()).unwrap(), Way::Truncate).unwrap();
    assert_eq!(look(scratch.path()), (Verdict::Clean, vec![7, 2, 2, 1]));
    assert_eq!(read(scratch.path()).unwrap().generation_next(), Generation(4));
}

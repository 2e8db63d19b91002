//! `corewheel restore`: makes a directory of what a store holds, as it was at a moment or at an entry.
//!
//! Files are copied as they were; what lies behind the point stays in them and does not count, because the opening of the next
//! generation, which is written here, says so. A server that starts there recovers as after any other stop.

use super::bar::Bar;
use super::catalog::{Catalog, Kept, What};
use super::folder::sync_folder;
use super::history::{catalogs, choose, files, streams};
use super::object::unpack;
use super::point::{EntryName, Point, Wanted};
use super::store::Store;
use super::stream::{Question, Stream, names};
use super::{Trouble, moment, now_ms};
use crate::{EXIT_FAILED, EXIT_USAGE, complain};
use clap::Args;
use engine::directory::Directory;
use engine::keys::Keys;
use engine::load::generation_of;
use engine::options::read_given_keys;
use shards::log::{FoundPart, Generation, Lsn, MANIFEST_NAME, Manifest, NodeId, Opening, PartMode, Plan, SegmentHeader, StreamId};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// There from the first to the last moment of a restore: a directory with it may be begun again.
const UNFINISHED: &str = "restoring";

/// Flags of `corewheel restore`.
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct RestoreOptions {
    /// The store with the backups.
    #[arg(long, value_name = "STORE")]
    from: String,
    /// The directory to make. It must be empty, or not there.
    #[arg(long, value_name = "PATH")]
    dir: PathBuf,
    /// Everything until this moment: 2026-11-21T16:55:12Z, or milliseconds since 1970.
    #[arg(long, value_name = "TIME", conflicts_with = "to_lsn")]
    to_time: Option<String>,
    /// Everything until this entry of the log, which counts: GENERATION.CORE.LSN.
    #[arg(long, value_name = "ENTRY")]
    to_lsn: Option<String>,
    /// Begin with this backup. Otherwise it is the first that reaches the moment, or the newest.
    #[arg(long, value_name = "ID")]
    backup: Option<String>,
    /// Whose backups, if the store has those of several directories: the beginning of the node's name is enough.
    #[arg(long, value_name = "NODE")]
    node: Option<String>,
    /// File with the keys of an encrypted log; COREWHEEL_ENCRYPTION_KEY may hold them instead.
    #[arg(long, value_name = "FILE")]
    encryption_key_file: Option<PathBuf>,
}

const EXAMPLES: &str = "Examples:
  corewheel restore --from /mnt/backups --dir /var/lib/corewheel
  corewheel restore --from /mnt/backups --dir /tmp/before --to-time 2026-11-21T16:55:12Z
  corewheel restore --from /mnt/backups --dir /tmp/before --to-lsn 3.0.1742

Then start a server with --dir on it, on as many cores as you like.";

/// Runs the command.
pub(crate) fn run(options: RestoreOptions) -> ExitCode {
    match restore(&options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(trouble) => complain(if trouble.usage { EXIT_USAGE } else { EXIT_FAILED }, &trouble),
    }
}

fn restore(options: &RestoreOptions) -> Result<(), Trouble> {
    let wanted = Wanted::of(options.to_time.as_deref(), options.to_lsn.as_deref()).map_err(Trouble::usage)?;
    let keys = read_given_keys(options.encryption_key_file.as_deref()).map_err(|unusable| Trouble::usage(unusable.to_string()))?;
    let store = Store::open(&options.from)?;
    let catalogs = catalogs(&store)?;
    let base = choose(&catalogs, options.node.as_deref(), options.backup.as_deref(), wanted)?;
    let target = Target { store: &store, keys, base, files: files(base, &catalogs), directory: Directory::new(&options.dir) };
    target.prepare()?;
    let point = target.point(wanted)?;
    let picked = target.pick(point)?;
    target.copy(&picked)?;
    let (opening, count) = target.open(&picked, point)?;
    target.finish(&opening)?;
    println!("{}", options.dir.display());
    eprintln!(
        "restored to {} from backup {}: {count} entries of the log{}, generation {} begins there",
        moment::show(point.clock_ms),
        base.id,
        picked.snapshot.as_ref().map_or(String::new(), |snapshot| format!(" behind snapshot {}", snapshot.id)),
        opening.generation.0
    );
    Ok(())
}

/// A directory that is being made.
struct Target<'a> {
    store: &'a Store,
    keys: Keys,
    base: &'a Catalog,
    files: BTreeMap<String, Kept>,
    directory: Directory,
}

/// What it will consist of.
struct Picked<'a> {
    node: NodeId,
    /// The newest generation that counts.
    generation: Generation,
    /// By generation, those that count and the one after them.
    openings: BTreeMap<Generation, Opening>,
    snapshot: Option<Manifest>,
    /// Every stream that is needed: its first entry needed, and its files.
    streams: BTreeMap<StreamId, (Lsn, Vec<u64>)>,
    files: Vec<&'a Kept>,
}

impl Target<'_> {
    /// Makes the directory. What a restore that was interrupted has left is removed; anything else is not touched.
    fn prepare(&self) -> Result<(), Trouble> {
        let root = self.directory.root();
        fs::create_dir_all(root).map_err(Trouble::step(format!("cannot make {}", root.display())))?;
        let there = names(root)?;
        if there.iter().any(|name| name == UNFINISHED) && !there.iter().any(|name| name == "node") {
            for folder in [self.directory.log(), self.directory.snapshots()] {
                if folder.exists() {
                    fs::remove_dir_all(&folder).map_err(Trouble::step(format!("cannot delete {}", folder.display())))?;
                }
            }
        } else if let Some(name) = there.first() {
            return Err(Trouble::new(format!("{} is not empty: there is {name}; restore into another directory", root.display())));
        }
        let mark = root.join(UNFINISHED);
        File::create(&mark).and_then(|file| file.sync_all()).map_err(Trouble::step(format!("cannot create {}", mark.display())))
    }

    /// Where what is wanted ends.
    fn point(&self, wanted: Wanted) -> Result<Point, Trouble> {
        let reach_ms = self.base.clock_ms;
        match wanted {
            Wanted::Everything => Ok(Point { clock_ms: reach_ms, last: None }),
            Wanted::Time(clock_ms) if clock_ms > reach_ms => Err(Trouble::new(format!(
                "{} is later than backup {}, which reaches until {}",
                moment::show(clock_ms),
                self.base.id,
                moment::show(reach_ms)
            ))),
            Wanted::Time(clock_ms) => Ok(Point { clock_ms, last: None }),
            Wanted::Entry(name) => self.point_of(name),
        }
    }

    /// The moment of an entry, found by reading its stream.
    fn point_of(&self, name: EntryName) -> Result<Point, Trouble> {
        let EntryName { stream: id, lsn } = name;
        let unknown = || Trouble::new(format!("entry {} of {id} is not in backup {} or before it", lsn.0, self.base.id));
        let streams = streams(&self.files);
        let segments = contiguous(streams.get(&id).ok_or_else(unknown)?);
        for seq in &segments {
            self.fetch(streams[&id][seq], &mut Bar::new("look", streams[&id][seq].bytes))?;
        }
        let point = Point { clock_ms: u64::MAX, last: Some(name) };
        let log = self.directory.log();
        let question =
            Question { log: &log, node: self.node()?, id, segments: &segments, from: None, point: Some(point), keys: Some(&self.keys) };
        let found = question.read()?.last_clock_ms.ok_or_else(unknown)?;
        if found > self.base.clock_ms {
            return Err(unknown());
        }
        Ok(Point { clock_ms: found, last: Some(name) })
    }

    fn node(&self) -> Result<NodeId, Trouble> {
        let bytes = self.small("node")?;
        let (header, _) = SegmentHeader::read(&bytes).map_err(|error| Trouble::new(format!("node of backup {}: {error}", self.base.id)))?;
        Ok(header.node)
    }

    /// A small file, read into memory.
    fn small(&self, name: &str) -> Result<Vec<u8>, Trouble> {
        let kept = self.files.get(name).ok_or_else(|| Trouble::new(format!("backup {} has no {name}", self.base.id)))?;
        let mut bytes = Vec::new();
        unpack(self.store, &self.base.place(kept), kept, &mut bytes, Path::new("memory"), &mut Bar::hidden())?;
        Ok(bytes)
    }

    /// Decides what is needed for a point.
    fn pick(&self, point: Point) -> Result<Picked<'_>, Trouble> {
        let mut openings = BTreeMap::new();
        for (name, file) in &self.files {
            if let Some(What::Opening(generation)) = file.what() {
                let opening = Opening::read(&self.small(name)?).map_err(|error| Trouble::new(format!("{name} of the backup: {error}")))?;
                openings.insert(generation, opening);
            }
        }
        let is_before = |(generation, opening): &(&Generation, &Opening)| {
            opening.clock_ms <= point.clock_ms && point.last.is_none_or(|last| **generation <= last.stream.generation)
        };
        let begun_ms = openings.get(&Generation(1)).map_or(0, |opening| opening.created_ms);
        if point.clock_ms < begun_ms {
            let (wanted, begun) = (moment::show(point.clock_ms), moment::show(begun_ms));
            return Err(Trouble::new(format!("{wanted} is before there was anything: the directory was made at {begun}")));
        }
        // Openings of generations up to that of a snapshot are compacted away once no kept one is older.
        let snapshot = self.snapshot(point)?;
        let generations = openings.iter().filter(is_before).map(|(generation, _)| *generation).chain(snapshot.as_ref().map(generation_of));
        let nothing = || Trouble::new(format!("nothing reaches back to {}", moment::show(point.clock_ms)));
        let generation = generations.max().ok_or_else(nothing)?;
        openings.retain(|other, _| other.0 <= generation.0 + 1);
        let streams = self.needed(generation, snapshot.as_ref(), &openings)?;
        let is_needed = |file: &&Kept| match file.what() {
            Some(What::Segment(stream, seq)) => streams.get(&stream).is_some_and(|(_, segments)| segments.contains(&seq)),
            Some(What::Opening(other)) => other <= generation,
            Some(What::Snapshot(id)) => snapshot.as_ref().is_some_and(|snapshot| snapshot.id == id),
            Some(What::Node) | None => false,
        };
        let files = self.files.values().filter(is_needed).collect();
        Ok(Picked { node: self.node()?, generation, openings, snapshot, streams, files })
    }

    /// The newest snapshot that shows nothing behind the point.
    fn snapshot(&self, point: Point) -> Result<Option<Manifest>, Trouble> {
        let mut newest: Option<Manifest> = None;
        for name in self.files.keys().filter(|name| name.starts_with("snap/") && name.ends_with(MANIFEST_NAME)) {
            let manifest = Manifest::read(&self.small(name)?).map_err(|error| Trouble::new(format!("{name} of the backup: {error}")))?;
            // What it shows of a command over several cores must be in the log of each of them, at the latest when it was finished.
            let is_before = manifest.clock_ms.max(manifest.created_ms) <= point.clock_ms;
            if is_before && newest.as_ref().is_none_or(|newest| newest.id < manifest.id) {
                newest = Some(manifest);
            }
        }
        Ok(newest)
    }

    /// The streams that are needed until the end of a generation. Refuses if the log has a gap.
    fn needed(
        &self,
        generation: Generation,
        snapshot: Option<&Manifest>,
        openings: &BTreeMap<Generation, Opening>,
    ) -> Result<BTreeMap<StreamId, (Lsn, Vec<u64>)>, Trouble> {
        let from = |stream: StreamId| first_needed(stream, snapshot);
        let gap = |stream: StreamId| {
            let advice = "no snapshot is from before that point; a later point may be possible";
            Trouble::new(format!("the log of {stream} was compacted before it was backed up, and {advice}"))
        };
        let mut needed = BTreeMap::new();
        for (stream, segments) in streams(&self.files) {
            if let Some(from) = from(stream).filter(|_| stream.generation <= generation) {
                let segments = contiguous(&segments);
                if from == Lsn(1) && segments[0] != 0 {
                    return Err(gap(stream));
                }
                needed.insert(stream, (from, segments));
            }
        }
        for (stream, end) in openings.values().flat_map(|opening| &opening.plan.ends) {
            let is_missing = stream.generation <= generation && !needed.contains_key(stream);
            if is_missing && from(*stream).is_some_and(|from| *end > from) {
                return Err(gap(*stream));
            }
        }
        let first = snapshot.map_or(Generation(0), generation_of);
        match (first.0 + 1..=generation.0).map(Generation).find(|generation| !openings.contains_key(generation)) {
            Some(missing) => Err(Trouble::new(format!("the opening of generation {} is not in the backup", missing.0))),
            None => Ok(needed),
        }
    }

    fn copy(&self, picked: &Picked<'_>) -> Result<(), Trouble> {
        let mut bar = Bar::new("restore", picked.files.iter().map(|file| file.bytes).sum());
        for folder in [self.directory.log(), self.directory.snapshots()] {
            fs::create_dir_all(&folder).map_err(Trouble::step(format!("cannot make {}", folder.display())))?;
        }
        let needed: BTreeSet<&str> = picked.files.iter().map(|file| file.name.as_str()).collect();
        for name in names(&self.directory.log())? {
            if !needed.contains(format!("log/{name}").as_str()) {
                let path = self.directory.log().join(name);
                fs::remove_file(&path).map_err(Trouble::step(format!("cannot delete {}", path.display())))?;
            }
        }
        for file in &picked.files {
            self.fetch(file, &mut bar)?;
        }
        drop(bar);
        Ok(())
    }

    /// Copies a file into the directory.
    fn fetch(&self, kept: &Kept, bar: &mut Bar) -> Result<(), Trouble> {
        let path = self.directory.root().join(&kept.name);
        let folder = path.parent().expect("a file is in a directory");
        let trouble = |what: &str| Trouble::step(format!("cannot {what} {}", path.display()));
        fs::create_dir_all(folder).map_err(trouble("make the directory of"))?;
        let mut file = File::create(&path).map_err(trouble("create"))?;
        unpack(self.store, &self.base.place(kept), kept, &mut file, &path, bar)?;
        file.sync_all().map_err(trouble("sync"))
    }

    /// Reads the log that was copied, and decides where it ends. With the decision comes the number of entries that count.
    fn open(&self, picked: &Picked<'_>, point: Point) -> Result<(Opening, u64), Trouble> {
        let log = self.directory.log();
        let next = picked.openings.get(&Generation(picked.generation.0 + 1));
        let (mut last, mut starts, mut count) = (Vec::new(), Vec::new(), 0);
        let is_segment = |file: &&&Kept| matches!(file.what(), Some(What::Segment(..)));
        let mut bar = Bar::new("read", picked.files.iter().filter(is_segment).map(|file| file.bytes).sum());
        for (id, (from, segments)) in &picked.streams {
            let is_last = id.generation == picked.generation;
            let point = Some(point).filter(|_| is_last);
            let keys = Some(&self.keys);
            let mut stream = Question { log: &log, node: picked.node, id: *id, segments, from: Some(*from), point, keys }.read()?;
            let later = picked.openings.range(Generation(id.generation.0 + 1)..);
            if let Some(end) = later.filter_map(|(_, opening)| opening.plan.end(*id)).next() {
                stream.tail = stream.tail.decided(end);
            }
            let stream = stream.checked(&log)?;
            count += stream.count;
            bar.add(stream.segments.iter().map(|(_, bytes)| bytes).sum());
            if is_last {
                starts.push((*id, *from));
                last.push(stream);
            }
        }
        drop(bar);
        let plan = decide(&starts, &last, next);
        if let Some(EntryName { stream, lsn }) = point.last
            && plan.end(stream).is_none_or(|end| end <= lsn)
        {
            let why = "a crash cut it off, or it is a part of a command that other cores finished later";
            return Err(Trouble::new(format!("entry {} of {stream} cannot be the last one: {why}", lsn.0)));
        }
        if let Some(snapshot) = picked.snapshot.as_ref().filter(|snapshot| shows_more(snapshot, &plan)) {
            let why = "shows a part of a command that other cores finished after that point; give a later one";
            return Err(Trouble::new(format!("snapshot {} {why}", snapshot.id)));
        }
        let opening = picked.openings.get(&picked.generation);
        let clock_ms = last.iter().map(|stream| stream.clock_ms).chain(opening.map(|opening| opening.clock_ms)).max().unwrap_or(0);
        // Where its opening was compacted away, a snapshot has a file of each core.
        let core_count = opening.map(|opening| opening.core_count).or(picked.snapshot.as_ref().map(|snapshot| snapshot.files.len() as u16));
        let opening = Opening {
            node: picked.node,
            generation: Generation(picked.generation.0 + 1),
            core_count: core_count.expect("a generation is known by one of the two"),
            plan,
            clock_ms: clock_ms.max(picked.snapshot.as_ref().map_or(0, |snapshot| snapshot.clock_ms)),
            created_ms: now_ms(),
        };
        Ok((opening, count))
    }

    /// Writes the decision, and last the file without which a server refuses the directory.
    fn finish(&self, opening: &Opening) -> Result<(), Trouble> {
        let root = self.directory.root();
        let path = self.directory.opening(opening.generation);
        write(&path, &opening.to_bytes())?;
        let mut folders: Vec<PathBuf> = vec![self.directory.log(), self.directory.snapshots()];
        folders.extend(names(&self.directory.snapshots())?.into_iter().map(|name| self.directory.snapshots().join(name)));
        folders.extend([root.to_owned(), self.directory.parent().to_owned()]);
        for folder in &folders {
            sync_folder(folder).map_err(Trouble::step(format!("cannot sync {}", folder.display())))?;
        }
        write(&self.directory.node(), &self.small("node")?)?;
        let mark = root.join(UNFINISHED);
        sync_folder(root).map_err(Trouble::step(format!("cannot sync {}", root.display())))?;
        fs::remove_file(&mark).map_err(Trouble::step(format!("cannot delete {}", mark.display())))?;
        sync_folder(root).map_err(Trouble::step(format!("cannot sync {}", root.display())))
    }
}

/// The first entry of a stream that is needed behind a snapshot; `None` if none is.
fn first_needed(stream: StreamId, snapshot: Option<&Manifest>) -> Option<Lsn> {
    let Some(snapshot) = snapshot else { return Some(Lsn(1)) };
    let start = snapshot.log_start.iter().find(|(other, _)| *other == stream).map(|(_, lsn)| *lsn);
    let starts = snapshot.log_start.iter().map(|(other, _)| other.generation);
    let newest = snapshot.sections.iter().map(|section| section.as_of.0).chain(starts).max().unwrap_or_default();
    start.or_else(|| (stream.generation > newest).then_some(Lsn(1)))
}

/// Whether a snapshot shows entries that do not count.
fn shows_more(snapshot: &Manifest, plan: &Plan) -> bool {
    let end = |generation, core| plan.end(StreamId { generation, core });
    snapshot.sections.iter().any(|section| end(section.as_of.0, section.file).is_some_and(|end| end < section.as_of.1))
}

/// The last of a stream's files that follow each other without a gap.
fn contiguous(segments: &BTreeMap<u64, &Kept>) -> Vec<u64> {
    let numbers: Vec<u64> = segments.keys().copied().collect();
    let gap = numbers.windows(2).rposition(|pair| pair[1] != pair[0] + 1);
    numbers[gap.map_or(0, |at| at + 1)..].to_vec()
}

/// Where the streams of the last generation end: as a crash or a later generation would have it, then at the point.
fn decide(starts: &[(StreamId, Lsn)], streams: &[Stream], next: Option<&Opening>) -> Plan {
    let parts: Vec<FoundPart> = streams.iter().flat_map(|stream| stream.parts.iter().cloned()).collect();
    let tails = streams.iter().map(|stream| (stream.id, stream.tail.end())).collect();
    let natural = match next {
        Some(opening) => {
            let is_ours = |(stream, ..): &(StreamId, u16, u64)| streams.iter().any(|other| other.id == *stream);
            Plan { ends: tails, dropped: opening.plan.dropped.iter().filter(|dropped| is_ours(dropped)).copied().collect() }
        }
        None => Plan::since(starts, tails, &parts),
    };
    // A point is not a crash: what was whole may have been built upon, so where it cuts a command its streams end.
    let counts = |part: &&FoundPart| {
        natural.end(part.stream).is_some_and(|end| part.lsn < end) && !natural.drops(part.stream, part.origin, part.number)
    };
    let whole: Vec<FoundPart> = parts.iter().filter(counts).cloned().map(|part| FoundPart { mode: PartMode::Cut, ..part }).collect();
    let ends = natural.ends.iter().zip(streams).map(|((id, end), stream)| (*id, stream.end().min(*end))).collect();
    let mut plan = Plan::since(starts, ends, &whole);
    plan.dropped.extend(natural.dropped);
    plan.dropped.sort_unstable();
    plan.dropped.dedup();
    plan
}

/// Makes a file durable. Its name is when its directory is synced.
fn write(path: &Path, bytes: &[u8]) -> Result<(), Trouble> {
    let trouble = || Trouble::step(format!("cannot write {}", path.display()));
    fs::write(path, bytes).map_err(trouble())?;
    File::open(path).and_then(|file| file.sync_all()).map_err(trouble())
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::backup::create;
    use super::super::tests::{Folder, write_node, write_opening, write_segment, write_snapshot};
    use super::*;
    use shards::log::{opening_name, segment_name};

    pub(in super::super) const A: StreamId = StreamId { generation: Generation(1), core: 0 };
    pub(in super::super) const B: StreamId = StreamId { generation: Generation(1), core: 1 };

    /// A directory, a store and what is made of it.
    pub(in super::super) struct Case {
        pub(in super::super) folder: Folder,
        count: usize,
    }

    impl Case {
        pub(in super::super) fn new(name: &str) -> Case {
            let case = Case { folder: Folder::new(name), count: 0 };
            fs::create_dir_all(case.data()).unwrap();
            write_node(&case.data());
            write_opening(&case.data(), 1, &[], 1);
            case
        }

        pub(in super::super) fn data(&self) -> PathBuf {
            self.folder.path().join("data")
        }

        pub(in super::super) fn store(&self) -> String {
            format!("{}/store", self.folder.text())
        }

        fn back_up(&self) {
            create(&self.data(), &self.store(), false).unwrap();
        }

        pub(in super::super) fn target(&self) -> PathBuf {
            self.folder.path().join(format!("target-{}", self.count))
        }

        /// Restores into a new directory, and reads what was decided there.
        pub(in super::super) fn restore(&mut self, time: Option<u64>, entry: Option<&str>) -> Result<Opening, String> {
            self.count += 1;
            let options = RestoreOptions {
                from: self.store(),
                dir: self.target(),
                to_time: time.map(|time| time.to_string()),
                to_lsn: entry.map(str::to_owned),
                backup: None,
                node: None,
                encryption_key_file: None,
            };
            restore(&options).map_err(|trouble| trouble.to_string())?;
            let names = names(&self.target().join("log")).unwrap();
            let newest = names.iter().rfind(|name| name.ends_with(".open")).unwrap();
            Ok(Opening::read(&fs::read(self.target().join("log").join(newest)).unwrap()).unwrap())
        }
    }

    #[test]
    fn a_point_cuts_every_stream_and_no_command_in_two() {
        let mut case = Case::new("point");
        // The command 7 has its parts at 30 and 40.
        write_segment(&case.data(), A, 0, 1, &[(10, false, None), (30, false, Some(7)), (35, false, None), (50, false, None)], &[]);
        write_segment(&case.data(), B, 0, 1, &[(20, false, None), (40, false, Some(7)), (41, false, None)], &[]);
        case.back_up();
        let mut ends = |time| {
            let opening = case.restore(time, None).unwrap();
            assert_eq!((opening.generation, opening.plan.dropped.len()), (Generation(2), 0));
            (opening.plan.end(A).unwrap().0, opening.plan.end(B).unwrap().0)
        };
        assert_eq!(ends(None), (5, 4));
        assert_eq!([10, 20, 30, 39, 40, 49, 50].map(|time| ends(Some(time))), [(2, 1), (2, 2), (2, 2), (2, 2), (4, 3), (4, 4), (5, 4)]);
        let opening = case.restore(None, Some("1.1.2")).unwrap();
        assert_eq!((opening.plan.end(A), opening.plan.end(B)), (Some(Lsn(4)), Some(Lsn(3))));
        assert_eq!(opening.clock_ms, 40);
        assert!(case.restore(None, Some("1.1.4")).unwrap_err().contains("entry 4 of generation 1 core 1 is not in backup"));
        assert!(case.restore(None, Some("2.0.1")).is_err());
        assert!(case.restore(Some(0), None).unwrap_err().contains("before there was anything"));
    }

    #[test]
    fn what_a_crash_left_incomplete_is_dropped_alone() {
        let mut case = Case::new("incomplete");
        write_segment(&case.data(), A, 0, 1, &[(10, false, Some(7)), (30, false, None)], &[]);
        write_segment(&case.data(), B, 0, 1, &[(20, false, None)], &[]);
        case.back_up();
        let opening = case.restore(None, None).unwrap();
        assert_eq!(opening.plan, Plan { ends: vec![(A, Lsn(3)), (B, Lsn(2))], dropped: vec![(A, 0, 7)] });
    }

    #[test]
    fn a_point_in_an_older_generation_leaves_out_those_after_it() {
        let mut case = Case::new("generations");
        let later = StreamId { generation: Generation(2), core: 0 };
        write_segment(&case.data(), A, 0, 1, &[(10, false, None), (20, false, None), (30, false, None)], &[]);
        write_opening(&case.data(), 2, &[(A, Lsn(3))], 20);
        write_segment(&case.data(), later, 0, 1, &[(40, false, None)], &[]);
        case.back_up();
        assert_eq!(case.restore(None, None).unwrap().plan.ends, [(later, Lsn(2))]);
        assert!(case.target().join("log").join(opening_name(Generation(2))).exists());
        let opening = case.restore(Some(15), None).unwrap();
        assert_eq!((opening.generation, opening.plan.ends), (Generation(2), vec![(A, Lsn(2))]));
        assert!(!case.target().join("log").join(segment_name(later, 0)).exists());
        // The third entry was cut off by a later start: it never counts again.
        assert_eq!(case.restore(None, Some("1.0.2")).unwrap().plan.ends, [(A, Lsn(3))]);
        assert!(case.restore(None, Some("1.0.3")).is_err());
    }

    #[test]
    fn compacted_log_comes_from_the_backup_before_and_a_snapshot_goes_with_its_tail() {
        let mut case = Case::new("snapshot");
        write_segment(&case.data(), A, 0, 1, &[(10, false, None), (20, false, None)], &[]);
        write_segment(&case.data(), A, 1, 3, &[(30, false, None)], &[]);
        write_segment(&case.data(), B, 0, 1, &[(10, false, None), (20, false, None), (30, false, None)], &[]);
        case.back_up();
        fs::remove_file(case.data().join("log").join(segment_name(A, 0))).unwrap();
        write_segment(&case.data(), A, 1, 3, &[(30, false, None), (40, false, None)], &[]);
        write_snapshot(&case.data(), 4, (3, 3), 25);
        case.back_up();
        let opening = case.restore(None, None).unwrap();
        assert_eq!(opening.plan.ends, [(A, Lsn(5)), (B, Lsn(4))]);
        assert!(case.target().join("snap/00000004/manifest").exists());
        assert_eq!(case.restore(Some(15), None).unwrap().plan.ends, [(A, Lsn(2)), (B, Lsn(2))]);
        assert_eq!(names(&case.target().join("snap")).unwrap(), [""; 0]);
        // Without the backup before, nothing reaches back behind the snapshot.
        let first = names(&PathBuf::from(case.store())).unwrap().into_iter().find(|name| name.len() == 32).unwrap();
        let folder = PathBuf::from(case.store()).join(first);
        fs::remove_file(folder.join(&names(&folder).unwrap()[0]).join("catalog.json")).unwrap();
        assert!(case.restore(Some(15), None).unwrap_err().contains("compacted before it was backed up"));
    }

    /// As a server leaves it that made snapshots in its first life and was started again; no earlier backup is there.
    #[test]
    fn what_was_decided_before_a_snapshot_is_not_missed() {
        let mut case = Case::new("decided");
        fs::remove_file(case.data().join("log").join(opening_name(Generation(1)))).unwrap();
        for (id, ends) in [(A, 3), (B, 3)] {
            write_segment(&case.data(), id, 1, ends, &[(30, false, None), (40, false, None)], &[]);
        }
        write_snapshot(&case.data(), 4, (3, 3), 25);
        write_opening(&case.data(), 2, &[(A, Lsn(5)), (B, Lsn(5))], 50);
        write_segment(&case.data(), StreamId { generation: Generation(2), ..A }, 0, 1, &[(60, false, None)], &[]);
        case.back_up();
        assert_eq!(case.restore(None, None).unwrap().generation, Generation(3));
        let opening = case.restore(Some(30), None).unwrap();
        assert_eq!((opening.generation, opening.plan.ends), (Generation(2), vec![(A, Lsn(4)), (B, Lsn(4))]));
        assert!(case.restore(Some(20), None).is_err(), "the snapshot shows more");
    }

    #[test]
    fn a_snapshot_that_shows_half_of_a_command_is_not_taken() {
        let mut case = Case::new("half");
        // The command 7 is in the snapshot of the first core, and came to the second one later.
        write_segment(&case.data(), A, 0, 1, &[(10, false, Some(7)), (11, false, None), (40, false, None)], &[]);
        write_segment(&case.data(), B, 0, 1, &[(10, false, None), (30, false, Some(7)), (41, false, None)], &[]);
        write_snapshot(&case.data(), 4, (1, 3), 25);
        case.back_up();
        assert!(case.restore(Some(28), None).unwrap_err().contains("snapshot 4 shows a part of a command"));
        assert_eq!(case.restore(Some(30), None).unwrap().plan.ends, [(A, Lsn(3)), (B, Lsn(3))]);
    }

    #[test]
    fn only_an_empty_directory_is_restored_into() {
        let mut case = Case::new("empty");
        write_segment(&case.data(), A, 0, 1, &[(10, false, None)], &[]);
        case.back_up();
        fs::create_dir(case.folder.path().join("target-1")).unwrap();
        case.restore(None, None).unwrap();
        case.count -= 1;
        assert!(case.restore(None, None).unwrap_err().contains("is not empty"));
        // One that was interrupted may be begun again.
        fs::write(case.target().join(UNFINISHED), b"").unwrap();
        fs::remove_file(case.target().join("node")).unwrap();
        fs::write(case.target().join("log/stray"), b"").unwrap();
        case.count -= 1;
        case.restore(None, None).unwrap();
        assert_eq!(names(&case.target()).unwrap(), ["log", "node", "snap"]);
    }
}

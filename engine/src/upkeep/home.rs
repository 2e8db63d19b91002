//! What is in the directory: whose it is, what earlier generations decided, which snapshots hold, which streams there are, and
//! which of them a server would read.

use super::Unusable;
use engine::directory::Directory;
use engine::keys::Keys;
use shards::log::{
    Generation, Lsn, MANIFEST_NAME, Manifest, NodeId, Opening, SEGMENT_HEADER_BYTES, SegmentHeader, SegmentKind, StreamId,
    opening_generation, segment_of, snapshot_id,
};
use std::collections::BTreeMap;
use std::fmt;
use std::fs::{self, File, TryLockError};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

/// A file that is not what it should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Fault {
    pub(super) file: PathBuf,
    pub(super) at: u64,
    pub(super) why: String,
}

impl Fault {
    pub(super) fn new(file: PathBuf, at: u64, why: impl Into<String>) -> Fault {
        Fault { file, at, why: why.into() }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} is damaged at byte {}: {}", self.file.display(), self.at, self.why)
    }
}

/// A directory, as its files are.
pub(super) struct Home {
    pub(super) directory: Directory,
    /// What encrypted files are opened with.
    pub(super) keys: Keys,
    pub(super) node: Option<NodeId>,
    pub(super) openings: BTreeMap<Generation, Opening>,
    /// Every stream's segments, ascending.
    pub(super) streams: BTreeMap<StreamId, Vec<u64>>,
    /// Snapshots that hold from the first byte to the last, newest first.
    pub(super) snapshots: Vec<Manifest>,
    /// Snapshots that do not.
    pub(super) snapshot_faults: Vec<Fault>,
    /// What keeps a server from starting, whatever the streams are.
    pub(super) faults: Vec<Fault>,
    /// Held, so that no server starts meanwhile.
    _lock: Option<File>,
}

/// A stream that a server would read, and what it would know before.
#[derive(Clone, Debug)]
pub(super) struct Needed {
    pub(super) id: StreamId,
    pub(super) segments: Vec<u64>,
    /// The number of a segment that is missing behind those.
    pub(super) missing: Option<u64>,
    /// The first entry that has to be there.
    pub(super) from: Lsn,
    /// The first entry that may have to be applied.
    pub(super) replay_from: Lsn,
    /// The last entry that a snapshot was built upon.
    pub(super) durable: Lsn,
    /// The first entry that is not there, where a later generation has decided it.
    pub(super) decided: Option<Lsn>,
}

impl Home {
    /// Reads everything but the streams.
    ///
    /// # Errors
    /// If there is nothing to read, or a server uses it.
    pub(super) fn read(root: &Path, keys: Keys) -> Result<Home, Unusable> {
        let directory = Directory::new(root);
        let lock = lock(&directory)?;
        let log = list(&directory.log())?;
        let snapshots = list(&directory.snapshots())?;
        let mut home = Home {
            directory,
            keys,
            node: None,
            openings: BTreeMap::new(),
            streams: BTreeMap::new(),
            snapshots: Vec::new(),
            snapshot_faults: Vec::new(),
            faults: Vec::new(),
            _lock: lock,
        };
        if log.is_empty() && snapshots.is_empty() && !home.directory.node().exists() {
            return Err(Unusable(format!("{} holds nothing of a server: no node, no log, no snapshot", root.display())));
        }
        match home.read_node() {
            Ok(node) => home.node = Some(node),
            Err(fault) => home.faults.push(fault),
        }
        for name in &log {
            if let Some((stream, seq)) = segment_of(name) {
                home.streams.entry(stream).or_default().push(seq);
            } else if let Some(generation) = opening_generation(name) {
                match home.read_opening(generation) {
                    Ok(opening) => drop(home.openings.insert(generation, opening)),
                    Err(fault) => home.faults.push(fault),
                }
            }
        }
        home.streams.values_mut().for_each(|segments| segments.sort_unstable());
        let mut ids: Vec<u64> = snapshots.iter().filter_map(|name| snapshot_id(name)).collect();
        ids.sort_unstable_by(|a, b| b.cmp(a));
        for id in ids {
            // Without a manifest it was never finished, and means nothing.
            if list(&home.directory.snapshot(id))?.iter().any(|name| name == MANIFEST_NAME) {
                match super::survey::read_snapshot(&home, id) {
                    Ok(manifest) => home.snapshots.push(manifest),
                    Err(fault) => home.snapshot_faults.push(fault),
                }
            }
        }
        Ok(home)
    }

    fn read_node(&self) -> Result<NodeId, Fault> {
        let path = self.directory.node();
        let bytes = read_front(&path).map_err(|error| Fault::new(path.clone(), 0, error.to_string()))?;
        match SegmentHeader::read(&bytes) {
            Ok((header, _)) if header.kind == SegmentKind::Node => Ok(header.node),
            Ok(_) => Err(Fault::new(path, 10, "it is another kind of file")),
            Err(error) => Err(Fault::new(path, error.place, error.why)),
        }
    }

    fn read_opening(&self, generation: Generation) -> Result<Opening, Fault> {
        let path = self.directory.opening(generation);
        let bytes = fs::read(&path).map_err(|error| Fault::new(path.clone(), 0, error.to_string()))?;
        match Opening::read(&bytes) {
            Ok(opening) if self.is_foreign(opening.node) => Err(Fault::new(path, 24, "it belongs to another directory")),
            Ok(opening) if opening.generation != generation => Err(Fault::new(path, 56, "it is that of another generation")),
            Ok(opening) => Ok(opening),
            Err(error) => Err(Fault::new(path, error.place, error.why)),
        }
    }

    /// Whether this is another directory's node.
    pub(super) fn is_foreign(&self, node: NodeId) -> bool {
        self.node.is_some_and(|own| own != node)
    }

    /// The generation that comes next.
    pub(super) fn generation_next(&self) -> Generation {
        let all = self.openings.keys().copied().chain(self.streams.keys().map(|stream| stream.generation));
        let all = all.chain(self.snapshots.iter().map(generation_of));
        Generation(all.map(|generation| generation.0).max().unwrap_or(0) + 1)
    }

    /// The first entry of a stream that is not there, if a later generation has decided it.
    pub(super) fn decided(&self, id: StreamId) -> Option<Lsn> {
        let later = self.openings.range(Generation(id.generation.0 + 1)..);
        later.flat_map(|(_, opening)| &opening.plan.ends).filter(|(stream, _)| *stream == id).map(|(_, end)| *end).min()
    }

    /// The streams that a server reads with the snapshot `base`, and what makes that impossible.
    pub(super) fn needed(&self, base: Option<&Manifest>) -> (Vec<Needed>, Vec<Fault>) {
        let (mut all, mut faults) = (Vec::new(), Vec::new());
        let first = base.map_or(Generation(0), generation_of);
        for generation in (first.0 + 1..self.generation_next().0).map(Generation) {
            let path = self.directory.opening(generation);
            if !self.openings.contains_key(&generation) && !self.faults.iter().any(|fault| fault.file == path) {
                let why = format!("the file is missing, and generation {} cannot be understood without it", generation.0);
                faults.push(Fault::new(path, 0, why));
            }
        }
        let described = self.openings.values().flat_map(|opening| &opening.plan.ends).map(|(stream, _)| stream);
        let later = self.streams.keys().chain(described).filter(|stream| stream.generation > first);
        let mut wanted: BTreeMap<StreamId, Lsn> = later.map(|stream| (*stream, Lsn(1))).collect();
        wanted.extend(base.iter().flat_map(|base| &base.log_start).copied());
        for (id, from) in wanted {
            match self.needed_of(base, id, from) {
                Ok(needed) => all.extend(needed),
                Err(fault) => faults.push(fault),
            }
        }
        (all, faults)
    }

    /// `None` if there never was anything in the stream.
    fn needed_of(&self, base: Option<&Manifest>, id: StreamId, from: Lsn) -> Result<Option<Needed>, Fault> {
        let decided = self.decided(id);
        let mut segments = self.streams.get(&id).cloned().unwrap_or_default();
        let Some(first) = segments.first().copied() else {
            let had_entries = from > Lsn(1) || decided.is_some_and(|end| end > Lsn(1));
            let missing = || Fault::new(self.directory.segment(id, 0), 0, "every file of this stream is missing");
            return if had_entries { Err(missing()) } else { Ok(None) };
        };
        if from == Lsn(1) && first != 0 {
            return Err(Fault::new(self.directory.segment(id, 0), 0, "the file is missing, and no snapshot holds what it held"));
        }
        let gap = segments.windows(2).position(|pair| pair[1] != pair[0] + 1);
        let missing = gap.map(|index| segments[index] + 1);
        if let Some(index) = gap {
            segments.truncate(index + 1);
        }
        let sections = || base.iter().flat_map(|base| &base.sections).filter(|section| section.file == id.core);
        let as_of = || sections().map(|section| section.as_of).filter(|(generation, _)| *generation == id.generation);
        let replay_from = as_of().map(|(_, lsn)| lsn).min().unwrap_or(from);
        let durable = Lsn(as_of().map(|(_, lsn)| lsn).max().unwrap_or(from).0 - 1);
        Ok(Some(Needed { id, segments, missing, from, replay_from, durable, decided }))
    }
}

/// The generation in which a snapshot was made.
fn generation_of(manifest: &Manifest) -> Generation {
    manifest.log_start.iter().map(|(stream, _)| stream.generation).max().unwrap_or_default()
}

/// As a server does it. Without the file there was never one.
fn lock(directory: &Directory) -> Result<Option<File>, Unusable> {
    let file = match File::open(directory.lock()) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(Unusable(format!("cannot open {}: {error}", directory.lock().display()))),
    };
    match file.try_lock() {
        Ok(()) => Ok(Some(file)),
        Err(TryLockError::WouldBlock) => Err(Unusable(format!("a server uses {}; stop it first", directory.root().display()))),
        Err(TryLockError::Error(error)) => Err(Unusable(format!("cannot lock {}: {error}", directory.lock().display()))),
    }
}

/// Names in a folder, in order; none if there is no such folder.
fn list(folder: &Path) -> Result<Vec<String>, Unusable> {
    let refused = |error: io::Error| Unusable(format!("cannot list {}: {error}", folder.display()));
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(refused(error)),
    };
    let mut names = Vec::new();
    for entry in entries {
        names.push(entry.map_err(refused)?.file_name().to_string_lossy().into_owned());
    }
    names.sort_unstable();
    Ok(names)
}

/// A file's first block, or as much of it as there is.
pub(super) fn read_front(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(SEGMENT_HEADER_BYTES as u64).read_to_end(&mut bytes)?;
    Ok(bytes)
}

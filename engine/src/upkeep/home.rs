//! What is in the directory: whose it is, what earlier generations decided, which snapshots hold, which streams there are, and
//! which of them a server would read.

use super::Unusable;
use engine::directory::Directory;
use engine::keys::Keys;
use engine::load::{History, Missing, Needed};
use shards::log::{
    Generation, MANIFEST_NAME, Manifest, NodeId, Opening, SEGMENT_HEADER_BYTES, SegmentHeader, SegmentKind, opening_generation, segment_of,
    snapshot_id,
};
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
    /// What the names, and the openings that can be read, tell.
    pub(super) history: History,
    /// Snapshots that hold from the first byte to the last, newest first.
    pub(super) snapshots: Vec<Manifest>,
    /// Snapshots that do not.
    pub(super) snapshot_faults: Vec<Fault>,
    /// What keeps a server from starting, whatever the streams are.
    pub(super) faults: Vec<Fault>,
    /// Held, so that no server starts meanwhile.
    _lock: Option<File>,
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
            history: History::default(),
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
                home.history.streams.entry(stream).or_default().push(seq);
            } else if let Some(generation) = opening_generation(name) {
                match home.read_opening(generation) {
                    Ok(opening) => drop(home.history.openings.insert(generation, opening)),
                    Err(fault) => home.faults.push(fault),
                }
            }
        }
        home.history.streams.values_mut().for_each(|segments| segments.sort_unstable());
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
        self.history.generation_next(&self.snapshots)
    }

    /// The streams that a server reads with the snapshot `base`, and what makes that impossible.
    pub(super) fn needed(&self, base: Option<&Manifest>) -> (Vec<Needed>, Vec<Fault>) {
        let (mut all, mut faults) = (Vec::new(), Vec::new());
        for needed in self.history.needed(base, self.generation_next()) {
            match needed {
                Ok(needed) => all.push(needed),
                Err(missing) => faults.extend(Some(self.fault_of(missing)).filter(|fault| !self.is_told(fault))),
            }
        }
        (all, faults)
    }

    /// What a server says of a file that is missing.
    pub(super) fn fault_of(&self, missing: Missing) -> Fault {
        match missing {
            Missing::Opening(generation) => {
                let why = format!("the file is missing, and generation {} cannot be understood without it", generation.0);
                Fault::new(self.directory.opening(generation), 0, why)
            }
            Missing::Segment { id, seq, all: true, .. } => {
                Fault::new(self.directory.segment(id, seq), 0, "every file of this stream is missing")
            }
            Missing::Segment { id, seq, .. } => {
                Fault::new(self.directory.segment(id, seq), 0, "the file is missing, and no snapshot holds what it held")
            }
        }
    }

    /// Whether the same file is known to be at fault: one that cannot be read is missed too.
    fn is_told(&self, fault: &Fault) -> bool {
        self.faults.iter().any(|known| known.file == fault.file)
    }
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

//! What a backup takes from a directory that a server may be writing to: a consistent state of it, without the server's help.
//!
//! Files of the log only grow, and what a snapshot consists of never changes, so a second name for each keeps it as it is needed
//! while the server deletes its own. First a moment is chosen: no earlier than anything that is on the disk. What was
//! acknowledged until then is on the disk a little later, and is taken; what is younger is in the files too, and does not count.
//!
//! An archive asks again and again: it says what it knows, and that is neither linked nor read any more.

use super::Trouble;
use super::now_ms;
use super::stream::{Question, names, read_full, streams};
use engine::directory::{Directory, KEPT, kept};
use shards::log::{
    MANIFEST_NAME, Manifest, NodeId, Opening, SEGMENT_HEADER_BYTES, SegmentHeader, SegmentKind, Tail, opening_generation, segment_name,
    segment_of, snapshot_file_name, snapshot_id,
};
use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

/// How long a server may take to write what it has done: several times what it allows itself.
const SETTLE: Duration = Duration::from_millis(50);

/// How often something that changed under our eyes is looked at again.
const TRIES: usize = 5;

/// The second names, in the directory itself: they must be on the same file system.
const LINKS: &str = "backup.tmp";

/// Held while second names exist.
const LOCK: &str = "backup.lock";

/// A directory's state, held by second names until this is dropped.
pub(super) struct Gathered {
    pub(super) node: NodeId,
    /// Every entry with a clock up to this one is in it.
    pub(super) clock_ms: u64,
    pub(super) files: Vec<Source>,
    /// The newest snapshot, if there is one.
    pub(super) snapshot: Option<u64>,
    links: PathBuf,
    _lock: File,
}

/// What is wanted of a directory.
#[derive(Clone, Debug, Default)]
pub(super) struct Scope {
    /// Also what the server needs no more and left for the archive.
    pub(super) kept: bool,
    /// Files that are known, by their paths in the directory. Of a log's files these are the first of their streams.
    pub(super) known: BTreeSet<String>,
    /// The snapshot that is known.
    pub(super) snapshot: Option<u64>,
}

/// A file, and how much of it means something.
pub(super) struct Source {
    /// Its path in the directory.
    pub(super) name: String,
    pub(super) path: PathBuf,
    pub(super) bytes: u64,
}

impl Drop for Gathered {
    fn drop(&mut self) {
        // Whatever stays is removed by the next one.
        let _ = fs::remove_dir_all(&self.links);
    }
}

impl Gathered {
    /// Takes the state of a directory.
    pub(super) fn of(root: &Path, scope: &Scope) -> Result<Gathered, Trouble> {
        let directory = Directory::new(root);
        let node = read_node(&directory.node())?;
        let lock = super::folder::lock(&root.join(LOCK), "another backup of this directory is being taken")?;
        let links = root.join(LINKS);
        let mut gathered = Gathered { node, clock_ms: 0, files: Vec::new(), snapshot: None, links, _lock: lock };
        for _ in 0..TRIES {
            gathered.clear()?;
            gathered.clock_ms = latest_clock(&directory, node)?;
            thread::sleep(SETTLE);
            if gathered.link(&directory, scope)? {
                gathered.measure()?;
                return Ok(gathered);
            }
        }
        Err(Trouble::new(format!("the snapshots in {} are replaced faster than they can be linked", directory.snapshots().display())))
    }

    fn clear(&mut self) -> Result<(), Trouble> {
        self.files.clear();
        match fs::remove_dir_all(&self.links) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                Err(Trouble::new(format!("cannot delete {}: {error}", self.links.display())))
            }
            _ => Ok(()),
        }
    }

    /// Gives a second name to the newest snapshot and to the log. Whether the snapshot is still one afterwards: then no file that
    /// goes with it was deleted meanwhile.
    fn link(&mut self, directory: &Directory, scope: &Scope) -> Result<bool, Trouble> {
        self.add(directory, "node", "node")?;
        let manifest = match newest_manifest(directory)? {
            Some(manifest) => manifest,
            None => {
                self.link_log(directory, scope)?;
                return Ok(newest_manifest(directory)?.is_none());
            }
        };
        self.snapshot = Some(manifest.id);
        self.clock_ms = self.clock_ms.max(manifest.clock_ms).max(manifest.created_ms);
        if scope.snapshot == Some(manifest.id) {
            self.link_log(directory, scope)?;
            // Nothing of the log is deleted under an archive's eyes, whatever becomes of the snapshot.
            return Ok(true);
        }
        let folder = directory.snapshot(manifest.id);
        let file_names = manifest.files.iter().map(|(core, _)| snapshot_file_name(*core)).chain([MANIFEST_NAME.to_owned()]);
        for name in file_names {
            let folder = folder.file_name().and_then(|name| name.to_str()).expect("made of digits");
            let name = format!("snap/{folder}/{name}");
            if !self.add(directory, &name, &name)? {
                return Ok(false);
            }
        }
        self.link_log(directory, scope)?;
        Ok(directory.manifest(manifest.id).exists())
    }

    fn link_log(&mut self, directory: &Directory, scope: &Scope) -> Result<(), Trouble> {
        let listed = names(&directory.log())?;
        let plain: BTreeSet<&str> = listed.iter().map(|name| if scope.kept { name.trim_end_matches(KEPT) } else { name }).collect();
        for name in plain {
            let name_in = format!("log/{name}");
            if (segment_of(name).is_some() || opening_generation(name).is_some()) && !scope.known.contains(&name_in) {
                // One that is gone was compacted: nothing that is there needs it, unless it was left for the archive just now.
                if !self.add(directory, &name_in, &name_in)? && scope.kept {
                    let waits = kept(Path::new(&name_in));
                    self.add(directory, waits.to_str().expect("made of digits"), &name_in)?;
                }
            }
        }
        Ok(())
    }

    /// Gives the file `from` a second name, under which it is `name`. Whether it was there.
    fn add(&mut self, directory: &Directory, from: &str, name: &str) -> Result<bool, Trouble> {
        let (from, path) = (directory.root().join(from), self.links.join(name));
        let folder = path.parent().expect("a file is in a directory");
        fs::create_dir_all(folder).map_err(Trouble::step(format!("cannot make {}", folder.display())))?;
        match fs::hard_link(&from, &path) {
            Ok(()) => {
                let bytes = fs::metadata(&path).map_err(Trouble::step(format!("cannot look at {}", path.display())))?.len();
                self.files.push(Source { name: name.to_owned(), path, bytes });
                Ok(true)
            }
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
            Err(error) => Err(Trouble::new(format!("cannot link {} to {}: {error}", from.display(), path.display()))),
        }
    }

    /// Finds out how much of each segment means something.
    fn measure(&mut self) -> Result<(), Trouble> {
        let log = self.links.join("log");
        for (id, segments) in streams(&log)? {
            let question = Question { log: &log, node: self.node, id, segments: &segments, from: None, point: None, keys: None };
            for (seq, bytes) in read_settled(&question)? {
                let name = format!("log/{}", segment_name(id, seq));
                let source = self.files.iter_mut().find(|source| source.name == name).expect("it was linked under this name");
                source.bytes = bytes;
            }
        }
        Ok(())
    }
}

/// Reads a stream that may be growing. A frame that was seen half, before one that says it is durable, looks like damage, once.
fn read_settled(question: &Question<'_>) -> Result<Vec<(u64, u64)>, Trouble> {
    let mut stream = question.read()?;
    for _ in 1..TRIES {
        if !matches!(stream.tail, Tail::Damaged { .. }) {
            break;
        }
        thread::sleep(SETTLE);
        stream = question.read()?;
    }
    Ok(stream.checked(question.log)?.segments)
}

/// No earlier than any entry that is on the disk, nor than now.
fn latest_clock(directory: &Directory, node: NodeId) -> Result<u64, Trouble> {
    let mut clock_ms = now_ms();
    let log = directory.log();
    for name in names(&log)? {
        if let Some(generation) = opening_generation(&name) {
            let path = directory.opening(generation);
            if let Some(bytes) = read_present(&path)? {
                let opening = Opening::read(&bytes).map_err(|error| Trouble::new(format!("{} {error}", path.display())))?;
                clock_ms = clock_ms.max(opening.clock_ms);
            }
        }
    }
    let streams = streams(&log)?;
    let newest = streams.keys().map(|stream| stream.generation).max();
    for (id, segments) in streams.iter().filter(|(id, _)| Some(id.generation) == newest) {
        let question = Question { log: &log, node, id: *id, segments, from: None, point: None, keys: None };
        clock_ms = clock_ms.max(question.latest_clock()?);
    }
    Ok(clock_ms)
}

/// The manifest of the newest snapshot that is whole.
fn newest_manifest(directory: &Directory) -> Result<Option<Manifest>, Trouble> {
    let mut ids: Vec<u64> = names(&directory.snapshots())?.iter().filter_map(|name| snapshot_id(name)).collect();
    ids.sort_unstable();
    for id in ids.into_iter().rev() {
        let path = directory.manifest(id);
        let Some(bytes) = read_present(&path)? else { continue };
        let manifest = Manifest::read(&bytes).map_err(|error| Trouble::new(format!("{} {error}", path.display())))?;
        let is_whole = |(core, bytes): &(u16, u64)| fs::metadata(directory.snapshot_file(id, *core)).is_ok_and(|data| data.len() == *bytes);
        if manifest.files.iter().all(is_whole) {
            return Ok(Some(manifest));
        }
    }
    Ok(None)
}

/// A small file, whole; `None` if it is not there.
fn read_present(path: &Path) -> Result<Option<Vec<u8>>, Trouble> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Trouble::new(format!("cannot read {}: {error}", path.display()))),
    }
}

/// Whose directory it is.
fn read_node(path: &Path) -> Result<NodeId, Trouble> {
    let mut file = File::open(path).map_err(Trouble::step(format!("this is no server's directory: cannot open {}", path.display())))?;
    let mut block = [0; SEGMENT_HEADER_BYTES];
    let count = read_full(&mut file, &mut block).map_err(Trouble::step(format!("cannot read {}", path.display())))?;
    match SegmentHeader::read(&block[..count]) {
        Ok((header, _)) if header.kind == SegmentKind::Node => Ok(header.node),
        Ok(_) => Err(Trouble::new(format!("{} is another kind of file", path.display()))),
        Err(error) => Err(Trouble::new(format!("{} {error}", path.display()))),
    }
}

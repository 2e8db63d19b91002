//! The directory a server keeps: which file is where.
//!
//! `lock` · `node` · `log/g{generation}-c{core}-{seq}.log` · `log/g{generation}.open` · `snap/{id}/c{core}.snap` ·
//! `snap/{id}/manifest`. What ends in `.tmp` is not finished and means nothing; what ends in `.kept` is log that is not needed any more and
//! waits for the archive.

use shards::log::{Generation, MANIFEST_NAME, StreamId, opening_name, segment_name, snapshot_file_name, snapshot_name};
use std::path::{Path, PathBuf};

/// What an unfinished file ends in.
pub const UNFINISHED: &str = ".tmp";

/// What a file of the log ends in that only the archive still wants.
pub const KEPT: &str = ".kept";

/// A server's directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Directory {
    root: PathBuf,
}

impl Directory {
    /// The directory `--dir` names.
    pub fn new(root: impl Into<PathBuf>) -> Directory {
        Directory { root: root.into() }
    }

    /// Itself.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Where its own name is kept.
    pub fn parent(&self) -> &Path {
        self.root.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
    }

    /// Locked by the process that serves it.
    pub fn lock(&self) -> PathBuf {
        self.root.join("lock")
    }

    /// Which node this is.
    pub fn node(&self) -> PathBuf {
        self.root.join("node")
    }

    /// Every core's log, and the openings.
    pub fn log(&self) -> PathBuf {
        self.root.join("log")
    }

    /// One file of a stream.
    pub fn segment(&self, stream: StreamId, seq: u64) -> PathBuf {
        self.log().join(segment_name(stream, seq))
    }

    /// How a generation began.
    pub fn opening(&self, generation: Generation) -> PathBuf {
        self.log().join(opening_name(generation))
    }

    /// The snapshots.
    pub fn snapshots(&self) -> PathBuf {
        self.root.join("snap")
    }

    /// One snapshot.
    pub fn snapshot(&self, id: u64) -> PathBuf {
        self.snapshots().join(snapshot_name(id))
    }

    /// One core's part of a snapshot.
    pub fn snapshot_file(&self, id: u64, core: u16) -> PathBuf {
        self.snapshot(id).join(snapshot_file_name(core))
    }

    /// What makes a snapshot one.
    pub fn manifest(&self, id: u64) -> PathBuf {
        self.snapshot(id).join(MANIFEST_NAME)
    }
}

/// The same path with the ending of an unfinished file.
pub fn unfinished(path: &Path) -> PathBuf {
    with_ending(path, UNFINISHED)
}

/// The same path with the ending of a file that waits for the archive.
pub fn kept(path: &Path) -> PathBuf {
    with_ending(path, KEPT)
}

fn with_ending(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(ending);
    name.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_knows_where_its_own_name_is() {
        assert_eq!(Directory::new("data").parent(), Path::new("."));
        assert_eq!(Directory::new("/var/lib/data").parent(), Path::new("/var/lib"));
        assert_eq!(unfinished(&Directory::new("/d").manifest(3)), Path::new("/d/snap/00000003/manifest.tmp"));
    }
}

//! Why a directory is not served, in words an operator can act on.

use netio::FileFailure;
use shards::log::{Lsn, StreamId};
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

/// Why recovery ended without serving. Nothing that was there has been changed, but for unfinished files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// Another process serves this directory.
    InUse(PathBuf),
    /// The machine did not do what it was asked.
    Machine(String),
    /// A file is encrypted, and not with a key that was given.
    Key {
        /// The file.
        file: PathBuf,
        /// Which key is missing or wrong, by its number.
        why: String,
    },
    /// A file is not what it was when it was acknowledged.
    Damaged(Damage),
}

/// A damaged file, and what cannot be read because of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damage {
    /// The file.
    pub file: PathBuf,
    /// The first byte that is not what it was.
    pub at: u64,
    /// What was found there.
    pub why: String,
    /// The directory it is in, for advice.
    pub directory: PathBuf,
    /// What would be lost without it, where that is known.
    pub loss: Option<Loss>,
}

/// Entries of a stream that were safe and cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Loss {
    /// Whose.
    pub stream: StreamId,
    /// The first one.
    pub from: Lsn,
    /// The last one that is known to have been safe; there may be more.
    pub known: Lsn,
}

impl Refusal {
    /// A file of a directory that cannot be understood.
    pub(crate) fn damaged(directory: &Path, file: PathBuf, at: u64, why: impl Into<String>) -> Refusal {
        Refusal::Damaged(Damage { file, at, why: why.into(), directory: directory.to_owned(), loss: None })
    }

    /// Entries that were safe are not there.
    pub(crate) fn lost(directory: &Path, file: PathBuf, at: u64, why: impl Into<String>, loss: Loss) -> Refusal {
        Refusal::Damaged(Damage { file, at, why: why.into(), directory: directory.to_owned(), loss: Some(loss) })
    }

    /// A lock that could not be had.
    pub(crate) fn locking(directory: &Path, failure: FileFailure) -> Refusal {
        if failure.cause.kind() == io::ErrorKind::WouldBlock { Refusal::InUse(directory.to_owned()) } else { failure.into() }
    }
}

impl From<FileFailure> for Refusal {
    fn from(failure: FileFailure) -> Refusal {
        Refusal::Machine(failure.to_string())
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Refusal::InUse(path) => write!(f, "another process serves {}; stop it, or choose another --dir", path.display()),
            Refusal::Machine(text) => f.write_str(text),
            Refusal::Key { file, why } => write!(
                f,
                "{} cannot be read: {why}\n  Nothing was changed and nothing is served. Give the keys it was written with in \
                 --encryption-key-file or COREWHEEL_ENCRYPTION_KEY.",
                file.display()
            ),
            Refusal::Damaged(Damage { file, at, why, directory, loss }) => {
                write!(f, "{} is damaged at byte {at}: {why}", file.display())?;
                if let Some(Loss { stream, from, known }) = loss {
                    let count = (known.0 + 1).saturating_sub(from.0);
                    write!(
                        f,
                        "\n  Entries {} to {} of {stream} were safe on the disk and cannot be read: at least {count}.",
                        from.0, known.0
                    )?;
                }
                write!(
                    f,
                    "\n  Nothing was changed and nothing is served. Keep a copy of {0} before anything else, then: corewheel check {0}",
                    directory.display()
                )
            }
        }
    }
}

impl std::error::Error for Refusal {}

#[cfg(test)]
mod tests {
    use super::*;
    use shards::log::Generation;

    #[test]
    fn what_would_be_lost_is_said_with_its_place() {
        let loss = Loss { stream: StreamId { generation: Generation(2), core: 1 }, from: Lsn(17), known: Lsn(41) };
        let refusal = Refusal::lost(Path::new("/data"), PathBuf::from("/data/log/x.log"), 8192, "the checksum does not hold", loss);
        let text = refusal.to_string();
        for words in
            ["/data/log/x.log is damaged at byte 8192", "Entries 17 to 41 of generation 2 core 1", "at least 25", "Keep a copy of /data"]
        {
            assert!(text.contains(words), "{text}");
        }
    }
}

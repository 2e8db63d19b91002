//! Continuous archiving, as the server sees it: whether what its log no longer needs is left for somebody who carries it away, and how
//! far that one is. The carrying itself is the program's, on a thread of its own: no core waits for it.

use crate::options::Unusable;
use crate::settings::parse_bytes;
use clap::Args;
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

/// Seconds between two rounds where nothing else is said.
const EVERY_S: u32 = 60;

/// Bytes of files that wait for the archive where nothing else is said.
const KEPT_BYTES_MAX: u64 = 16 << 30;

/// The flags of a server that is archived.
#[derive(Args, Clone, Debug, Default)]
pub struct ArchiveOptions {
    /// Store that the log is archived into while the server runs, for a restore to any moment: a directory, or s3://BUCKET/PREFIX.
    #[arg(long = "archive", value_name = "STORE")]
    pub store: Option<String>,

    /// Seconds between two rounds of archiving: what is younger may be missing from the archive. Default: 60.
    #[arg(long = "archive-every-s", value_name = "SECONDS", value_parser = clap::value_parser!(u32).range(1..=86_400))]
    pub every_s: Option<u32>,

    /// Bytes of log that are kept for an archive that cannot be reached; if there are more they go, and the archive has a gap.
    /// Default: 16gb.
    #[arg(long = "archive-kept-bytes", value_name = "BYTES")]
    pub kept_bytes: Option<String>,
}

/// Where a server's log is archived, and how often.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ArchiveConfig {
    /// The server's directory.
    pub dir: PathBuf,
    /// The store's address.
    pub store: String,
    /// Between two rounds.
    pub every: Duration,
    /// Files that wait may hold so many bytes.
    pub kept_bytes_max: u64,
}

impl ArchiveOptions {
    /// What is wanted of a server with this directory; `None` if no store is named.
    ///
    /// # Errors
    /// If there is nothing to archive, or a flag stands alone.
    pub fn into_config(self, dir: Option<PathBuf>) -> Result<Option<ArchiveConfig>, Unusable> {
        let ArchiveOptions { store, every_s, kept_bytes } = self;
        let Some(store) = store else {
            let alone = every_s.is_some() || kept_bytes.is_some();
            return if alone { Err(Unusable("--archive-every-s and --archive-kept-bytes need --archive".into())) } else { Ok(None) };
        };
        let dir = dir.ok_or_else(|| Unusable("--archive: there is no log that could be archived; start the server with --dir".into()))?;
        let kept_bytes_max = kept_bytes.map_or(Ok(KEPT_BYTES_MAX), |text| parse_bytes(&text));
        let kept_bytes_max = kept_bytes_max.map_err(|why| Unusable(format!("--archive-kept-bytes: {why}")))?;
        Ok(Some(ArchiveConfig { dir, store, every: Duration::from_secs(every_s.unwrap_or(EVERY_S).into()), kept_bytes_max }))
    }
}

/// What is known of the archive, for `INFO`. Written by the thread that carries, read by whoever asks.
#[derive(Debug, Default)]
pub struct Archive {
    on: AtomicBool,
    until_ms: AtomicU64,
    kept_bytes: AtomicU64,
    rounds: AtomicU64,
    failures: AtomicU64,
    gaps: AtomicU64,
    failure: Mutex<Option<String>>,
}

/// A look at an [`Archive`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ArchiveStats {
    /// Everything with an entry clock up to this one is in the archive; 0 before the first round. Milliseconds since 1970.
    pub until_ms: u64,
    /// Bytes of files that the server no longer needs and the archive does not have.
    pub kept_bytes: u64,
    /// Rounds that ended well.
    pub rounds: u64,
    /// Rounds that did not.
    pub failures: u64,
    /// How often files went before they were archived, because there were too many.
    pub gaps: u64,
    /// Why the last round failed, if it did.
    pub failure: Option<String>,
}

impl Archive {
    /// From now on compaction leaves files for the archive.
    pub fn begin(&self) {
        self.on.store(true, Ordering::Release);
    }

    /// Whether it does.
    pub fn is_on(&self) -> bool {
        self.on.load(Ordering::Acquire)
    }

    /// A round came to its end: how far the archive reaches, or why it did not get further.
    pub fn note_round(&self, round: Result<u64, String>) {
        let count = if round.is_ok() { &self.rounds } else { &self.failures };
        count.fetch_add(1, Ordering::Relaxed);
        if let Ok(until_ms) = round {
            self.until_ms.fetch_max(until_ms, Ordering::Relaxed);
        }
        *self.failure.lock().expect("nobody panics with it") = round.err();
    }

    /// So many bytes wait.
    pub fn note_kept(&self, bytes: u64) {
        self.kept_bytes.store(bytes, Ordering::Relaxed);
    }

    /// What waited was given up.
    pub fn note_gap(&self) {
        self.gaps.fetch_add(1, Ordering::Relaxed);
    }

    /// All of it; `None` where nothing is archived.
    pub fn stats(&self) -> Option<ArchiveStats> {
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        self.is_on().then(|| ArchiveStats {
            until_ms: read(&self.until_ms),
            kept_bytes: read(&self.kept_bytes),
            rounds: read(&self.rounds),
            failures: read(&self.failures),
            gaps: read(&self.gaps),
            failure: self.failure.lock().expect("nobody panics with it").clone(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(store: Option<&str>, kept_bytes: Option<&str>, dir: Option<&str>) -> Result<Option<ArchiveConfig>, String> {
        let options = ArchiveOptions { store: store.map(Into::into), every_s: None, kept_bytes: kept_bytes.map(Into::into) };
        options.into_config(dir.map(Into::into)).map_err(|unusable| unusable.to_string())
    }

    #[test]
    fn an_archive_needs_a_log_and_its_flags_need_an_archive() {
        assert_eq!(config(None, None, None), Ok(None));
        assert!(config(None, Some("1gb"), Some("/d")).unwrap_err().contains("need --archive"));
        assert!(config(Some("/a"), None, None).unwrap_err().contains("--dir"));
        assert!(config(Some("/a"), Some("much"), Some("/d")).unwrap_err().contains("--archive-kept-bytes"));
        let whole = config(Some("/a"), Some("1gb"), Some("/d")).unwrap().unwrap();
        assert_eq!((whole.every, whole.kept_bytes_max), (Duration::from_secs(60), 1 << 30));
    }

    #[test]
    fn a_round_that_fails_takes_nothing_back() {
        let archive = Archive::default();
        archive.note_round(Ok(5));
        assert_eq!(archive.stats(), None);
        archive.begin();
        archive.note_round(Err("away".into()));
        let stats = archive.stats().unwrap();
        assert_eq!((stats.until_ms, stats.rounds, stats.failures, stats.failure.as_deref()), (5, 1, 1, Some("away")));
        archive.note_round(Ok(6));
        assert_eq!(archive.stats().unwrap().failure, None);
    }
}

//! Continuous archiving: beside a running server, every so many seconds, what its log has become goes into a store.
//!
//! The archive is backups like any other, one for every snapshot of the server: a *chapter*. Its catalog is written anew in every round,
//! with the snapshot it began with, every file of the log that was there since, and how far they reach together; so `restore` finds any
//! moment between the first round and the last. A segment that is still written to is stored whole in every round in which it has grown,
//! and what was stored of it before is deleted then.
//!
//! The server deletes no file of the log while it is archived: it gives it another name, and the file goes when the store has it. If the
//! store is away the server goes on, and files wait, up to a limit in bytes. No core's thread does anything of this.

use super::backup::{held, put_as, remove};
use super::bar::Bar;
use super::catalog::{Catalog, Kept, What, catalog_names, node_text};
use super::gather::{Gathered, Scope, Source};
use super::history::{catalogs, unneeded};
use super::object::checksum;
use super::store::{Lock, Store};
use super::stream::names;
use super::{Trouble, now_ms};
use engine::archive::{Archive, ArchiveConfig};
use engine::board::Board;
use engine::directory::{Directory, KEPT};
use shards::log::{SEGMENT_HEADER_BYTES, StreamId};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// How often it is looked whether the server serves already.
const LOOK: Duration = Duration::from_millis(100);

/// The thread that archives.
pub(crate) struct Archiver {
    over: SyncSender<bool>,
    thread: JoinHandle<()>,
}

impl Archiver {
    /// Begins to archive the directory of a server that is starting.
    ///
    /// # Errors
    /// If the store's address is none, or there is no thread. A store that is away is no error.
    pub(crate) fn begin(config: ArchiveConfig, board: Arc<Board>) -> Result<Archiver, String> {
        check(&config.store)?;
        board.archive.begin();
        let (over, ended) = sync_channel(1);
        let keeper = Keeper { config, board, chapter: None, told: None };
        let thread = thread::Builder::new().name("archive".into()).spawn(move || keeper.run(&ended));
        Ok(Archiver { over, thread: thread.map_err(|error| format!("no thread for the archive: {error}"))? })
    }

    /// Ends it, once the server has ended: with a last round if that was in order.
    pub(crate) fn end(self, in_order: bool) {
        let _ = self.over.send(in_order);
        let _ = self.thread.join();
    }
}

/// Refuses an address that no store can have.
fn check(store: &str) -> Result<(), String> {
    match Store::open(store) {
        Err(trouble) if trouble.usage => Err(format!("--archive {store}: {trouble}")),
        _ => Ok(()),
    }
}

struct Keeper {
    config: ArchiveConfig,
    board: Arc<Board>,
    chapter: Option<Chapter>,
    /// The failure that was told last.
    told: Option<String>,
}

/// A snapshot, and the log from there on.
struct Chapter {
    catalog: Catalog,
    snapshot: Option<u64>,
    /// Files that will not change any more and are stored.
    known: BTreeSet<String>,
}

impl Keeper {
    fn run(mut self, ended: &Receiver<bool>) {
        while !self.board.loading.is_over() {
            if !matches!(ended.recv_timeout(LOOK), Err(RecvTimeoutError::Timeout)) {
                return;
            }
        }
        loop {
            self.round();
            match ended.recv_timeout(self.config.every) {
                Err(RecvTimeoutError::Timeout) => {}
                Ok(true) => return self.round(),
                _ => return,
            }
        }
    }

    /// One round, and what is said of it.
    fn round(&mut self) {
        let done = self.carry();
        let archive = &self.board.archive;
        match &done {
            Ok(_) if self.told.take().is_some() => tracing::info!("the archive {} is up to date again", self.config.store),
            Err(trouble) if self.told.as_ref() != Some(&trouble.to_string()) => {
                tracing::warn!("not archived, the log is kept and it is tried again: {trouble}");
                self.told = Some(trouble.to_string());
            }
            _ => {}
        }
        archive.note_round(done.map_err(|trouble| trouble.to_string()));
        if let Err(trouble) = self.bound() {
            tracing::warn!("what waits for the archive cannot be looked at: {trouble}");
        }
    }

    /// Brings the archive up to date. How far it reaches.
    fn carry(&mut self) -> Result<u64, Trouble> {
        let store = Store::make(&self.config.store)?;
        let lock = store.lock()?;
        // Whoever took a backup meanwhile may share what this chapter would replace; whoever pruned may have ended it.
        if let Some(chapter) = &self.chapter
            && newest(&store, &chapter.catalog.node)?.as_deref() != Some(&chapter.catalog.object())
        {
            self.chapter = None;
        }
        if let Some(mut chapter) = self.chapter.take() {
            let gathered = Gathered::of(&self.config.dir, &chapter.scope())?;
            let is_over = gathered.snapshot != chapter.snapshot;
            chapter.go_on(&store, &lock, &gathered)?;
            self.let_go(&chapter)?;
            if !is_over {
                let clock_ms = chapter.catalog.clock_ms;
                self.chapter = Some(chapter);
                return Ok(clock_ms);
            }
        }
        let chapter = Chapter::begin(&self.config, &store, &lock)?;
        self.let_go(&chapter)?;
        let clock_ms = chapter.catalog.clock_ms;
        self.chapter = Some(chapter);
        Ok(clock_ms)
    }

    /// Deletes files that the server left for the archive and the archive has.
    fn let_go(&self, chapter: &Chapter) -> Result<(), Trouble> {
        for (name, path) in self.waiting()? {
            if chapter.known.contains(&name) {
                fs::remove_file(&path).map_err(Trouble::step(format!("cannot delete {}", path.display())))?;
            }
        }
        Ok(())
    }

    /// What waits: the names the files had, and where they are.
    fn waiting(&self) -> Result<Vec<(String, PathBuf)>, Trouble> {
        let log = Directory::new(&self.config.dir).log();
        let all = names(&log)?.into_iter();
        Ok(all.filter_map(|name| Some((format!("log/{}", name.strip_suffix(KEPT)?), log.join(&name)))).collect())
    }

    /// Counts what waits. If it is too much, all of it goes, and the archive begins anew with the next snapshot that it finds.
    fn bound(&mut self) -> Result<(), Trouble> {
        let waiting = self.waiting()?;
        let bytes = waiting.iter().filter_map(|(_, path)| fs::metadata(path).ok()).map(|data| data.len()).sum::<u64>();
        let archive: &Archive = &self.board.archive;
        if bytes <= self.config.kept_bytes_max {
            archive.note_kept(bytes);
            return Ok(());
        }
        for (_, path) in &waiting {
            fs::remove_file(path).map_err(Trouble::step(format!("cannot delete {}", path.display())))?;
        }
        tracing::error!(
            "{bytes} bytes of log waited for the archive, more than --archive-kept-bytes allows: they are deleted, and the archive has a gap \
             up to the newest snapshot"
        );
        self.chapter = None;
        archive.note_gap();
        archive.note_kept(0);
        Ok(())
    }
}

/// The newest catalog of a node, by its object's name.
fn newest(store: &Store, node: &str) -> Result<Option<String>, Trouble> {
    Ok(catalog_names(store)?.into_iter().rfind(|name| name.split('/').next() == Some(node)))
}

impl Chapter {
    /// Stores everything there is, but for what other backups hold.
    fn begin(config: &ArchiveConfig, store: &Store, lock: &Lock) -> Result<Chapter, Trouble> {
        let known = catalogs(store)?;
        lock.confirm()?;
        remove(store, &unneeded(store, &known)?)?;
        let gathered = Gathered::of(&config.dir, &Scope { kept: true, ..Scope::default() })?;
        let node = node_text(gathered.node);
        let newest = known.iter().filter(|catalog| catalog.node == node).map(|catalog| catalog.created_ms).max();
        let created_ms = now_ms().max(newest.map_or(0, |newest| newest + 1));
        let held = held(&known, &node);
        let mut catalog = Catalog::new(gathered.node, created_ms, gathered.clock_ms, held.is_empty());
        for file in &gathered.files {
            let crc32c = checksum(&file.path, file.bytes)?;
            let kept = match held.get(&(file.name.as_str(), file.bytes, crc32c)) {
                Some(kept) => (*kept).clone(),
                None => store_file(store, &catalog, file, crc32c)?,
            };
            catalog.files.push(kept);
        }
        lock.confirm()?;
        catalog.commit(store)?;
        let known = finished(&catalog.files);
        Ok(Chapter { catalog, snapshot: gathered.snapshot, known })
    }

    fn scope(&self) -> Scope {
        Scope { kept: true, known: self.known.clone(), snapshot: self.snapshot }
    }

    /// Stores what has come, and deletes what that replaces.
    fn go_on(&mut self, store: &Store, lock: &Lock, gathered: &Gathered) -> Result<(), Trouble> {
        let mut catalog = self.catalog.clone();
        let mut replaced = Vec::new();
        // A snapshot that has come begins the next chapter.
        for file in gathered.files.iter().filter(|file| !file.name.starts_with("snap/")) {
            let before = catalog.files.iter().position(|kept| kept.name == file.name);
            if before.is_some_and(|index| catalog.files[index].bytes == file.bytes) {
                continue;
            }
            let kept = store_file(store, &catalog, file, checksum(&file.path, file.bytes)?)?;
            match before {
                Some(index) => replaced.push(std::mem::replace(&mut catalog.files[index], kept)),
                None => catalog.files.push(kept),
            }
        }
        catalog.clock_ms = catalog.clock_ms.max(gathered.clock_ms);
        lock.confirm()?;
        catalog.commit(store)?;
        // What another backup made is for `unneeded` to judge.
        for kept in replaced.iter().filter(|kept| kept.object.starts_with(&catalog.id)) {
            store.delete(&catalog.place(kept))?;
        }
        self.known = finished(&catalog.files);
        self.catalog = catalog;
        Ok(())
    }
}

/// Stores a file under a name that no other length of it has: what a catalog names is never written again.
fn store_file(store: &Store, catalog: &Catalog, file: &Source, crc32c: u32) -> Result<Kept, Trouble> {
    let object = format!("{}/{}-{}.zst", catalog.id, file.name, file.bytes);
    put_as(store, catalog, file, crc32c, object, &mut Bar::hidden())
}

/// Files that are what they will be: all but of each stream's segments the last one with something in it, and those behind it.
fn finished(files: &[Kept]) -> BTreeSet<String> {
    let mut open: BTreeMap<StreamId, u64> = BTreeMap::new();
    for file in files {
        if let Some(What::Segment(stream, seq)) = file.what() {
            let last = open.entry(stream).or_insert(0);
            if file.bytes > SEGMENT_HEADER_BYTES as u64 {
                *last = seq.max(*last);
            }
        }
    }
    let newest = open.keys().map(|stream| stream.generation).max();
    let is_open = |file: &&Kept| match file.what() {
        Some(What::Segment(stream, seq)) => Some(stream.generation) == newest && seq >= open[&stream],
        _ => false,
    };
    files.iter().filter(|file| !is_open(file)).map(|file| file.name.clone()).collect()
}

#[cfg(test)]
mod tests {
    use super::super::restore::tests::{A, B, Case};
    use super::super::tests::{write_segment, write_snapshot};
    use super::*;
    use engine::directory::kept;
    use engine::placement::Placement;
    use netio::{MonotonicNs, WallMs};
    use shards::log::{Lsn, segment_name};
    use std::path::Path;

    fn keeper(dir: &Path, store: &str, kept_bytes_max: u64) -> Keeper {
        let board = Arc::new(Board::new(Placement::new(2), WallMs(0), MonotonicNs(0), || 1));
        board.archive.begin();
        let config = ArchiveConfig { dir: dir.to_owned(), store: store.to_owned(), every: Duration::from_secs(1), kept_bytes_max };
        Keeper { config, board, chapter: None, told: None }
    }

    /// What the server does with a file that it does not need any more.
    fn leave(case: &Case, stream: StreamId, seq: u64) -> PathBuf {
        let path = case.data().join("log").join(segment_name(stream, seq));
        fs::rename(&path, kept(&path)).unwrap();
        kept(&path)
    }

    fn objects(store: &str) -> Vec<String> {
        Store::open(store).unwrap().objects().unwrap().into_iter().map(|object| object.name).collect()
    }

    #[test]
    fn every_moment_is_there_though_the_log_was_compacted_between_two_rounds() {
        let mut case = Case::new("archive");
        let (data, store) = (case.data(), case.store());
        let mut keeper = keeper(&data, &store, 1 << 30);
        write_segment(&data, B, 0, 1, &[(10, false, None), (20, false, None)], &[]);
        write_segment(&data, A, 0, 1, &[(10, false, None)], &[]);
        keeper.carry().unwrap();
        let first = objects(&store);
        // It grows, in the same chapter: what was stored of it goes.
        write_segment(&data, A, 0, 1, &[(10, false, None), (20, false, None)], &[]);
        write_segment(&data, A, 1, 3, &[(30, false, None)], &[]);
        keeper.carry().unwrap();
        let second = objects(&store);
        let of_first_file = |names: &[String]| names.iter().filter(|name| name.contains(&segment_name(A, 0))).cloned().collect::<Vec<_>>();
        assert_eq!((of_first_file(&first).len(), of_first_file(&second).len()), (1, 1));
        assert_ne!(of_first_file(&first), of_first_file(&second));
        assert_eq!(second.iter().filter(|name| name.ends_with("catalog.json")).count(), 1);
        // Entries come, a snapshot makes them needless, and the server lets go of both files before the next round.
        write_segment(&data, A, 1, 3, &[(30, false, None), (40, false, None)], &[]);
        write_segment(&data, A, 2, 5, &[(50, false, None)], &[]);
        let left = [leave(&case, A, 0), leave(&case, A, 1)];
        write_snapshot(&data, 4, (5, 3), 45);
        keeper.carry().unwrap();
        assert!(left.iter().all(|path| !path.exists()), "what is archived goes");
        assert_eq!(objects(&store).iter().filter(|name| name.ends_with("catalog.json")).count(), 2, "a chapter for the snapshot");
        let mut ends = |time| case.restore(Some(time), None).unwrap().plan.end(A).unwrap();
        assert_eq!([10, 20, 30, 40, 50].map(&mut ends), [2, 3, 4, 5, 6].map(Lsn));
    }

    #[test]
    fn a_store_that_is_away_costs_no_more_room_than_was_allowed() {
        let case = Case::new("away");
        let (data, away) = (case.data(), case.folder.path().join("file"));
        fs::write(&away, b"no directory").unwrap();
        write_segment(&data, A, 0, 1, &[(10, false, None)], &[]);
        write_segment(&data, A, 1, 2, &[(20, false, None)], &[]);
        let left = leave(&case, A, 0);
        let mut keeper = keeper(&data, away.to_str().unwrap(), 1 << 30);
        keeper.round();
        let stats = |keeper: &Keeper| keeper.board.archive.stats().unwrap();
        let bytes = fs::metadata(&left).unwrap().len();
        assert_eq!((stats(&keeper).failures, stats(&keeper).kept_bytes, stats(&keeper).gaps), (1, bytes, 0));
        keeper.config.kept_bytes_max = bytes - 1;
        keeper.round();
        assert_eq!((stats(&keeper).kept_bytes, stats(&keeper).gaps, left.exists()), (0, 1, false));
        assert!(stats(&keeper).failure.unwrap().contains("cannot make the store"));
        // It is there again: from the newest snapshot on, everything is.
        write_snapshot(&data, 4, (2, 2), 15);
        fs::remove_file(&away).unwrap();
        keeper.round();
        assert_eq!((stats(&keeper).rounds, stats(&keeper).failure), (1, None));
    }

    #[test]
    fn a_chapter_that_another_backup_followed_or_somebody_pruned_is_begun_anew() {
        let case = Case::new("anew");
        let mut keeper = keeper(&case.data(), &case.store(), 1 << 30);
        write_segment(&case.data(), A, 0, 1, &[(10, false, None)], &[]);
        keeper.carry().unwrap();
        super::super::backup::create(&case.data(), &case.store(), false).unwrap();
        write_segment(&case.data(), A, 0, 1, &[(10, false, None), (20, false, None)], &[]);
        keeper.carry().unwrap();
        let catalogs = |case: &Case| objects(&case.store()).into_iter().filter(|name| name.ends_with("catalog.json")).collect::<Vec<_>>();
        assert_eq!(catalogs(&case).len(), 3);
        super::super::backup::verify(&case.store(), None).unwrap();
        for name in catalogs(&case) {
            Store::open(&case.store()).unwrap().delete(&name).unwrap();
        }
        write_segment(&case.data(), A, 0, 1, &[(10, false, None), (20, false, None), (30, false, None)], &[]);
        keeper.carry().unwrap();
        assert_eq!(catalogs(&case).len(), 1);
        super::super::backup::verify(&case.store(), None).unwrap();
    }
}

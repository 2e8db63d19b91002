//! Core 0's part: makes files of all cores into a snapshot, keeps as many as wanted, deletes what no kept one needs.

use super::meeting::{Kept, Together};
use crate::board::Board;
use crate::directory::Directory;
use crate::load::delete_snapshot;
use crate::placement::Placement;
use crate::task::Desk;
use netio::FileFailure;
use shards::log::{Generation, MANIFEST_NAME, Manifest, NodeId, opening_generation, segment_of, snapshot_id};
use std::sync::Arc;

/// Who makes which snapshot, and for whom.
pub(super) struct Keeper {
    pub(super) desk: Desk,
    pub(super) board: Arc<Board>,
    pub(super) directory: Directory,
    pub(super) placement: Placement,
    pub(super) node: NodeId,
    pub(super) generation: Generation,
    pub(super) id: u64,
    pub(super) created_ms: u64,
    pub(super) keep: usize,
}

impl Keeper {
    /// Makes the snapshot and deletes what it replaces; says on the board what has become of it.
    pub(super) async fn make(self) {
        let announced = match self.begin().await {
            Ok(()) => {
                self.board.snapshots.announce();
                true
            }
            Err(failure) => {
                self.end(Some(failure.to_string()), false);
                return;
            }
        };
        let written = self.desk.until(|| self.board.snapshots.take_written(self.placement)).await;
        let committed = match written {
            Ok(together) => self.commit(together).await.map_err(|failure| failure.to_string()),
            Err(why) => Err(why),
        };
        let failure = match committed {
            Ok(manifest) => {
                let floor = self.board.snapshots.commit(&manifest, self.keep);
                if let Err(failure) = self.compact(&floor).await {
                    // What is left keeps room that it does not need. The next snapshot tries again.
                    tracing::warn!("what snapshot {} replaces could not be deleted: {failure}", self.id);
                }
                self.desk.until(|| self.board.snapshots.all_compacted(self.placement).then_some(())).await;
                self.sync_log().await;
                None
            }
            Err(why) => {
                self.undo().await;
                Some(why)
            }
        };
        self.end(failure, announced);
    }

    fn end(&self, failure: Option<String>, announced: bool) {
        if let Some(why) = &failure {
            tracing::warn!("snapshot {} was not made: {why}", self.id);
        }
        self.board.snapshots.end(failure, announced, self.desk.now_ms());
    }

    async fn begin(&self) -> Result<(), FileFailure> {
        self.desk.make_directory(&self.directory.snapshot(self.id)).await?;
        self.desk.sync_directory(&self.directory.snapshots()).await
    }

    /// What makes a snapshot one: every core's file is durable and was read back, and all it shows is durable in every log.
    async fn commit(&self, together: Together) -> Result<Manifest, FileFailure> {
        let Together { mut files, mut log_start } = together;
        files.sort_by_key(|file| file.core);
        log_start.sort_unstable();
        let mut sections: Vec<_> = files.iter().flat_map(|file| file.sections.iter().cloned()).collect();
        sections.sort_by_key(|section| section.partition);
        let manifest = Manifest {
            id: self.id,
            node: self.node,
            created_ms: self.created_ms,
            clock_ms: files.iter().map(|file| file.clock_ms).max().unwrap_or(0),
            files: files.iter().map(|file| (file.core, file.bytes)).collect(),
            sections,
            log_start,
        };
        self.desk.write_file(&self.directory.manifest(self.id), &manifest.to_bytes()).await?;
        self.desk.sync_directory(&self.directory.snapshots()).await?;
        Ok(manifest)
    }

    /// Deletes snapshots older than the oldest kept one, and what generations before that one's have left.
    async fn compact(&self, floor: &Kept) -> Result<(), FileFailure> {
        let listed = self.desk.list(&self.directory.snapshots()).await?;
        for old in listed.iter().filter_map(|entry| snapshot_id(&entry.name)).filter(|id| *id < floor.id) {
            let folder = self.directory.snapshot(old);
            if self.desk.list(&folder).await?.iter().any(|file| file.name == MANIFEST_NAME) {
                self.desk.unlink(&self.directory.manifest(old)).await?;
                // Without its manifest it is none: so no crash leaves one that lacks a file.
                self.desk.sync_directory(&folder).await?;
            }
            delete_snapshot(&self.desk, &self.directory, old).await?;
        }
        let oldest = floor.generation;
        for file in self.desk.list(&self.directory.log()).await? {
            let is_over = match (segment_of(&file.name), opening_generation(&file.name)) {
                (Some((stream, _)), _) => stream.generation < oldest,
                // The newest says how the running generation began; others only what was decided of those before them.
                (_, Some(generation)) => generation <= oldest && generation != self.generation,
                _ => false,
            };
            if is_over {
                self.desk.let_go(&self.directory.log().join(&file.name), self.board.archive.is_on()).await?;
            }
        }
        Ok(())
    }

    async fn sync_log(&self) {
        if let Err(failure) = self.desk.sync_directory(&self.directory.log()).await {
            tracing::warn!("deleting old files of the log may have to be done again: {failure}");
        }
    }

    /// Deletes what has come of a snapshot that was not made. What cannot be deleted now is at the next start.
    async fn undo(&self) {
        if let Err(failure) = delete_snapshot(&self.desk, &self.directory, self.id).await {
            tracing::warn!("what was written of snapshot {} could not be deleted: {failure}", self.id);
        }
    }
}

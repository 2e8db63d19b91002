//! What is in the directory: whose it is, which snapshots and streams there are, and which of them have to be read.

use super::chunks::{read_front, read_whole};
use super::needed::{History, Missing, Needed};
use super::refusal::{Loss, Refusal};
use crate::directory::{Directory, UNFINISHED};
use crate::task::Desk;
use netio::file::Listed;
use netio::{FileFailure, FileRequest};
use shards::key::PARTITION_COUNT;
use shards::log::{
    Generation, Lsn, MANIFEST_NAME, Manifest, NodeId, Opening, SEGMENT_HEADER_BYTES, SegmentHeader, SegmentKind, StreamId,
    opening_generation, segment_of, snapshot_file_core, snapshot_id,
};
use std::io;
use std::path::Path;

/// What core 0 found.
pub(crate) struct Home {
    /// Whose directory it is.
    pub(crate) node: NodeId,
    /// The generation that begins with this start.
    pub(crate) generation: Generation,
    /// Snapshots whose manifests hold and whose files are there, newest first.
    pub(crate) snapshots: Vec<Manifest>,
    /// The number after the largest of any snapshot, usable or not.
    pub(crate) snapshot_next: u64,
    /// A snapshot that cannot be used, and why.
    unusable: Option<Refusal>,
    /// Snapshots without a manifest: never finished, or robbed of it. Deleted when nothing turned out to need them.
    pub(crate) unfinished: Vec<u64>,
    /// What the names and openings tell.
    pub(crate) history: History,
}

impl Home {
    /// Locks and reads the directory, makes what is missing, deletes what was never finished. `chance` becomes its name if it has none.
    pub(crate) async fn find(desk: &Desk, directory: &Directory, chance: [u8; 16], now_ms: u64) -> Result<Home, Refusal> {
        desk.make_directory(directory.root()).await?;
        sync_parent(desk, directory).await?;
        desk.ask(FileRequest::Lock { path: directory.lock() }).await.map_err(|failure| Refusal::locking(directory.root(), failure))?;
        for path in [directory.log(), directory.snapshots()] {
            desk.make_directory(&path).await?;
        }
        let log = list_finished(desk, &directory.log()).await?;
        let snapshots = list_finished(desk, &directory.snapshots()).await?;
        // What a process that was killed left in the page cache must not go once something was built on it.
        for path in [directory.root().to_owned(), directory.log(), directory.snapshots()] {
            desk.sync_directory(&path).await?;
        }
        let is_new = log.is_empty() && snapshots.is_empty();
        let node = find_node(desk, directory, chance, now_ms, is_new).await?;
        let mut home = Home {
            node,
            generation: Generation(1),
            snapshots: Vec::new(),
            snapshot_next: 1,
            unusable: None,
            unfinished: Vec::new(),
            history: History::default(),
        };
        for Listed { name, .. } in log {
            if let Some((stream, seq)) = segment_of(&name) {
                home.history.streams.entry(stream).or_default().push(seq);
            } else if let Some(generation) = opening_generation(&name) {
                let opening = read_opening(desk, directory, node, generation).await?;
                home.history.openings.insert(generation, opening);
            }
        }
        home.history.streams.values_mut().for_each(|segments| segments.sort_unstable());
        home.find_snapshots(desk, directory, snapshots).await?;
        home.generation = home.history.generation_next(&home.snapshots);
        Ok(home)
    }

    async fn find_snapshots(&mut self, desk: &Desk, directory: &Directory, listed: Vec<Listed>) -> Result<(), Refusal> {
        let mut ids: Vec<u64> = listed.iter().filter(|entry| entry.is_directory).filter_map(|entry| snapshot_id(&entry.name)).collect();
        ids.sort_unstable();
        for id in ids.into_iter().rev() {
            self.snapshot_next = self.snapshot_next.max(id + 1);
            let files = desk.list(&directory.snapshot(id)).await?;
            if !files.iter().any(|file| file.name == MANIFEST_NAME) {
                self.unfinished.push(id);
                continue;
            }
            match read_manifest(desk, directory, self.node, id, &files).await {
                Ok(manifest) => self.snapshots.push(manifest),
                Err(refusal @ Refusal::Damaged(_)) => {
                    tracing::warn!("snapshot {id} cannot be used: {refusal}");
                    self.unusable.get_or_insert(refusal);
                }
                Err(other) => return Err(other),
            }
        }
        Ok(())
    }

    /// The streams that have to be read with the snapshot `base`, in the order in which they are applied. `spoiled` says why a
    /// newer snapshot is not used, if one is not.
    pub(crate) fn needed(&self, directory: &Directory, base: Option<&Manifest>, spoiled: Option<Refusal>) -> Result<Vec<Needed>, Refusal> {
        // Where a snapshot cannot be used, what it stood for is missed; whoever is told of a missing file would look in vain.
        let robbed = |id: &u64| {
            let why = "the file is missing, and log that the snapshot may have stood for is needed";
            Refusal::damaged(directory.root(), directory.manifest(*id), 0, why)
        };
        let cause = spoiled.or_else(|| self.unusable.clone()).or_else(|| self.unfinished.first().map(robbed));
        let missing = |needed: Result<Needed, Missing>| match needed {
            Ok(Needed { id, missing: Some(seq), from, decided, .. }) => {
                Err(refuse_missing(directory, Missing::Segment { id, seq, all: false, from, decided }))
            }
            Ok(needed) => Ok(needed),
            Err(missing) => Err(refuse_missing(directory, missing)),
        };
        let needed = self.history.needed(base, self.generation).into_iter().map(missing);
        needed.collect::<Result<_, _>>().map_err(|found| cause.unwrap_or(found))
    }

    /// Shares of commands that earlier generations have decided to leave out.
    pub(crate) fn dropped(&self) -> impl Iterator<Item = (StreamId, u16, u64)> {
        self.history.openings.values().flat_map(|opening| &opening.plan.dropped).copied()
    }

    /// Ends that earlier generations have decided, of streams that still have files.
    pub(crate) fn ends(&self) -> impl Iterator<Item = (StreamId, Lsn)> {
        self.history.streams.keys().filter_map(|id| Some((*id, self.history.decided(*id)?)))
    }

    /// The latest clock that any opening tells of.
    pub(crate) fn clock_ms(&self) -> u64 {
        self.history.openings.values().map(|opening| opening.clock_ms).max().unwrap_or(0)
    }
}

/// Why a directory without a file that it had is not served.
pub(super) fn refuse_missing(directory: &Directory, missing: Missing) -> Refusal {
    let (id, seq, from, decided) = match missing {
        Missing::Opening(generation) => {
            let why = format!("the file is missing, and generation {} cannot be understood without it", generation.0);
            return Refusal::damaged(directory.root(), directory.opening(generation), 0, why);
        }
        Missing::Segment { id, seq, from, decided, .. } => (id, seq, from, decided),
    };
    let file = directory.segment(id, seq);
    match decided.filter(|end| *end > from) {
        Some(end) => Refusal::lost(directory.root(), file, 0, "the file is missing", Loss { stream: id, from, known: Lsn(end.0 - 1) }),
        None => Refusal::damaged(directory.root(), file, 0, "the file is missing"),
    }
}

/// Makes the directory's own name durable.
async fn sync_parent(desk: &Desk, directory: &Directory) -> Result<(), Refusal> {
    match desk.sync_directory(directory.parent()).await {
        // Whoever may not read the parent has not made the directory either.
        Err(failure) if failure.cause.kind() == io::ErrorKind::PermissionDenied => Ok(()),
        other => Ok(other?),
    }
}

/// What a directory holds, after deleting what was never finished.
async fn list_finished(desk: &Desk, path: &Path) -> Result<Vec<Listed>, Refusal> {
    let (unfinished, finished): (Vec<Listed>, Vec<Listed>) =
        desk.list(path).await?.into_iter().partition(|entry| !entry.is_directory && entry.name.ends_with(UNFINISHED));
    for entry in unfinished {
        desk.unlink(&path.join(entry.name)).await?;
    }
    Ok(finished)
}

/// Deletes a snapshot that is none, or is to be none: its manifest is gone. What is not ours stays, and its directory with it.
pub(crate) async fn delete_snapshot(desk: &Desk, directory: &Directory, id: u64) -> Result<(), FileFailure> {
    let folder = directory.snapshot(id);
    let files = desk.list(&folder).await?;
    let is_ours = |name: &str| name.ends_with(UNFINISHED) || snapshot_file_core(name).is_some();
    for file in files.iter().filter(|file| is_ours(&file.name)) {
        desk.unlink(&folder.join(&file.name)).await?;
    }
    if files.iter().all(|file| is_ours(&file.name)) {
        desk.unlink(&folder).await?;
    }
    Ok(())
}

async fn find_node(desk: &Desk, directory: &Directory, chance: [u8; 16], now_ms: u64, is_new: bool) -> Result<NodeId, Refusal> {
    let there = list_finished(desk, directory.root()).await?;
    if there.iter().any(|entry| entry.name == "node") {
        return read_node(desk, directory).await;
    }
    if !is_new {
        return Err(Refusal::damaged(directory.root(), directory.node(), 0, "the file is missing, though there are others"));
    }
    let header = SegmentHeader {
        kind: SegmentKind::Node,
        node: NodeId(chance),
        stream: StreamId { generation: Generation(0), core: 0 },
        core_count: 0,
        partitions: 0..0,
        seq: 0,
        created_ms: now_ms,
        align_bytes: SEGMENT_HEADER_BYTES as u32,
        key_number: 0,
        nonce_prefix: 0,
        room_bytes: 0,
    };
    desk.write_file(&directory.node(), &header.to_bytes()).await?;
    Ok(NodeId(chance))
}

async fn read_node(desk: &Desk, directory: &Directory) -> Result<NodeId, Refusal> {
    let path = directory.node();
    let bytes = read_front(desk, &path, SEGMENT_HEADER_BYTES).await?;
    match SegmentHeader::read(&bytes) {
        Ok((header, _)) if header.kind == SegmentKind::Node => Ok(header.node),
        Ok(_) => Err(Refusal::damaged(directory.root(), path, 10, "it is another kind of file")),
        Err(error) => Err(Refusal::damaged(directory.root(), path, error.place, error.why)),
    }
}

async fn read_opening(desk: &Desk, directory: &Directory, node: NodeId, generation: Generation) -> Result<Opening, Refusal> {
    let path = directory.opening(generation);
    let bytes = read_whole(desk, &path).await?;
    match Opening::read(&bytes) {
        Ok(opening) if opening.node != node => Err(Refusal::damaged(directory.root(), path, 24, "it belongs to another directory")),
        Ok(opening) if opening.generation != generation => {
            Err(Refusal::damaged(directory.root(), path, 56, "it is that of another generation"))
        }
        Ok(opening) => Ok(opening),
        Err(error) => Err(Refusal::damaged(directory.root(), path, error.place, error.why)),
    }
}

/// A manifest that holds, of a snapshot whose files are as long as it says.
async fn read_manifest(desk: &Desk, directory: &Directory, node: NodeId, id: u64, files: &[Listed]) -> Result<Manifest, Refusal> {
    let path = directory.manifest(id);
    let bytes = read_whole(desk, &path).await?;
    let manifest = match Manifest::read(&bytes) {
        Ok(manifest) if manifest.node != node => {
            return Err(Refusal::damaged(directory.root(), path, 24, "it belongs to another directory"));
        }
        Ok(manifest) if manifest.id != id => return Err(Refusal::damaged(directory.root(), path, 40, "it is that of another snapshot")),
        Ok(manifest) => manifest,
        Err(error) => return Err(Refusal::damaged(directory.root(), path, error.place, error.why)),
    };
    for (core, bytes) in &manifest.files {
        let file = directory.snapshot_file(id, *core);
        let found = files.iter().find(|listed| snapshot_file_core(&listed.name) == Some(*core)).map(|listed| listed.bytes);
        match found {
            Some(length) if length == *bytes => {}
            Some(length) => {
                let why = format!("it has {length} bytes instead of {bytes}");
                return Err(Refusal::damaged(directory.root(), file, length.min(*bytes), why));
            }
            None => return Err(Refusal::damaged(directory.root(), file, 0, "the file is missing")),
        }
    }
    let mut partitions: Vec<u16> = manifest.sections.iter().map(|section| section.partition).collect();
    partitions.sort_unstable();
    if !partitions.into_iter().eq(0..PARTITION_COUNT) {
        return Err(Refusal::damaged(directory.root(), path, 0, "it does not name every partition once"));
    }
    Ok(manifest)
}

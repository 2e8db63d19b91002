//! What is in the directory: whose it is, which snapshots and streams there are, and which of them have to be read.

use super::chunks::{read_front, read_whole};
use super::refusal::{Loss, Refusal};
use crate::directory::{Directory, UNFINISHED, unfinished};
use crate::task::Desk;
use netio::file::Listed;
use netio::{Aligned, FileDone, FileRequest};
use shards::log::{
    Generation, Lsn, NodeId, Opening, SEGMENT_HEADER_BYTES, SegmentHeader, SegmentKind, StreamId, opening_generation, segment_of,
};
use std::collections::BTreeMap;
use std::io;
use std::path::Path;

/// What core 0 found.
pub(crate) struct Home {
    /// Whose directory it is.
    pub(crate) node: NodeId,
    /// The generation that begins with this start.
    pub(crate) generation: Generation,
    /// By generation.
    openings: BTreeMap<Generation, Opening>,
    /// Every stream's segments: numbers ascending, and lengths.
    streams: BTreeMap<StreamId, Vec<Segment>>,
}

/// A segment as the directory shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Segment {
    pub(crate) seq: u64,
    pub(crate) bytes: u64,
}

/// A stream that has to be read, and what is known of it before.
#[derive(Clone, Debug)]
pub(crate) struct Needed {
    pub(crate) id: StreamId,
    pub(crate) segments: Vec<Segment>,
    /// The first entry that has to be there.
    pub(crate) from: Lsn,
    /// The first entry that may have to be applied.
    pub(crate) replay_from: Lsn,
    /// The last entry that a snapshot was built upon.
    pub(crate) durable: Lsn,
    /// The first entry that is not there, where a later generation has decided it.
    pub(crate) decided: Option<Lsn>,
}

impl Home {
    /// Locks and reads the directory, makes what is missing, deletes what was never finished. `chance` becomes its name if it has none.
    pub(crate) async fn find(desk: &Desk, directory: &Directory, chance: [u8; 16], now_ms: u64) -> Result<Home, Refusal> {
        let machine = |failure| Refusal::machine(&failure);
        make_directory(desk, directory.root()).await?;
        sync_parent(desk, directory).await?;
        desk.ask(FileRequest::Lock { path: directory.lock() }).await.map_err(|failure| Refusal::locking(directory.root(), &failure))?;
        for path in [directory.log(), directory.snapshots()] {
            make_directory(desk, &path).await?;
        }
        let log = list_finished(desk, &directory.log()).await?;
        let snapshots = list_finished(desk, &directory.snapshots()).await?;
        // What a process that was killed left in the page cache must not go once something was built on it.
        for path in [directory.root().to_owned(), directory.log(), directory.snapshots()] {
            desk.ask(FileRequest::SyncDirectory { path }).await.map_err(machine)?;
        }
        let is_new = log.is_empty() && snapshots.is_empty();
        let node = find_node(desk, directory, chance, now_ms, is_new).await?;
        let mut home = Home { node, generation: Generation(1), openings: BTreeMap::new(), streams: BTreeMap::new() };
        for Listed { name, bytes, .. } in log {
            if let Some((stream, seq)) = segment_of(&name) {
                home.streams.entry(stream).or_default().push(Segment { seq, bytes });
            } else if let Some(generation) = opening_generation(&name) {
                let opening = read_opening(desk, directory, node, generation).await?;
                home.openings.insert(generation, opening);
            }
        }
        home.streams.values_mut().for_each(|segments| segments.sort_by_key(|segment| segment.seq));
        let generations = home.openings.keys().copied().chain(home.streams.keys().map(|stream| stream.generation));
        home.generation = Generation(generations.map(|generation| generation.0).max().unwrap_or(0) + 1);
        Ok(home)
    }

    /// The streams that have to be read, in the order in which they are applied.
    pub(crate) fn needed(&self, directory: &Directory) -> Result<Vec<Needed>, Refusal> {
        for generation in (1..self.generation.0).map(Generation) {
            if !self.openings.contains_key(&generation) {
                let missing = || {
                    let why = format!("the file is missing, and generation {} cannot be understood without it", generation.0);
                    Refusal::damaged(directory.root(), directory.opening(generation), 0, why)
                };
                return Err(missing());
            }
        }
        let mut wanted: BTreeMap<StreamId, Lsn> = self.streams.keys().map(|stream| (*stream, Lsn(1))).collect();
        wanted.extend(self.openings.values().flat_map(|opening| &opening.plan.ends).map(|(stream, _)| (*stream, Lsn(1))));
        let mut needed = Vec::new();
        for (id, from) in wanted {
            let decided = self.decided(id);
            let segments = self.streams.get(&id).cloned().unwrap_or_default();
            self.check_segments(directory, id, &segments, from, decided)?;
            if !segments.is_empty() {
                needed.push(Needed { id, segments, from, replay_from: from, durable: Lsn(from.0 - 1), decided });
            }
        }
        Ok(needed)
    }

    /// The first entry of a stream that is not there, if a later generation has decided it. A repair may have moved an end to
    /// before some damage, so the earliest counts.
    pub(crate) fn decided(&self, id: StreamId) -> Option<Lsn> {
        let later = self.openings.range(Generation(id.generation.0 + 1)..);
        later.flat_map(|(_, opening)| &opening.plan.ends).filter(|(stream, _)| *stream == id).map(|(_, end)| *end).min()
    }

    /// Shares of commands that earlier generations have decided to leave out.
    pub(crate) fn dropped(&self) -> impl Iterator<Item = (StreamId, u16, u64)> {
        self.openings.values().flat_map(|opening| &opening.plan.dropped).copied()
    }

    /// Ends that earlier generations have decided, of streams that still have files.
    pub(crate) fn ends(&self) -> impl Iterator<Item = (StreamId, Lsn)> {
        self.streams.keys().filter_map(|id| Some((*id, self.decided(*id)?)))
    }

    /// The latest clock that any opening tells of.
    pub(crate) fn clock_ms(&self) -> u64 {
        self.openings.values().map(|opening| opening.clock_ms).max().unwrap_or(0)
    }

    /// No segment may be missing between the first and the last, nor all of them if there were entries.
    fn check_segments(
        &self,
        directory: &Directory,
        id: StreamId,
        segments: &[Segment],
        from: Lsn,
        decided: Option<Lsn>,
    ) -> Result<(), Refusal> {
        let missing = |seq| {
            let file = directory.segment(id, seq);
            match decided.filter(|end| *end > from) {
                Some(end) => {
                    Refusal::lost(directory.root(), file, 0, "the file is missing", Loss { stream: id, from, known: Lsn(end.0 - 1) })
                }
                None => Refusal::damaged(directory.root(), file, 0, "the file is missing"),
            }
        };
        let Some(first) = segments.first() else {
            let had_entries = from > Lsn(1) || decided.is_some_and(|end| end > Lsn(1));
            return if had_entries { Err(missing(0)) } else { Ok(()) };
        };
        if from == Lsn(1) && first.seq != 0 {
            return Err(missing(0));
        }
        match segments.windows(2).find(|pair| pair[1].seq != pair[0].seq + 1) {
            Some(pair) => Err(missing(pair[0].seq + 1)),
            None => Ok(()),
        }
    }
}

async fn make_directory(desk: &Desk, path: &Path) -> Result<(), Refusal> {
    desk.ask(FileRequest::MakeDirectory { path: path.to_owned() }).await.map_err(|failure| Refusal::machine(&failure))?;
    Ok(())
}

/// Makes the directory's own name durable.
async fn sync_parent(desk: &Desk, directory: &Directory) -> Result<(), Refusal> {
    match desk.ask(FileRequest::SyncDirectory { path: directory.parent().to_owned() }).await {
        // Whoever may not read the parent has not made the directory either.
        Err(failure) if failure.cause.kind() == io::ErrorKind::PermissionDenied => Ok(()),
        other => other.map(|_| ()).map_err(|failure| Refusal::machine(&failure)),
    }
}

async fn list(desk: &Desk, path: &Path) -> Result<Vec<Listed>, Refusal> {
    match desk.ask(FileRequest::List { path: path.to_owned() }).await.map_err(|failure| Refusal::machine(&failure))? {
        FileDone::Listed(listed) => Ok(listed),
        other => unreachable!("listing was answered with {other:?}"),
    }
}

/// What a directory holds, after deleting what was never finished.
async fn list_finished(desk: &Desk, path: &Path) -> Result<Vec<Listed>, Refusal> {
    let (unfinished, finished): (Vec<Listed>, Vec<Listed>) =
        list(desk, path).await?.into_iter().partition(|entry| !entry.is_directory && entry.name.ends_with(UNFINISHED));
    for entry in unfinished {
        delete(desk, &path.join(entry.name)).await?;
    }
    Ok(finished)
}

async fn delete(desk: &Desk, path: &Path) -> Result<(), Refusal> {
    desk.ask(FileRequest::Unlink { path: path.to_owned() }).await.map_err(|failure| Refusal::machine(&failure))?;
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
    };
    write_file(desk, &directory.node(), &header.to_bytes()).await?;
    Ok(NodeId(chance))
}

async fn read_node(desk: &Desk, directory: &Directory) -> Result<NodeId, Refusal> {
    let path = directory.node();
    let bytes = read_front(desk, &path, SEGMENT_HEADER_BYTES).await.map_err(|failure| Refusal::machine(&failure))?;
    match SegmentHeader::read(&bytes) {
        Ok((header, _)) if header.kind == SegmentKind::Node => Ok(header.node),
        Ok(_) => Err(Refusal::damaged(directory.root(), path, 10, "it is another kind of file")),
        Err(error) => Err(Refusal::damaged(directory.root(), path, error.place, error.why)),
    }
}

async fn read_opening(desk: &Desk, directory: &Directory, node: NodeId, generation: Generation) -> Result<Opening, Refusal> {
    let path = directory.opening(generation);
    let bytes = read_whole(desk, &path).await.map_err(|failure| Refusal::machine(&failure))?;
    match Opening::read(&bytes) {
        Ok(opening) if opening.node != node => Err(Refusal::damaged(directory.root(), path, 24, "it belongs to another directory")),
        Ok(opening) if opening.generation != generation => {
            Err(Refusal::damaged(directory.root(), path, 56, "it is that of another generation"))
        }
        Ok(opening) => Ok(opening),
        Err(error) => Err(Refusal::damaged(directory.root(), path, error.place, error.why)),
    }
}

/// Makes a small file durable under its name, whole or not at all. The length is a multiple of 4096.
pub(crate) async fn write_file(desk: &Desk, path: &Path, bytes: &[u8]) -> Result<(), Refusal> {
    let machine = |failure| Refusal::machine(&failure);
    let begun = unfinished(path);
    let open = desk.create(&begun, 0).await.map_err(machine)?;
    let mut buffer = Aligned::with_capacity(bytes.len());
    buffer.extend_from_slice(bytes);
    buffer.pad_to(SEGMENT_HEADER_BYTES);
    desk.ask(FileRequest::Write { file: open.file, at: 0, buffer, sync: true }).await.map_err(machine)?;
    drop(open);
    desk.ask(FileRequest::Rename { from: begun, to: path.to_owned() }).await.map_err(machine)?;
    let parent = path.parent().expect("a file is in a directory").to_owned();
    desk.ask(FileRequest::SyncDirectory { path: parent }).await.map_err(machine)?;
    Ok(())
}

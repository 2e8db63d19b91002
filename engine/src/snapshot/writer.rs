//! One core's file of a snapshot: written partition by partition while commands go on, made durable, and read back.

use super::Snapshots;
use crate::board::Board;
use crate::directory::Directory;
use crate::executor::Executor;
use crate::keys::Keys;
use crate::load::Chunks;
use crate::seal::{Compression, Seal, Unopened, Unseal};
use crate::task::{Answer, Desk, Open};
use crate::turnstile::Walker;
use netio::{Aligned, FileDone, FileFailure, FileRequest};
use shards::PartitionId;
use shards::log::{
    Blocks, FrameFlags, FrameSpec, LogError, Lsn, NodeId, SEGMENT_HEADER_BYTES, Section, SegmentHeader, SegmentKind, StreamId, frame_bytes,
    frame_header,
};
use shards::snapshot::{SnapshotItem, Step, Tally};
use std::collections::VecDeque;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

/// What one turn may copy: about 50 microseconds.
const STEP_RECORDS: usize = 256;
const STEP_BYTES: usize = 64 * 1024;

/// Bytes of items after which a block is closed. A single record may be larger.
const BLOCK_BYTES_TARGET: usize = 256 * 1024;

/// Blocks that may be on their way to the disk. More would be memory that nobody waits for.
const BLOCKS_AHEAD: usize = 2;

/// Bytes read back in one turn.
const VERIFY_BYTES: usize = 128 * 1024;

/// Which file it is.
pub(super) struct Share {
    pub(super) desk: Desk,
    pub(super) board: Arc<Board>,
    pub(super) directory: Directory,
    pub(super) node: NodeId,
    /// The stream whose entries continue what the file says.
    pub(super) stream: StreamId,
    pub(super) core_count: u16,
    pub(super) partitions: Range<u16>,
    pub(super) id: u64,
    pub(super) created_ms: u64,
    /// How its blocks are stored.
    pub(super) keys: Keys,
    pub(super) compression: Compression,
    pub(super) nonce_prefix: u32,
}

/// A file that is durable and was read back.
#[derive(Clone, Debug)]
pub(crate) struct Written {
    pub(crate) core: u16,
    pub(crate) bytes: u64,
    pub(crate) sections: Vec<Section>,
    /// What the file shows was logged before this entry.
    pub(crate) end: Lsn,
    pub(crate) clock_ms: u64,
}

/// Why a file was not finished.
pub(super) enum Ended {
    /// Another core could not finish its own.
    Cancelled,
    Failed(String),
}

impl From<FileFailure> for Ended {
    fn from(failure: FileFailure) -> Ended {
        Ended::Failed(failure.to_string())
    }
}

/// Blocks on their way into a file.
struct Output {
    desk: Desk,
    open: Open,
    seed: u32,
    seal: Seal,
    compression: Compression,
    /// Where the next block goes, and its number.
    at: u64,
    number: u64,
    items: Vec<u8>,
    under_way: VecDeque<Answer>,
    spare: Vec<Aligned>,
}

impl Share {
    /// Writes the file and proves that it can be read.
    pub(super) async fn write(self) -> Result<Written, Ended> {
        let path = self.directory.snapshot_file(self.id, self.stream.core);
        let mut output = self.create(&path).await?;
        let mut sections = Vec::new();
        for partition in self.partitions.clone() {
            sections.push(self.write_section(partition, &mut output).await?);
        }
        SnapshotItem::End { sections: sections.len() as u16 }.encode(&mut output.items);
        let bytes = output.finish().await?;
        let end = self.desk.act(|executor| Lsn(executor.journal.last().0 + 1)).await;
        self.verify(&path, bytes).await?;
        let clock_ms = sections.iter().map(|section| section.clock_ms).max().unwrap_or(0);
        Ok(Written { core: self.stream.core, bytes, sections, end, clock_ms })
    }

    fn snapshots(&self) -> &Snapshots {
        &self.board.snapshots
    }

    async fn create(&self, path: &Path) -> Result<Output, FileFailure> {
        let open = self.desk.create(path, 0).await?;
        let header = SegmentHeader {
            kind: SegmentKind::Snapshot,
            node: self.node,
            stream: self.stream,
            core_count: self.core_count,
            partitions: self.partitions.clone(),
            seq: self.id,
            created_ms: self.created_ms,
            align_bytes: open.traits.align_bytes,
            key_number: self.keys.newest().unwrap_or(0),
            nonce_prefix: self.nonce_prefix,
            room_bytes: 0,
        };
        let mut buffer = Aligned::with_capacity(SEGMENT_HEADER_BYTES);
        buffer.extend_from_slice(&header.to_bytes());
        self.desk.ask(FileRequest::Write { file: open.file, at: 0, buffer, sync: false }).await?;
        Ok(Output {
            desk: self.desk.clone(),
            open,
            seed: header.seed(),
            seal: Seal::of(&header, &self.keys).expect("the newest key is among them"),
            compression: self.compression,
            at: SEGMENT_HEADER_BYTES as u64,
            number: 0,
            items: Vec::new(),
            under_way: VecDeque::new(),
            spare: Vec::new(),
        })
    }

    /// Writes one partition as of one moment, between two turns; begins again when all of it was emptied or exchanged meanwhile.
    async fn write_section(&self, partition: u16, output: &mut Output) -> Result<Section, Ended> {
        loop {
            let clock_ms = self.desk.now_ms();
            let generation = self.stream.generation;
            let begun = self
                .desk
                .act(move |executor| {
                    let may = executor.turnstile.enter(Walker::Snapshot);
                    may.then(|| {
                        executor.shard.snapshot_begin(PartitionId(partition), clock_ms);
                        Lsn(executor.journal.last().0 + 1)
                    })
                })
                .await;
            let Some(next) = begun else {
                // A replica is being given another partition.
                if self.snapshots().is_cancelled() {
                    self.desk.act(|executor| executor.turnstile.leave(Walker::Snapshot)).await;
                    return Err(Ended::Cancelled);
                }
                self.desk.turn().await;
                continue;
            };
            let (at, as_of) = (output.at, (generation, next));
            SnapshotItem::SectionStart { partition, as_of, clock_ms }.encode(&mut output.items);
            if let Some((count, digest)) = self.write_records(output).await? {
                SnapshotItem::SectionEnd { partition, count, digest }.encode(&mut output.items);
                return Ok(Section { partition, as_of, clock_ms, file: self.stream.core, at, count, digest });
            }
            SnapshotItem::Void { partition }.encode(&mut output.items);
            // Where a section begins is told by its block: two beginnings are in two.
            output.seal().await?;
        }
    }

    /// The records of the walk that was begun: how many, and their digest; `None` if it is void.
    async fn write_records(&self, output: &mut Output) -> Result<Option<(u64, u64)>, Ended> {
        loop {
            if self.snapshots().is_cancelled() {
                self.abort().await;
                return Err(Ended::Cancelled);
            }
            let mut items = std::mem::take(&mut output.items);
            let (items, step) = self
                .desk
                .act(move |executor| {
                    let step = executor.shard.snapshot_step(STEP_RECORDS, STEP_BYTES, &mut items);
                    (items, step)
                })
                .await;
            output.items = items;
            let sealed = if output.items.len() >= BLOCK_BYTES_TARGET { output.seal().await } else { Ok(()) };
            if let Err(failure) = sealed {
                self.abort().await;
                return Err(failure.into());
            }
            match step {
                Step::More => self.desk.turn().await,
                Step::Done { count, digest } => {
                    self.desk.act(|executor| executor.turnstile.leave(Walker::Snapshot)).await;
                    return Ok(Some((count, digest)));
                }
                Step::Restart => {
                    self.desk.act(|executor| executor.turnstile.leave(Walker::Snapshot)).await;
                    return Ok(None);
                }
            }
        }
    }

    async fn abort(&self) {
        let abort = |executor: &mut Executor| {
            executor.shard.snapshot_abort();
            executor.turnstile.leave(Walker::Snapshot);
        };
        self.desk.act(abort).await;
    }

    /// Reads the file back, past the page cache where that is possible: every checksum, every section's count and digest.
    async fn verify(&self, path: &Path, bytes: u64) -> Result<(), Ended> {
        let failed = |error: &LogError| Ended::Failed(format!("{} was not what was written: {error}", path.display()));
        let mut chunks = Chunks::open(&self.desk, path, 0, true).await?;
        if chunks.bytes() != bytes {
            return Err(failed(&LogError { place: chunks.bytes(), why: "another length".into() }));
        }
        let mut blocks: Option<(Blocks, Unseal)> = None;
        let mut tally = Tally::default();
        let mut sections = 0;
        let mut is_whole = false;
        while let Some(chunk) = chunks.next().await? {
            let mut from = 0;
            let (mut reading, mut unseal) = match blocks.take() {
                Some(reading) => reading,
                None => {
                    from = SEGMENT_HEADER_BYTES;
                    let (header, seed) = SegmentHeader::read(&chunk).map_err(|error| failed(&error))?;
                    (Blocks::begin(&header, seed), Unseal::of(&header, &self.keys).expect("it was written with it"))
                }
            };
            for slice in chunk[from..].chunks(VERIFY_BYTES) {
                let fed = reading.feed(slice, &mut |header, stored| {
                    let mut items = unseal.open(header, stored).map_err(Unopened::into_error)?;
                    while let Some(item) = SnapshotItem::take(&mut items)? {
                        tally.add(&item)?;
                        match item {
                            SnapshotItem::SectionEnd { .. } => sections += 1,
                            SnapshotItem::End { sections: said } => is_whole = said == sections,
                            _ => {}
                        }
                    }
                    Ok(())
                });
                fed.map_err(|error| failed(&error))?;
                if self.snapshots().is_cancelled() {
                    return Err(Ended::Cancelled);
                }
                self.desk.turn().await;
            }
            blocks = Some((reading, unseal));
            chunks.give_back(chunk);
        }
        blocks.map_or(Ok(()), |(blocks, _)| blocks.finish()).map_err(|error| failed(&error))?;
        if is_whole { Ok(()) } else { Err(failed(&LogError { place: bytes, why: "sections are missing".into() })) }
    }
}

impl Output {
    /// Sends what was gathered on its way, as one block; waits while too much is on its way already.
    async fn seal(&mut self) -> Result<(), FileFailure> {
        if self.items.is_empty() {
            return Ok(());
        }
        while self.under_way.len() >= BLOCKS_AHEAD {
            self.settle().await?;
        }
        let mut spec = FrameSpec {
            at: self.at,
            first_lsn: Lsn(self.number),
            synced_lsn: Lsn(0),
            clock_ms: 0,
            entry_count: 0,
            raw_bytes: self.items.len() as u32,
            flags: FrameFlags::BLOCK,
            key_number: 0,
        };
        let align_bytes = self.open.traits.align_bytes;
        let stored = self.seal.seal(self.compression, &mut spec, &self.items);
        let bytes = frame_bytes(stored.len(), align_bytes);
        let mut buffer = self.spare.pop().unwrap_or_else(|| Aligned::with_capacity(bytes));
        buffer.clear();
        buffer.extend_from_slice(&frame_header(&spec, stored, self.seed));
        buffer.extend_from_slice(stored);
        buffer.pad_to(align_bytes as usize);
        self.items.clear();
        self.under_way.push_back(self.desk.begin(FileRequest::Write { file: self.open.file, at: self.at, buffer, sync: false }));
        self.at += bytes as u64;
        self.number += 1;
        Ok(())
    }

    async fn settle(&mut self) -> Result<(), FileFailure> {
        let Some(answer) = self.under_way.pop_front() else { return Ok(()) };
        match answer.await? {
            FileDone::Wrote { buffer } => self.spare.push(buffer),
            other => unreachable!("writing was answered with {other:?}"),
        }
        Ok(())
    }

    /// Makes everything durable. How long the file is.
    async fn finish(mut self) -> Result<u64, FileFailure> {
        self.seal().await?;
        while !self.under_way.is_empty() {
            self.settle().await?;
        }
        self.desk.ask(FileRequest::Sync { file: self.open.file }).await?;
        Ok(self.at)
    }
}

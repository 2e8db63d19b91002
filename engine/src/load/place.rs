//! A snapshot's records put into the shards of the cores that own them now.

use super::apply::Share;
use super::chunks::Chunks;
use super::meeting::Loading;
use super::refusal::Refusal;
use super::survey::Reader;
use crate::executor::Executor;
use crate::seal::{Unopened, Unseal};
use netio::Aligned;
use shards::log::{Blocks, FrameHeader, LogError, Manifest, SEGMENT_HEADER_BYTES, Section, SegmentHeader, SegmentKind};
use shards::snapshot::{SnapshotItem, Tally};
use shards::{Db, Key, PartitionId};
use std::ops::Range;

/// Bytes put in place before other things may have their turn.
const SLICE_BYTES: usize = 128 * 1024;

/// How many records ahead a key's bucket is asked for.
const AHEAD: usize = 32;

/// A file being put in place. Travels between the task that reads and the shard that changes.
struct Placing {
    blocks: Option<Blocks>,
    unseal: Option<Unseal>,
    wrong_key: Option<u32>,
    /// This core's sections in the file, in the order of partitions.
    sections: Vec<Section>,
    /// The section whose records come now, if it is one of them.
    active: Option<Section>,
    tally: Tally,
    /// Of the active section: records put so far, and the database of the last.
    placed: u64,
    db: Option<Db>,
    /// Sections that are not in place yet.
    left: usize,
    /// Since it was last asked: records put, and bytes of the blocks met.
    records: u64,
    bytes: u64,
    error: Option<LogError>,
}

impl Share {
    /// Puts this core's partitions of a snapshot into its shard, which is empty.
    pub(crate) async fn place(&self, reader: &Reader, base: &Manifest, loading: &Loading) -> Result<(), Refusal> {
        for (core, _) in &base.files {
            let sections: Vec<Section> = base
                .sections
                .iter()
                .filter(|section| section.file == *core && self.partitions.contains(&section.partition))
                .cloned()
                .collect();
            if !sections.is_empty() {
                self.place_file(reader, base.id, *core, sections, loading).await?;
            }
        }
        Ok(())
    }

    async fn place_file(&self, reader: &Reader, id: u64, core: u16, sections: Vec<Section>, loading: &Loading) -> Result<(), Refusal> {
        let path = reader.directory.snapshot_file(id, core);
        let refused = |error: &LogError| Refusal::damaged(reader.directory.root(), path.clone(), error.place, error.why.clone());
        // Read once, so the page cache would only cost a copy: a fifth of a restart.
        let mut chunks = Chunks::open(&reader.desk, &path, 0, true).await?;
        let mut header = chunks.next().await?;
        let (read, seed) = SegmentHeader::read(header.as_deref().unwrap_or_default()).map_err(|error| refused(&error))?;
        if (read.kind, read.node, read.seq, read.stream.core) != (SegmentKind::Snapshot, reader.node, id, core) {
            return Err(refused(&LogError { place: 10, why: "it is another file under this name".into() }));
        }
        let Some(unseal) = Unseal::of(&read, &reader.keys) else {
            let why = format!("it is encrypted with key {}, and {}", read.key_number, reader.keys.said());
            return Err(Refusal::Key { file: path, why });
        };
        let left = sections.len();
        let mut placing = Placing {
            blocks: Some(Blocks::begin(&read, seed)),
            unseal: Some(unseal),
            wrong_key: None,
            sections,
            active: None,
            tally: Tally::default(),
            placed: 0,
            db: None,
            left,
            records: 0,
            bytes: 0,
            error: None,
        };
        let mut from = SEGMENT_HEADER_BYTES;
        loop {
            let next = match header.take() {
                Some(first) => Some(first),
                None => chunks.next().await?,
            };
            let Some(mut bytes) = next else { break };
            while from < bytes.len() && placing.is_going_on() {
                let to = (from + SLICE_BYTES).min(bytes.len());
                (placing, bytes) = reader.desk.act(move |executor| placing.feed(bytes, from..to, executor)).await;
                loading.note_progress(std::mem::take(&mut placing.bytes), std::mem::take(&mut placing.records));
                from = to;
            }
            from = 0;
            chunks.give_back(bytes);
            if !placing.is_going_on() {
                break;
            }
        }
        if let Some(number) = placing.wrong_key {
            return Err(Refusal::Key { file: path, why: format!("key {number} is not the one it was written with") });
        }
        match placing.error {
            Some(error) => Err(refused(&error)),
            None if placing.left > 0 => Err(refused(&LogError { place: chunks.bytes(), why: "it ends before its last section".into() })),
            None => Ok(()),
        }
    }
}

impl Placing {
    fn is_going_on(&self) -> bool {
        self.error.is_none() && self.left > 0
    }

    fn feed(mut self, bytes: Aligned, at: Range<usize>, executor: &mut Executor) -> (Placing, Aligned) {
        let mut blocks = self.blocks.take().expect("put back below");
        let mut unseal = self.unseal.take().expect("put back below");
        let fed = blocks.feed(&bytes[at], &mut |header, stored| self.take(header, stored, &mut unseal, executor));
        (self.blocks, self.unseal) = (Some(blocks), Some(unseal));
        self.error = fed.err();
        (self, bytes)
    }

    fn take(&mut self, header: &FrameHeader, stored: &[u8], unseal: &mut Unseal, executor: &mut Executor) -> Result<(), LogError> {
        self.bytes += stored.len() as u64;
        let mut items = Vec::new();
        let mut left = unseal.open(header, stored).map_err(|error| {
            if let Unopened::WrongKey(number) = error {
                self.wrong_key = Some(number);
            }
            error.into_error()
        })?;
        while let Some(item) = SnapshotItem::take(&mut left)? {
            items.push(item);
        }
        // The keys of the items that come next, hashed when their buckets were asked for.
        let mut ahead = [None; AHEAD];
        for (index, item) in items.iter().enumerate() {
            let key = ahead[index % AHEAD].take();
            if self.active.is_some()
                && let Some(next @ SnapshotItem::Record { db, .. }) = items.get(index + AHEAD)
                && let Some(key) = next.key()
            {
                let key = executor.shard.key(key);
                executor.shard.prefetch_bucket(*db, key.slot, key.hash);
                ahead[index % AHEAD] = Some(key);
            }
            self.take_item(header.at, item, key, executor)?;
        }
        Ok(())
    }

    fn take_item(&mut self, at: u64, item: &SnapshotItem<'_>, key: Option<Key<'_>>, executor: &mut Executor) -> Result<(), LogError> {
        let wrong = |why: &'static str| Err(LogError { place: 0, why: why.into() });
        if let SnapshotItem::SectionStart { partition, as_of, clock_ms } = *item {
            // A section that was begun again counts only where the manifest says that it begins.
            self.active = self.sections.iter().find(|section| section.partition == partition && section.at == at).cloned();
            (self.tally, self.placed, self.db) = (Tally::default(), 0, None);
            return match &self.active {
                Some(section) if (section.as_of, section.clock_ms) != (as_of, clock_ms) => wrong("a section of another moment"),
                _ => Ok(()),
            };
        }
        let Some(section) = &self.active else { return Ok(()) };
        if let Some((db, record)) = self.tally.add(item)? {
            if self.db.replace(db) != Some(db) {
                // All that are left may be this database's; what it does not need is given back at the section's end.
                let left = section.count.saturating_sub(self.placed);
                executor.shard.load_ahead(db, PartitionId(section.partition), left as usize);
            }
            self.placed += 1;
            return executor.shard.load(db, key, record, section.clock_ms);
        }
        match *item {
            SnapshotItem::Record { .. } | SnapshotItem::Slice { .. } => Ok(()),
            SnapshotItem::SectionEnd { partition, count, digest } => {
                if (partition, count, digest) != (section.partition, section.count, section.digest) {
                    return wrong("a section that is not what the manifest says");
                }
                executor.shard.loaded(PartitionId(partition));
                self.active = None;
                self.left -= 1;
                self.records += count;
                Ok(())
            }
            _ => wrong("a section that has no end"),
        }
    }
}

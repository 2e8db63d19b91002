//! One core's keys on their way to a replica: walked partition by partition while commands go on, and sent to the core of the
//! replica's connection no faster than that takes them.

use super::{Note, ReplicaId, effects::Piece};
use crate::core::Core;
use crate::turnstile::Walker;
use netio::Kernel;
use shards::rdb::Leaf;
use shards::snapshot::Step;
use shards::{Db, PartitionId};
use std::ops::Range;

/// What one step may copy: about 50 microseconds.
const STEP_RECORDS: usize = 256;
const STEP_BYTES: usize = 64 * 1024;

/// Steps of one turn; most partitions of a small server are empty.
const STEPS_MAX: usize = 16;

/// Bytes after which a leaf leaves. A single record may be larger.
const LEAF_BYTES: usize = 64 * 1024;

/// Bytes that may be on their way, or wait for the replica's socket. A single record may be larger.
const IN_FLIGHT_BYTES_MAX: usize = 1024 * 1024;

/// Bytes that the walk may keep because commands change what it has not yet come to, while the replica does not take more.
const KEPT_BYTES_MAX: usize = 64 * 1024 * 1024;

/// See the head of this file.
#[derive(Debug)]
pub(super) struct Share {
    number: u64,
    to: ReplicaId,
    partitions: Range<u16>,
    /// The first of them is being walked.
    walks: bool,
    leaf: Leaf,
    in_flight_bytes: usize,
}

impl Share {
    pub(super) fn new(number: u64, to: ReplicaId, partitions: Range<u16>) -> Share {
        Share { number, to, partitions, walks: false, leaf: Leaf::default(), in_flight_bytes: 0 }
    }

    /// Whether the next turn can go on with it.
    pub(super) fn has_work(&self) -> bool {
        self.in_flight_bytes < IN_FLIGHT_BYTES_MAX
    }
}

impl<K: Kernel> Core<K> {
    /// Goes on with this core's share, if it has one.
    pub(super) fn walk_share(&mut self) {
        let Some(mut share) = self.replication.share.take() else { return };
        if self.executor.shard.snapshot_bytes() > KEPT_BYTES_MAX && share.walks {
            return self.fail_share(&share, "it took its keys too slowly for what was written meanwhile");
        }
        let mut steps = 0;
        while steps < STEPS_MAX && share.has_work() && share.leaf.len() < LEAF_BYTES {
            steps += 1;
            if !share.walks {
                if share.partitions.is_empty() {
                    self.executor.effects.push(Piece::Walked(share.number));
                    self.executor.effects.end_walk();
                    return self.send_leaf(&mut share, true);
                }
                if !self.executor.turnstile.enter(Walker::Replica) {
                    break;
                }
                let (partition, now) = (share.partitions.start, self.now_ms());
                self.executor.shard.snapshot_begin(PartitionId(partition), now);
                self.executor.effects.note_walked(partition);
                share.walks = true;
            }
            let mut items = Vec::new();
            let step = self.executor.shard.snapshot_step(STEP_RECORDS, STEP_BYTES, &mut items);
            share.leaf.add(&items).expect("what a walk gives is whole");
            if step == Step::More {
                continue;
            }
            self.executor.turnstile.leave(Walker::Replica);
            share.walks = false;
            share.partitions.start += 1;
            if step == Step::Restart && !self.is_bare() {
                return self.fail_share(&share, "a database was emptied while it was given the keys");
            }
        }
        if share.leaf.len() >= LEAF_BYTES || (!share.leaf.is_empty() && share.in_flight_bytes == 0) {
            self.send_leaf(&mut share, false);
        }
        self.replication.share = Some(share);
    }

    /// The replica's core has passed on what was sent.
    pub(super) fn take_taken(&mut self, number: u64, bytes: usize) {
        if let Some(share) = self.replication.share.as_mut().filter(|share| share.number == number) {
            share.in_flight_bytes -= bytes;
        }
    }

    /// The synchronisation of this number is over.
    pub(super) fn cancel_share(&mut self) {
        self.executor.effects.end_walk();
        if let Some(share) = self.replication.share.take() {
            self.stop_walk(&share);
        }
    }

    fn fail_share(&mut self, share: &Share, why: &'static str) {
        self.stop_walk(share);
        self.executor.effects.push(Piece::Failed(share.number, why));
    }

    fn stop_walk(&mut self, share: &Share) {
        if share.walks {
            self.executor.shard.snapshot_abort();
        }
        self.executor.turnstile.leave(Walker::Replica);
    }

    fn send_leaf(&mut self, share: &mut Share, is_last: bool) {
        let bytes = share.leaf.take();
        share.in_flight_bytes += bytes.len();
        let note = Note::Leaf { conn: share.to.conn, number: share.number, bytes, is_last };
        self.send_note(share.to.home, note);
    }

    /// Whether there is no key at all: what comes now is said, and so need not be shown.
    fn is_bare(&self) -> bool {
        let shard = &self.executor.shard;
        (0..shard.db_count()).all(|db| shard.len(Db(db)) == 0)
    }
}

//! The endless row of operations of one thread: kind, key, size and expiry, drawn from a seed; or the walk that writes
//! every key once. In a cluster it also decides which node a batch goes to, and fills the batch with that node's keys.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::cluster::Layout;
use crate::keys::{KeyShape, KeySource, share_of};
use crate::random::Random;
use crate::request::{KeyName, Op};
use crate::workload::{Kind, Mix, Sizes, Ttls, YCSB_SCAN_KEYS_MAX};

/// What is drawn from. Shared by all threads of a run.
#[derive(Clone, Debug)]
pub(crate) struct Workload {
    pub(crate) mix: Mix,
    pub(crate) keys: u64,
    pub(crate) shape: KeyShape,
    pub(crate) sizes: Sizes,
    pub(crate) ttls: Ttls,
    /// Keys of one `mget` or `mset`.
    pub(crate) scan_keys: u64,
    pub(crate) seed: u64,
    /// Keys that exist by now: the prefilled ones and every insert.
    pub(crate) newest: Arc<AtomicU64>,
}

/// One thread's operations.
pub(crate) struct Source {
    workload: Workload,
    name: KeyName,
    keys: KeySource,
    random: Random,
    /// Writes every key of this thread's share once, instead of drawing.
    walk: Option<Walk>,
    /// Drawn, but for another node: begins a later batch.
    held: Option<Op>,
    scratch: Vec<u8>,
}

/// A cursor per node over the same share of keys; each stops only at keys of its node.
struct Walk {
    end: u64,
    cursors: Vec<u64>,
    turn: usize,
}

/// Draws for one node before a batch is sent shorter than asked.
const TRIES_MAX: u32 = 10_000;

impl Source {
    /// Thread `thread` of `threads`, drawing. `stream` tells passes of one run apart.
    pub(crate) fn draw(workload: &Workload, name: &KeyName, thread: u64, threads: u64, stream: u64) -> Source {
        let random = |purpose: u64| Random::new(workload.seed, (stream * 4096 + thread) * 2 + purpose);
        Source {
            keys: KeySource::new(workload.shape, workload.keys, thread, threads, random(0)),
            random: random(1),
            workload: workload.clone(),
            name: name.clone(),
            walk: None,
            held: None,
            scratch: Vec::new(),
        }
    }

    /// Thread `thread` of `threads`, writing each key of its share once.
    pub(crate) fn walk(workload: &Workload, name: &KeyName, thread: u64, threads: u64) -> Source {
        let mut source = Source::draw(workload, name, thread, threads, u64::from(u32::MAX));
        let (first, end) = share_of(workload.keys, thread, threads);
        source.walk = Some(Walk { end, cursors: vec![first], turn: 0 });
        source
    }

    /// The first operation of the next batch and the node it goes to; `None` when a walk is over.
    pub(crate) fn head(&mut self, layout: Option<&Layout>) -> Option<(Op, u16)> {
        if let Some(op) = self.held.take() {
            return Some((op, self.node_of(layout, op.key)));
        }
        if self.walk.is_some() {
            return self.walk_head(layout);
        }
        let kind = self.workload.mix.draw(&mut self.random);
        let key = self.key(kind);
        let op = self.op(kind, key);
        Some((op, self.node_of(layout, op.key)))
    }

    /// One more operation for the same node, or `None` if the batch should be sent as it is.
    #[inline]
    pub(crate) fn follow(&mut self, layout: Option<&Layout>, node: u16) -> Option<Op> {
        if self.walk.is_some() {
            let key = self.walk_next(layout, usize::from(node))?;
            return Some(self.op(Kind::Set, key));
        }
        let kind = self.workload.mix.draw(&mut self.random);
        let mut key = self.key(kind);
        if layout.is_some() {
            // Drawing again until a key fits keeps each node's keys in the shares asked for.
            let mut tries = 0;
            while self.node_of(layout, key) != node {
                tries += 1;
                if kind == Kind::Insert || tries == TRIES_MAX {
                    // An inserted number is taken: it must be written, by whoever owns it.
                    self.held = Some(self.op(kind, key));
                    return None;
                }
                key = self.key(kind);
            }
        }
        Some(self.op(kind, key))
    }

    /// The node that owns `key`: 0 outside a cluster.
    pub(crate) fn node_of(&mut self, layout: Option<&Layout>, key: u64) -> u16 {
        match layout {
            None => 0,
            Some(layout) => layout.owner[usize::from(self.name.slot(key, &mut self.scratch))],
        }
    }

    #[inline]
    fn key(&mut self, kind: Kind) -> u64 {
        match kind {
            Kind::Insert => self.workload.newest.fetch_add(1, Ordering::Relaxed),
            _ => self.keys.next(self.workload.newest.load(Ordering::Relaxed)),
        }
    }

    #[inline]
    fn op(&mut self, kind: Kind, key: u64) -> Op {
        let mut op = Op { kind, key, run: 1, size: 0, ttl_ms: None };
        if kind.many() {
            let most = match kind {
                Kind::Scan => 1 + self.random.below(YCSB_SCAN_KEYS_MAX),
                _ => self.workload.scan_keys,
            };
            op.run = most.min(self.workload.keys) as u32;
            op.key = key.min(self.workload.keys - u64::from(op.run));
        }
        if kind.writes() {
            op.size = self.workload.sizes.draw(&mut self.random);
            op.ttl_ms = self.workload.ttls.draw(&mut self.random);
        } else if kind == Kind::Expire {
            op.ttl_ms = self.workload.ttls.first_ms();
        }
        op
    }

    fn walk_head(&mut self, layout: Option<&Layout>) -> Option<(Op, u16)> {
        let nodes = layout.map_or(1, |layout| layout.nodes.len());
        let walk = self.walk.as_mut().expect("a walk");
        let first = walk.cursors[0];
        if walk.cursors.len() < nodes {
            // Only before the first step: every node starts where the share starts.
            walk.cursors.resize(nodes, first);
        }
        for _ in 0..nodes {
            let walk = self.walk.as_mut().expect("a walk");
            let node = walk.turn % nodes;
            walk.turn += 1;
            if let Some(key) = self.walk_next(layout, node) {
                return Some((self.op(Kind::Set, key), node as u16));
            }
        }
        None
    }

    fn walk_next(&mut self, layout: Option<&Layout>, node: usize) -> Option<u64> {
        loop {
            let walk = self.walk.as_mut().expect("a walk");
            let key = walk.cursors[node];
            if key >= walk.end {
                return None;
            }
            walk.cursors[node] += 1;
            if layout.is_none() || usize::from(self.node_of(layout, key)) == node {
                return Some(key);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workload::Ycsb;

    fn workload(mix: Mix, keys: u64, shape: KeyShape) -> Workload {
        Workload {
            mix,
            keys,
            shape,
            sizes: Sizes::parse("10").unwrap(),
            ttls: Ttls::never(),
            scan_keys: 10,
            seed: 1,
            newest: Arc::new(AtomicU64::new(keys)),
        }
    }

    fn three_nodes() -> Layout {
        Layout {
            nodes: (1..=3).map(|port| format!("127.0.0.1:{port}").parse().unwrap()).collect(),
            owner: (0..16384).map(|slot| (slot / 5462) as u16).collect(),
        }
    }

    #[test]
    fn a_walk_writes_every_key_once_on_its_node() {
        let layout = three_nodes();
        let name = KeyName::new("key:", 12);
        let workload = workload(Mix::ratio("1:1").unwrap(), 1_000, KeyShape::Uniform);
        for layout in [None, Some(&layout)] {
            let mut seen = [0u8; 1_000];
            for thread in 0..3 {
                let mut source = Source::walk(&workload, &name, thread, 3);
                while let Some((op, node)) = source.head(layout) {
                    let mut batch = vec![op];
                    batch.extend((1..16).map_while(|_| source.follow(layout, node)));
                    for op in batch {
                        assert_eq!(op.kind, Kind::Set);
                        assert_eq!(source.node_of(layout, op.key), node);
                        seen[op.key as usize] += 1;
                    }
                }
            }
            assert!(seen.iter().all(|&count| count == 1), "{seen:?}");
        }
    }

    #[test]
    fn a_batch_in_a_cluster_is_of_one_node_and_no_insert_is_lost() {
        let layout = three_nodes();
        let name = KeyName::new("key:", 12);
        let workload = workload(Ycsb::D.mix(), 500, KeyShape::Latest { theta: 0.99 });
        let mut source = Source::draw(&workload, &name, 0, 1, 0);
        let mut inserted = Vec::new();
        for _ in 0..2_000 {
            let (op, node) = source.head(Some(&layout)).unwrap();
            let mut batch = vec![op];
            batch.extend((1..8).map_while(|_| source.follow(Some(&layout), node)));
            for op in batch {
                assert_eq!(source.node_of(Some(&layout), op.key), node);
                if op.kind == Kind::Insert {
                    inserted.push(op.key);
                }
            }
        }
        inserted.extend(source.held.filter(|op| op.kind == Kind::Insert).map(|op| op.key));
        inserted.sort_unstable();
        let newest = workload.newest.load(Ordering::Relaxed);
        assert_eq!(inserted, (500..newest).collect::<Vec<_>>());
        assert!(inserted.len() > 100);
    }

    #[test]
    fn runs_of_keys_stay_inside_the_key_space() {
        let name = KeyName::new("key:", 12);
        let workload = workload(Ycsb::E.mix(), 50, KeyShape::Uniform);
        let mut source = Source::draw(&workload, &name, 0, 1, 0);
        for _ in 0..5_000 {
            let (op, _) = source.head(None).unwrap();
            if op.kind == Kind::Scan {
                assert!(op.run >= 1 && op.key + u64::from(op.run) <= 50, "{op:?}");
            }
        }
    }

    #[test]
    fn the_same_seed_asks_the_same() {
        let name = KeyName::new("key:", 12);
        let workload = workload(Mix::ratio("1:1").unwrap(), 1_000, KeyShape::Zipf { theta: 0.9 });
        let take = |stream| {
            let mut source = Source::draw(&workload, &name, 0, 2, stream);
            (0..100).map(|_| source.head(None).map(|(op, _)| (op.kind, op.key))).collect::<Vec<_>>()
        };
        assert_eq!(take(0), take(0));
        assert_ne!(take(0), take(1));
    }
}

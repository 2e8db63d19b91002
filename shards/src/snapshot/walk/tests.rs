//! Random histories while a partition is walked: what comes out is a frozen copy of what it was.

use super::*;
use crate::evict::{Eviction, Lfu};
use crate::key::KeySeed;
use crate::shard::{Cursor, Expiry, Kind, ShardConfig};
use crate::slot::Slot;
use crate::snapshot::Tally;
use crate::{Deadline, PartitionId};
use proptest::prelude::*;

const START: u64 = 1_700_000_000_000;
const DBS: u16 = 3;

fn shard() -> Shard {
    Shard::new(ShardConfig { key_seed: KeySeed::new(11), chance_seed: 12, db_count: DBS })
}

/// Database and key to value and deadline.
type Frozen = BTreeMap<(u16, Vec<u8>), (Vec<u8>, Option<u64>)>;

fn frozen(shard: &Shard, partition: PartitionId, now: u64) -> Frozen {
    let mut all = Frozen::new();
    for db in 0..DBS {
        let mut cursor = Cursor::default();
        loop {
            cursor = shard.scan(Db(db), cursor, 1000, now, &mut |found| {
                if PartitionId::of(Slot::of(found.key)) == partition {
                    all.insert((db, found.key.to_vec()), (found.value.to_vec(), found.deadline.map(|at| at.0)));
                }
            });
            if cursor == Cursor::default() {
                break;
            }
        }
    }
    all
}

/// What a walk gave, each record once.
fn thawed(items: &[u8]) -> Frozen {
    let (mut left, mut all, mut assembly) = (items, Frozen::new(), super::super::Assembly::default());
    while let Some(item) = SnapshotItem::take(&mut left).unwrap() {
        if let Some((db, record)) = assembly.add(&item).unwrap() {
            let kept = (record.value().to_vec(), record.deadline().map(|at| at.0));
            assert!(all.insert((db.0, record.key().to_vec()), kept).is_none(), "{:?} left twice", record.key());
        }
    }
    all
}

#[derive(Clone, Debug)]
enum Change {
    Put { key: u16, bytes: usize, ttl: Option<u64> },
    Resize { key: u16, bytes: usize },
    Delete { key: u16 },
    Deadline { key: u16, ttl: Option<u64> },
    Read { key: u16 },
    Copy { from: u16, to: u16 },
    Pass { ms: u64 },
    Tick { budget: usize },
    Evict,
    Clear,
    Swap { other: u16 },
    Step { records: usize, bytes: usize },
}

fn change() -> impl Strategy<Value = (u16, Change)> {
    let key = || prop_oneof![0..30u16, 0..400u16];
    let bytes = || prop_oneof![80 => 0..40usize, 40 => 0..3000usize, 1 => RECORD_BYTES_WHOLE_MAX - 40..RECORD_BYTES_WHOLE_MAX + 600_000];
    let ttl = || prop::option::of(prop_oneof![1..300u64, 1..100_000u64]);
    let change = prop_oneof![
        30 => (key(), bytes(), ttl()).prop_map(|(key, bytes, ttl)| Change::Put { key, bytes, ttl }),
        10 => (key(), bytes()).prop_map(|(key, bytes)| Change::Resize { key, bytes }),
        12 => key().prop_map(|key| Change::Delete { key }),
        10 => (key(), ttl()).prop_map(|(key, ttl)| Change::Deadline { key, ttl }),
        6 => key().prop_map(|key| Change::Read { key }),
        6 => (key(), key()).prop_map(|(from, to)| Change::Copy { from, to }),
        6 => prop_oneof![0..20u64, 0..2000u64].prop_map(|ms| Change::Pass { ms }),
        4 => (0..200usize).prop_map(|budget| Change::Tick { budget }),
        3 => Just(Change::Evict),
        1 => Just(Change::Clear),
        1 => (0..DBS).prop_map(|other| Change::Swap { other }),
        25 => (1..40usize, prop_oneof![1..1000usize, 1..1_000_000usize]).prop_map(|(records, bytes)| Change::Step { records, bytes }),
    ];
    (0..DBS, change)
}

/// Most keys are in the walked partition, some are not.
fn key_bytes(key: u16) -> Vec<u8> {
    if key % 11 == 10 { format!("other:{key}").into_bytes() } else { format!("{{w}}{key}").into_bytes() }
}

fn apply(shard: &mut Shard, db: Db, change: &Change, salt: usize, now: &mut u64) {
    let expiry = |ttl: Option<u64>, now: u64| ttl.map(|ttl| Deadline(now + ttl));
    match *change {
        Change::Put { key, bytes, ttl } => {
            let key_bytes = key_bytes(key);
            let key = shard.key(&key_bytes);
            let value: Vec<u8> = (0..bytes).map(|index| (index * 3 + salt) as u8).collect();
            shard.put(db, &key, Kind::String, &value, expiry(ttl, *now).map_or(Expiry::Never, Expiry::At), *now);
        }
        Change::Resize { key, bytes } => {
            let key = key_bytes(key);
            let value = shard.resize(db, &shard.key(&key), bytes, *now);
            value.iter_mut().step_by(7).for_each(|byte| *byte = byte.wrapping_add(1));
        }
        Change::Delete { key } => {
            let key = key_bytes(key);
            shard.delete(db, &shard.key(&key), *now);
        }
        Change::Deadline { key, ttl } => {
            let key = key_bytes(key);
            shard.set_deadline(db, &shard.key(&key), expiry(ttl, *now), *now);
        }
        Change::Read { key } => {
            let key = key_bytes(key);
            let _ = shard.read(db, &shard.key(&key), *now);
        }
        Change::Copy { from, to } => {
            let (from, to) = (key_bytes(from), key_bytes(to));
            if let Some(record) = shard.export(db, &shard.key(&from), *now) {
                shard.import(db, &shard.key(&to), &record, *now).unwrap();
            }
        }
        Change::Pass { ms } => *now += ms,
        Change::Tick { budget } => {
            shard.tick(*now, budget);
        }
        Change::Evict => {
            shard.set_memory_budget(Some(shard.used_bytes() * 15 / 16));
            shard.make_room(*now);
            shard.set_memory_budget(None);
        }
        Change::Clear => shard.clear(db),
        Change::Swap { other } => shard.swap(db, Db(other)),
        Change::Step { .. } => unreachable!("not a change"),
    }
}

/// A walk, and what it must give.
struct Watched {
    expected: Frozen,
    clock_ms: u64,
    out: Vec<u8>,
}

impl Watched {
    fn begin(shard: &mut Shard, partition: PartitionId, now: u64) -> Watched {
        shard.snapshot_begin(partition, now);
        Watched { expected: frozen(shard, partition, now), clock_ms: now, out: Vec::new() }
    }

    fn check(self, partition: PartitionId, count: u64, digest: u64) {
        assert_eq!(thawed(&self.out), self.expected);
        assert_eq!(count, self.expected.len() as u64);
        let (mut tally, mut left, mut loaded) = (Tally::default(), &self.out[..], shard());
        while let Some(item) = SnapshotItem::take(&mut left).unwrap() {
            if let Some((db, record)) = tally.add(&item).unwrap() {
                loaded.load_ahead(db, partition, count as usize);
                loaded.load(db, None, record, self.clock_ms).unwrap();
            }
        }
        loaded.loaded(partition);
        tally.clone().add(&SnapshotItem::SectionEnd { partition: partition.0, count, digest }).unwrap();
        assert!(tally.add(&SnapshotItem::SectionEnd { partition: partition.0, count, digest: digest ^ 1 }).is_err());
        assert_eq!((0..DBS).fold(0, |all, db| all ^ loaded.digest(Db(db), self.clock_ms)), digest);
        assert_eq!(frozen(&loaded, partition, self.clock_ms), self.expected);
        loaded.check();
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(120))]

    #[test]
    fn a_walk_gives_a_frozen_copy_whatever_happens_meanwhile(
        before in prop::collection::vec(change(), 0..150), during in prop::collection::vec(change(), 0..300)
    ) {
        let (mut shard, mut now) = (shard(), START);
        shard.set_eviction(Eviction::AllKeysRandom, Lfu::default());
        let partition = PartitionId::of(Slot::of(b"w"));
        for (salt, (db, change)) in before.iter().enumerate() {
            if !matches!(change, Change::Step { .. }) {
                apply(&mut shard, Db(*db), change, salt, &mut now);
            }
        }
        let mut watched = Watched::begin(&mut shard, partition, now);
        let last = [(0, Change::Step { records: usize::MAX, bytes: usize::MAX })];
        for (salt, (db, change)) in during.iter().chain(last.iter().cycle().take(20)).enumerate() {
            let Change::Step { records, bytes } = *change else {
                apply(&mut shard, Db(*db), change, salt + 1000, &mut now);
                continue;
            };
            match shard.snapshot_step(records, bytes, &mut watched.out) {
                Step::More => {}
                Step::Done { count, digest } => {
                    watched.check(partition, count, digest);
                    prop_assert_eq!(shard.snapshot_bytes(), 0);
                    watched = Watched::begin(&mut shard, partition, now);
                }
                Step::Restart => watched = Watched::begin(&mut shard, partition, now),
            }
        }
        shard.check();
        shard.snapshot_abort();
        prop_assert_eq!(shard.snapshot_step(1, 1, &mut Vec::new()), Step::Restart);
    }
}

#[test]
fn a_step_keeps_to_its_budget() {
    let mut shard = shard();
    for index in 0..3000 {
        let bytes = format!("{{w}}{index}");
        let key = shard.key(bytes.as_bytes());
        shard.put(Db(0), &key, Kind::String, &[b'v'; 100], Expiry::Never, START);
    }
    let partition = PartitionId::of(Slot::of(b"w"));
    for (records, bytes, steps) in [(64, 1 << 20, 30..60), (1_000_000, 4096, 60..90)] {
        shard.snapshot_begin(partition, START);
        let (mut out, mut taken) = (Vec::new(), 0);
        let ended = loop {
            let before = out.len();
            let step = shard.snapshot_step(records, bytes, &mut out);
            taken += 1;
            assert!(out.len() - before <= (2 * records * 130).min(bytes + 32 * 130), "{} bytes", out.len() - before);
            if step != Step::More {
                break step;
            }
        };
        assert!(matches!(ended, Step::Done { count: 3000, .. }) && steps.contains(&taken), "{taken} steps: {ended:?}");
    }
}

/// A long record leaves slice by slice; what changes one that has begun makes the rest leave at once, and one that has not,
/// all of it.
#[test]
fn long_records_leave_in_slices() {
    let mut shard = shard();
    let partition = PartitionId::of(Slot::of(b"w"));
    let value = |salt: u8| vec![salt; 2 * RECORD_BYTES_WHOLE_MAX];
    for index in 0..4u8 {
        let bytes = format!("{{w}}{index}");
        let key = shard.key(bytes.as_bytes());
        shard.put(Db(0), &key, Kind::String, &value(index), Expiry::At(Deadline(START + 1000)), START);
    }
    let mut watched = Watched::begin(&mut shard, partition, START);
    assert_eq!(shard.snapshot_step(100, SLICE_BYTES / 2, &mut watched.out), Step::More);
    while watched.out.is_empty() {
        assert_eq!(shard.snapshot_step(100, SLICE_BYTES / 2, &mut watched.out), Step::More);
    }
    assert!(watched.out.len() < SLICE_BYTES + 100);
    for index in 0..4u8 {
        let bytes = format!("{{w}}{index}");
        let key = shard.key(bytes.as_bytes());
        if index % 2 == 0 { shard.resize(Db(0), &key, 5, START).fill(9) } else { assert!(shard.delete(Db(0), &key, START)) }
    }
    let Step::Done { count, digest } = shard.snapshot_step(100, usize::MAX, &mut watched.out) else { panic!("there is nothing left") };
    watched.check(partition, count, digest);
}

/// A database emptied behind the walk's back changes nothing that was given.
#[test]
fn only_what_is_not_walked_yet_is_begun_again() {
    let mut shard = shard();
    let partition = PartitionId::of(Slot::of(b"w"));
    let key = shard.key(b"{w}1");
    for db in [0, 2] {
        shard.put(Db(db), &key, Kind::String, b"v", Expiry::Never, START);
    }
    let mut watched = Watched::begin(&mut shard, partition, START);
    assert_eq!(shard.snapshot_step(1, 1, &mut watched.out), Step::More);
    shard.clear(Db(0));
    shard.clear(Db(1));
    let Step::Done { count: 2, digest } = shard.snapshot_step(9, 1 << 20, &mut watched.out) else { panic!("both were there") };
    watched.check(partition, 2, digest);

    // What was walked comes where it was not: it would be given twice.
    shard.put(Db(0), &key, Kind::String, b"v", Expiry::Never, START);
    shard.snapshot_begin(partition, START);
    assert_eq!(shard.snapshot_step(1, 1, &mut Vec::new()), Step::More);
    shard.swap(Db(0), Db(1));
    assert_eq!(shard.snapshot_step(1, 1, &mut Vec::new()), Step::Restart);
}

//! The whole shard beside a plain map of what it should hold.

use super::*;
use crate::collection::pack::{Pack, Packer};
use crate::key::PartitionId;
use crate::rdb::{self, Decoded};
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};

const START: u64 = 1_700_000_000_000;

fn shard(db_count: u16) -> Shard {
    Shard::new(ShardConfig { key_seed: KeySeed::new(11), chance_seed: 12, db_count })
}

/// A value and its deadline.
type Kept = (Vec<u8>, Option<u64>);

#[derive(Default)]
struct Model(BTreeMap<(u16, Vec<u8>), Kept>);

impl Model {
    fn get(&self, db: Db, key: &[u8], now: u64) -> Option<&Kept> {
        self.0.get(&(db.0, key.to_vec())).filter(|(_, deadline)| deadline.is_none_or(|deadline| deadline > now))
    }
}

#[derive(Clone, Debug)]
enum Step {
    Put { key: u16, value: usize, ttl: Ttl },
    Resize { key: u16, value: usize },
    Delete { key: u16 },
    Deadline { key: u16, ttl: Option<u64> },
    Read { key: u16 },
    Pass { ms: u64 },
    Tick { budget: usize },
    Move { from: u16, to: u16 },
    Clear,
    Swap,
    Random,
}

#[derive(Clone, Copy, Debug)]
enum Ttl {
    Never,
    Keep,
    Ms(u64),
}

fn ttl_ms() -> impl Strategy<Value = u64> {
    prop_oneof![1..20u64, 1..2000u64, 1..1_000_000u64, 1..1u64 << 40]
}

fn value_bytes() -> impl Strategy<Value = usize> {
    prop_oneof![8 => 0..40usize, 2 => 200..300usize, 2 => 0..3000usize, 1 => 0..100_000usize]
}

fn step() -> impl Strategy<Value = Step> {
    let key = || prop_oneof![0..20u16, 0..600u16];
    prop_oneof![
        12 => (key(), value_bytes(), prop_oneof![3 => Just(Ttl::Never), 1 => Just(Ttl::Keep), 3 => ttl_ms().prop_map(Ttl::Ms)])
            .prop_map(|(key, value, ttl)| Step::Put { key, value, ttl }),
        4 => (key(), value_bytes()).prop_map(|(key, value)| Step::Resize { key, value }),
        5 => key().prop_map(|key| Step::Delete { key }),
        6 => (key(), prop::option::weighted(0.8, ttl_ms())).prop_map(|(key, ttl)| Step::Deadline { key, ttl }),
        6 => key().prop_map(|key| Step::Read { key }),
        3 => prop_oneof![0..5u64, 0..3000u64, 0..2_000_000u64].prop_map(|ms| Step::Pass { ms }),
        4 => (0..200usize).prop_map(|budget| Step::Tick { budget }),
        2 => (key(), key()).prop_map(|(from, to)| Step::Move { from, to }),
        1 => Just(Step::Clear),
        1 => Just(Step::Swap),
        2 => Just(Step::Random),
    ]
}

fn key_bytes(key: u16) -> Vec<u8> {
    // Some keys are long, some empty, some share a slot.
    match key {
        0 => Vec::new(),
        1..=9 => format!("{{tag}}{key}").into_bytes(),
        10..=14 => vec![b'k'; 250 + usize::from(key)],
        _ => format!("key:{key}").into_bytes(),
    }
}

fn value(len: usize, salt: u64) -> Vec<u8> {
    (0..len).map(|index| (index as u64).wrapping_mul(31).wrapping_add(salt) as u8).collect()
}

fn compare(shard: &mut Shard, model: &Model, now: u64) {
    shard.check();
    for db in [Db(0), Db(1)] {
        let mut seen = BTreeMap::new();
        let mut cursor = Cursor::default();
        loop {
            cursor = shard.scan(db, cursor, 7, now, &mut |found| {
                let record = (found.value.to_vec(), found.deadline.map(|deadline| deadline.0));
                assert!(seen.insert((db.0, found.key.to_vec()), record).is_none(), "met twice");
            });
            if cursor == Cursor::default() {
                break;
            }
        }
        let expected: BTreeMap<_, _> =
            model.0.iter().filter(|((in_db, key), _)| *in_db == db.0 && model.get(db, key, now).is_some()).collect();
        assert_eq!(seen.iter().collect::<BTreeMap<_, _>>(), expected);
        assert!(shard.len(db) >= expected.len());
        for ((_, bytes), (value, deadline)) in expected {
            let key = shard.key(bytes);
            shard.prefetch_bucket(db, key.slot, key.hash);
            shard.prefetch_record(db, key.slot, key.hash);
            let found = shard.peek(db, &key, now).expect("it was just met");
            assert_eq!((found.key, found.value, found.deadline.map(|deadline| deadline.0)), (&bytes[..], &value[..], *deadline));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn does_what_a_map_does(steps in prop::collection::vec(step(), 1..600)) {
        let (mut shard, mut model, mut now) = (shard(2), Model::default(), START);
        for (index, step) in steps.into_iter().enumerate() {
            let db = Db((index % 7 == 0).into());
            match step {
                Step::Put { key, value: len, ttl } => {
                    let (bytes, value) = (key_bytes(key), value(len, index as u64));
                    let key = shard.key(&bytes);
                    let old = model.get(db, &bytes, now).and_then(|(_, deadline)| *deadline);
                    let (expiry, deadline) = match ttl {
                        Ttl::Never => (Expiry::Never, None),
                        Ttl::Keep => (Expiry::Keep, old),
                        Ttl::Ms(ms) => (Expiry::At(Deadline(now + ms)), Some(now + ms)),
                    };
                    shard.put(db, &key, Kind::String, &value, expiry, now);
                    model.0.insert((db.0, bytes), (value, deadline));
                }
                Step::Resize { key, value: len } => {
                    let bytes = key_bytes(key);
                    let key = shard.key(&bytes);
                    let (mut expected, deadline) = model.get(db, &bytes, now).cloned().unwrap_or_default();
                    expected.resize(len, 0);
                    let lent = shard.resize(db, &key, len, now);
                    prop_assert_eq!(&*lent, &expected[..]);
                    if let (Some(lent), Some(expected)) = (lent.last_mut(), expected.last_mut()) {
                        (*lent, *expected) = (index as u8, index as u8);
                    }
                    model.0.insert((db.0, bytes), (expected, deadline));
                }
                Step::Delete { key } => {
                    let bytes = key_bytes(key);
                    let expected = model.get(db, &bytes, now).is_some();
                    prop_assert_eq!(shard.delete(db, &shard.key(&bytes), now), expected);
                    model.0.remove(&(db.0, bytes));
                }
                Step::Deadline { key, ttl } => {
                    let bytes = key_bytes(key);
                    let expected = model.get(db, &bytes, now).is_some();
                    let deadline = ttl.map(|ms| now + ms);
                    prop_assert_eq!(shard.set_deadline(db, &shard.key(&bytes), deadline.map(Deadline), now), expected);
                    if expected {
                        model.0.get_mut(&(db.0, bytes)).unwrap().1 = deadline;
                    }
                }
                Step::Read { key } => {
                    let bytes = key_bytes(key);
                    let key = shard.key(&bytes);
                    let found = shard.read(db, &key, now).map(|found| (found.value.to_vec(), found.deadline.map(|at| at.0)));
                    prop_assert_eq!(found.as_ref(), model.get(db, &bytes, now));
                }
                Step::Pass { ms } => now += ms,
                Step::Tick { budget } => {
                    let left = shard.tick(now, budget);
                    if left == 0 && shard.backlog() == 0 {
                        for db in [Db(0), Db(1)] {
                            let expected = model.0.iter().filter(|((in_db, key), _)| *in_db == db.0 && model.get(db, key, now).is_some()).count();
                            prop_assert_eq!(shard.len(db), expected, "what is due has gone");
                        }
                    }
                }
                Step::Move { from, to } => {
                    let (from, to) = (key_bytes(from), key_bytes(to));
                    let record = shard.export(db, &shard.key(&from), now);
                    prop_assert_eq!(record.is_some(), model.get(db, &from, now).is_some());
                    if let Some(record) = record {
                        let to_key = shard.key(&to);
                        shard.import(db, &to_key, &record, now).unwrap();
                        let moved = model.get(db, &from, now).unwrap().clone();
                        model.0.insert((db.0, to), moved);
                    }
                }
                Step::Clear => {
                    shard.clear(db);
                    model.0.retain(|(in_db, _), _| *in_db != db.0);
                }
                Step::Swap => {
                    shard.swap(Db(0), Db(1));
                    model.0 = std::mem::take(&mut model.0).into_iter().map(|((db, key), record)| ((1 - db, key), record)).collect();
                }
                Step::Random => {
                    let picked = shard.random_key(db, now);
                    let any = model.0.keys().any(|(in_db, key)| *in_db == db.0 && model.get(db, key, now).is_some());
                    prop_assert_eq!(picked.is_some(), any);
                    prop_assert!(picked.is_none_or(|key| model.get(db, &key, now).is_some()));
                }
            }
            let earliest = model.0.values().filter_map(|(_, deadline)| *deadline).filter(|deadline| *deadline > now).min();
            prop_assert!(earliest.is_none_or(|earliest| shard.next_deadline().is_some_and(|next| next.0 <= earliest)));
            if index % 50 == 0 {
                compare(&mut shard, &model, now);
            }
        }
        compare(&mut shard, &model, now);
        // In the end everything goes, and so does the memory.
        shard.clear(Db(0));
        shard.clear(Db(1));
        now += 1 << 41;
        while shard.tick(now, 1000) > 0 || shard.backlog() > 0 || shard.wheel.is_sweeping() {}
        shard.check();
        prop_assert_eq!((shard.memory().records, shard.memory().buckets, shard.dead), (0, 0, Dead::default()));
    }
}

#[test]
fn dead_slots_are_bounded_however_often_deadlines_move_earlier() {
    let mut shard = shard(1);
    for round in 0..100u64 {
        for index in 0..1000 {
            let bytes = format!("key:{index}");
            let key = shard.key(bytes.as_bytes());
            shard.put(Db(0), &key, Kind::String, b"v", Expiry::At(Deadline(START + 1_000_000_000 - round)), START);
        }
        shard.tick(START, 10_000);
    }
    assert!(shard.dead.count < 16_000, "{:?}", shard.dead);
    assert!(shard.memory().records < 16_000 * 32);
    shard.check();
}

#[test]
fn later_deadlines_cost_nothing_in_the_wheel() {
    let mut shard = shard(1);
    let key = shard.key(b"session");
    for round in 0..100_000u64 {
        shard.put(Db(0), &key, Kind::String, b"v", Expiry::At(Deadline(START + 60_000 + round)), START + round);
        shard.tick(START + round, 10);
    }
    assert_eq!((shard.wheel.len(), shard.dead.count), (1, 0));
    assert_eq!(shard.len(Db(0)), 1);
    shard.tick(START + 1_000_000, 10);
    shard.tick(START + 1_000_000, 10);
    assert_eq!(shard.len(Db(0)), 0);
    assert_eq!(shard.counts().expired, 1);
}

/// Sixteen keys a millisecond for two seconds, set long before and just before: each is gone with the first tick of
/// its time, though a tick may touch only sixty-four records, those on their way down the wheel included.
#[test]
fn keys_go_within_a_tick_of_their_time() {
    let mut shard = shard(1);
    let at = |index: u64| START + 30_000 + index * 7919 % 32_000 / 16;
    for index in 0..32_000 {
        let bytes = format!("key:{index}");
        let key = shard.key(bytes.as_bytes());
        shard.put(Db(0), &key, Kind::String, b"v", Expiry::At(Deadline(at(index))), START + index % 2 * 20_000);
    }
    let mut left = 32_000;
    for now in START..START + 32_000 {
        assert_eq!(shard.tick(now, 64), 0, "{} ms after the start", now - START);
        left -= if now >= START + 30_000 { 16 } else { 0 };
        assert_eq!(shard.len(Db(0)), left, "{} ms after the start", now - START);
    }
    assert_eq!((left, shard.counts().expired), (0, 32_000));
    shard.check();
}

#[test]
fn appending_in_a_loop_moves_little() {
    let mut shard = shard(1);
    let key = shard.key(b"log");
    for len in 1..=300_000usize {
        *shard.resize(Db(0), &key, len, START).last_mut().unwrap() = len as u8;
    }
    let found = shard.peek(Db(0), &key, START).unwrap();
    assert!(found.value.iter().enumerate().all(|(index, byte)| *byte == (index + 1) as u8));
    assert!(shard.memory().records < 300_000 * 3 / 2);
    shard.check();
}

#[test]
fn a_slot_can_be_counted_and_listed() {
    let mut shard = shard(1);
    for index in 0..500 {
        let bytes = format!("{{user}}:{index}");
        let key = shard.key(bytes.as_bytes());
        shard.put(Db(0), &key, Kind::String, b"v", if index < 100 { Expiry::At(Deadline(START + 1)) } else { Expiry::Never }, START);
        let bytes = format!("other:{index}");
        let key = shard.key(bytes.as_bytes());
        shard.put(Db(0), &key, Kind::String, b"v", Expiry::Never, START);
    }
    let slot = crate::slot::Slot::of(b"user");
    assert_eq!(shard.count_in_slot(slot, START), 500);
    assert_eq!(shard.count_in_slot(slot, START + 1), 400);
    let mut keys = BTreeSet::new();
    shard.visit_slot(slot, START + 1, &mut |found| {
        keys.insert(found.key.to_vec());
        keys.len() < 10
    });
    assert_eq!(keys.len(), 10);
    assert!(keys.iter().all(|key| PartitionId::of(crate::slot::Slot::of(key)) == PartitionId::of(slot) && key.starts_with(b"{user}")));
}

#[test]
fn digests_depend_on_content_only() {
    let (mut one, mut two) = (shard(1), Shard::new(ShardConfig { key_seed: KeySeed::new(99), chance_seed: 1, db_count: 1 }));
    for index in 0..1000u64 {
        let bytes = format!("key:{index}");
        let expiry = if index % 3 == 0 { Expiry::At(Deadline(START + index + 1)) } else { Expiry::Never };
        let key = one.key(bytes.as_bytes());
        one.put(Db(0), &key, Kind::String, bytes.as_bytes(), expiry, START);
        let bytes = format!("key:{}", 999 - index);
        let expiry = if (999 - index) % 3 == 0 { Expiry::At(Deadline(START + 1000 - index)) } else { Expiry::Never };
        let key = two.key(bytes.as_bytes());
        two.put(Db(0), &key, Kind::String, bytes.as_bytes(), expiry, START);
    }
    assert_ne!(one.digest(Db(0), START), 0);
    assert_eq!(one.digest(Db(0), START), two.digest(Db(0), START));
    let key = two.key(b"key:500");
    two.set_deadline(Db(0), &key, Some(Deadline(START + 9)), START);
    assert_ne!(one.digest(Db(0), START), two.digest(Db(0), START));
}

#[test]
fn random_keys_are_spread_evenly() {
    let mut shard = shard(1);
    for index in 0..100 {
        let bytes = format!("key:{index}");
        let key = shard.key(bytes.as_bytes());
        shard.put(Db(0), &key, Kind::String, b"v", Expiry::Never, START);
    }
    let mut counts = BTreeMap::new();
    for _ in 0..20_000 {
        *counts.entry(shard.random_key(Db(0), START).unwrap()).or_insert(0) += 1;
    }
    assert_eq!(counts.len(), 100);
    // 200 expected, standard deviation 14.
    assert!(counts.values().all(|count| (120..300).contains(count)), "{counts:?}");
}

#[test]
fn expired_keys_are_told_of_before_what_replaced_them() {
    let mut shard = Shard::new(ShardConfig { key_seed: KeySeed::new(1), chance_seed: 1, db_count: 2 });
    shard.note_expired(true);
    for name in [&b"read"[..], b"replaced", b"grown", b"ticked", b"deleted", b"lives"] {
        let key = shard.key(name);
        let at = if name == b"lives" { 99 } else { 10 };
        shard.put(Db(1), &key, Kind::String, b"v", Expiry::At(Deadline(at)), 1);
    }
    let key = shard.key(b"read");
    assert!(shard.read(Db(1), &key, 20).is_none());
    let key = shard.key(b"replaced");
    shard.put(Db(1), &key, Kind::String, b"w", Expiry::Never, 20);
    let key = shard.key(b"grown");
    shard.resize(Db(1), &key, 3, 20);
    let key = shard.key(b"deleted");
    assert!(!shard.delete(Db(1), &key, 20));
    shard.tick(20, 100);
    let mut told = Vec::new();
    shard.drain_expired(&mut |db, key| told.push((db, String::from_utf8_lossy(key).into_owned())));
    assert_eq!(told, ["read", "replaced", "grown", "deleted", "ticked"].map(|key| (Db(1), key.to_owned())));
    shard.drain_expired(&mut |_, key| panic!("{} was told twice", key.escape_ascii()));
    shard.note_expired(false);
    shard.tick(200, 100);
    shard.drain_expired(&mut |_, key| panic!("nobody wants to know of {}", key.escape_ascii()));
}

/// Collections of every kind, so long that some are not packed.
fn collection(kind: Kind, count: u32) -> Vec<u8> {
    let mut packer = Packer::default();
    for index in 0..count {
        let element = format!("element {index:06}");
        match kind {
            Kind::Hash => packer.push_pair(element.as_bytes(), b"value"),
            Kind::SortedSet => packer.push_scored(element.as_bytes(), f64::from(index)),
            _ => packer.push(element.as_bytes()),
        }
    }
    packer.finish()
}

/// What a collection holds, whatever its form and order.
fn elements(kind: Kind, packed: &[u8]) -> Vec<Vec<u8>> {
    let pack = Pack::trusted(packed);
    let mut elements: Vec<Vec<u8>> = match kind {
        Kind::Hash => pack.pairs().map(|(field, value)| [field, b"=", value].concat()).collect(),
        Kind::SortedSet => pack.scored().map(|(member, score)| [member, &score.to_le_bytes()].concat()).collect(),
        _ => pack.iter().map(<[u8]>::to_vec).collect(),
    };
    if matches!(kind, Kind::Set | Kind::Hash) {
        elements.sort();
    }
    elements
}

#[test]
fn collections_that_come_from_outside_are_packed_or_large() {
    let mut shard = shard(1);
    for kind in [Kind::List, Kind::Set, Kind::SortedSet, Kind::Hash] {
        for (before, count) in [(0, 3), (3, 2000), (2000, 3), (3, 2000)] {
            let packed = collection(kind, count);
            let key = shard.key(b"key");
            let changes = shard.changes();
            shard.put_packed(Db(0), &key, kind, &packed, Expiry::At(Deadline(START + 100)), START);
            assert!(shard.changes() > changes, "{kind:?} of {count} after {before}");
            let found = shard.peek(Db(0), &key, START).unwrap();
            assert_eq!((found.kind, found.deadline), (kind, Some(Deadline(START + 100))));
            if matches!(kind, Kind::Set | Kind::Hash) {
                assert_eq!(found.value.is_empty(), count > 512, "{kind:?} of {count}");
            }
            let mut payload = Vec::new();
            shard.encode_value(Db(0), &key, START, &mut payload);
            let Ok(Decoded::Collection { kind: again, packed: given }) = rdb::decode(&payload) else { panic!("{kind:?}") };
            assert!(again == kind && Pack::check(kind, &given));
            assert_eq!(elements(kind, &given), elements(kind, &packed), "{kind:?} of {count} after {before}");
        }
    }
    let key = shard.key(b"key");
    assert!(shard.delete(Db(0), &key, START));
    while shard.larges.has_doomed() {
        shard.free_doomed_larges(100);
    }
    assert_eq!((shard.len(Db(0)), shard.larges.doomed_len()), (0, 0));
}

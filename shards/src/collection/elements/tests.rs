//! Sets and hashes against a map, packed and large: what they hold, what changed, what they give back.

use super::*;
use crate::collection::PackLimits;
use crate::key::{KeySeed, PartitionId};
use crate::shard::{Deadline, Expiry, ShardConfig};
use crate::snapshot::{SnapshotItem, Step, Tally};
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};

const NOW: u64 = 1_000;
const DB: Db = Db(0);
/// Small, so that tests cross them all the time.
const LIMITS: PackLimits = PackLimits { hash: (6, 24), int_set: 9, set: (6, 24), sorted_set: (6, 24), list: 6 };

fn shard(limits: PackLimits) -> Shard {
    let mut shard = Shard::new(ShardConfig { key_seed: KeySeed::new(5), chance_seed: 5, db_count: 1 });
    shard.pack_limits = limits;
    shard
}

type Model = BTreeMap<Vec<u8>, Vec<u8>>;

fn contents(shard: &Shard, key: &[u8], kind: Kind) -> Model {
    let mut model = Model::new();
    if let Some(view) = shard.peek_view(DB, &shard.key(key), kind, NOW).expect("its kind") {
        let elements = Elements::of(view, kind);
        elements.visit(&mut |member, value| {
            assert!(model.insert(member.to_vec(), value.to_vec()).is_none(), "a member twice");
            assert_eq!(elements.get(member), Some(value));
        });
        assert_eq!(elements.len(), model.len());
    }
    model
}

fn is_large(shard: &Shard, key: &[u8], kind: Kind) -> bool {
    matches!(shard.peek_view(DB, &shard.key(key), kind, NOW), Ok(Some(View::Large(..))))
}

#[derive(Clone, Debug)]
enum Change {
    Put(Vec<u8>, Vec<u8>),
    Remove(Vec<u8>),
    Take(usize),
}

fn member() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        6 => (0..24u32).prop_map(|number| number.to_string().into_bytes()),
        2 => (0..6u8).prop_map(|index| vec![b'a' + index; 3]),
        1 => (0..2u8).prop_map(|index| vec![b'a' + index; 25]),
        1 => Just(vec![]),
    ]
}

fn change() -> impl Strategy<Value = Change> {
    let value = prop_oneof![9 => prop::collection::vec(any::<u8>(), 0..12), 1 => prop::collection::vec(any::<u8>(), 20..200)];
    prop_oneof![
        6 => (member(), value).prop_map(|(member, value)| Change::Put(member, value)),
        4 => member().prop_map(Change::Remove),
        1 => (0..8usize).prop_map(Change::Take),
    ]
}

/// Does it to the collection and to the model, and says whether anything has changed.
fn apply(editor: &mut Editor<'_, '_>, model: &mut Model, change: &Change, kind: Kind) -> bool {
    match change {
        Change::Put(member, value) if kind == Kind::Hash => {
            assert_eq!(editor.set(member, value), model.insert(member.clone(), value.clone()).is_none());
            true
        }
        Change::Put(member, _) => {
            let is_new = editor.add(member);
            assert_eq!(is_new, model.insert(member.clone(), vec![]).is_none());
            is_new
        }
        Change::Remove(member) => {
            let was_there = editor.remove(member);
            assert_eq!(was_there, model.remove(member).is_some());
            was_there
        }
        // Only members of sets are taken.
        Change::Take(count) if kind == Kind::Set && *count < model.len() => {
            let mut taken = BTreeSet::new();
            editor.take(*count, &mut |member| assert!(taken.insert(member.to_vec()), "taken twice"));
            assert_eq!(taken.len(), *count);
            assert!(taken.iter().all(|member| model.remove(member).is_some()));
            *count > 0
        }
        Change::Take(_) => false,
    }
}

/// What must be large, and may have become so before.
fn must_be_large(model: &Model, kind: Kind) -> bool {
    let lengths_fit = |limit| model.iter().all(|(member, value)| member.len() <= limit && value.len() <= limit);
    match kind {
        Kind::Hash => model.len() > LIMITS.hash.0 || !lengths_fit(LIMITS.hash.1),
        _ => {
            let is_whole = model.keys().all(|member| crate::number::parse_i64(member).is_some());
            let is_short = model.len() <= LIMITS.set.0 && lengths_fit(LIMITS.set.1);
            !(is_short || (is_whole && model.len() <= LIMITS.int_set))
        }
    }
}

proptest! {
    #[test]
    fn a_collection_is_what_was_done_to_it(
        is_hash: bool, deadline in prop::option::of(Just(Deadline(90_000))), commands in prop::collection::vec(prop::collection::vec(change(), 1..5), 1..60)
    ) {
        let kind = if is_hash { Kind::Hash } else { Kind::Set };
        let (mut shard, mut model) = (shard(LIMITS), Model::new());
        let idle_bytes = {
            // Tables of the database come with the first key, and stay.
            let key = shard.key(b"k");
            shard.put(DB, &key, Kind::String, b"v", Expiry::Never, NOW);
            shard.delete(DB, &key, NOW);
            shard.used_bytes()
        };
        let mut was_large = false;
        for command in &commands {
            let (before, existed) = (shard.changes(), !model.is_empty());
            let key = shard.key(b"k");
            let mut editor = Editor::open(&mut shard, DB, key, kind, NOW).unwrap();
            let mut has_changed = false;
            for change in command {
                has_changed |= apply(&mut editor, &mut model, change, kind);
            }
            editor.close();
            prop_assert_eq!(shard.changes() != before, has_changed && (existed || !model.is_empty()));
            prop_assert_eq!(&contents(&shard, b"k", kind), &model);
            let large = is_large(&shard, b"k", kind);
            prop_assert!(large || !must_be_large(&model, kind), "{:?} is packed", model);
            was_large = (was_large || large) && !model.is_empty();
            prop_assert!(model.is_empty() || large == was_large, "a large collection stays one");
            if !existed && !model.is_empty() {
                shard.set_deadline(DB, &key, deadline, NOW);
            }
            prop_assert_eq!(shard.peek(DB, &key, NOW).map(|found| found.deadline), (!model.is_empty()).then_some(deadline));
            shard.check();
        }
        let key = shard.key(b"k");
        // The same on another shard.
        if let Some(record) = shard.export(DB, &key, NOW) {
            let mut other = self::shard(LIMITS);
            other.import(DB, &key, &record, NOW).unwrap();
            prop_assert_eq!(contents(&other, b"k", kind), model);
            prop_assert_eq!(other.digest(DB, NOW), shard.digest(DB, NOW));
            other.check();
        }
        // What is gone gives all its memory back.
        shard.delete(DB, &key, NOW);
        shard.tick(100_000, 100_000);
        shard.tick(200_000, 100_000);
        shard.check();
        prop_assert!(shard.used_bytes() <= idle_bytes + shard.memory().dead + shard.memory().wheel, "{} of {idle_bytes}", shard.used_bytes());
    }

    #[test]
    fn a_walk_gives_what_was_there_when_it_began(
        is_hash: bool, first in prop::collection::vec(change(), 1..40), then in prop::collection::vec(change(), 1..40)
    ) {
        let kind = if is_hash { Kind::Hash } else { Kind::Set };
        let (mut shard, mut model) = (shard(LIMITS), Model::new());
        let key = shard.key(b"k");
        let mut change_all = |shard: &mut Shard, changes: &[Change]| for change in changes {
            let mut editor = Editor::open(shard, DB, key, kind, NOW).unwrap();
            apply(&mut editor, &mut model, change, kind);
            editor.close();
        };
        change_all(&mut shard, &first);
        let (expected, len) = (shard.digest(DB, NOW), shard.len(DB));
        shard.snapshot_begin(PartitionId::of(key.slot), NOW);
        change_all(&mut shard, &then);
        let mut out = Vec::new();
        let end = loop {
            match shard.snapshot_step(10, 1_000_000, &mut out) {
                Step::More => {}
                end => break end,
            }
        };
        let Step::Done { count, digest } = end else { panic!("nothing was overturned") };
        prop_assert_eq!(count, len as u64);
        let (mut tally, mut left, mut loaded) = (Tally::default(), &out[..], self::shard(LIMITS));
        while let Some(item) = SnapshotItem::take(&mut left).unwrap() {
            if let Some((db, record)) = tally.add(&item).unwrap() {
                loaded.load(db, None, record, NOW).unwrap();
            }
        }
        let partition = PartitionId::of(key.slot);
        loaded.loaded(partition);
        let section_end = SnapshotItem::SectionEnd { partition: partition.0, count, digest };
        prop_assert!(tally.add(&section_end).is_ok());
        prop_assert_eq!(loaded.digest(DB, NOW), expected);
        loaded.check();
    }

    #[test]
    fn a_scan_shows_what_stays(len in 1..600usize, count in 1..50usize, churn in prop::collection::vec((any::<bool>(), 0..300u32), 0..200)) {
        let mut shard = shard(LIMITS);
        let key = shard.key(b"k");
        let mut editor = Editor::open(&mut shard, DB, key, Kind::Set, NOW).unwrap();
        (0..len).for_each(|index| assert!(editor.add(format!("stays:{index}").as_bytes())));
        editor.close();
        let (mut cursor, mut seen, mut churn) = (0, BTreeMap::new(), churn.iter());
        for steps in 0.. {
            prop_assert!(steps <= len, "a scan without end");
            let view = shard.peek_view(DB, &key, Kind::Set, NOW).unwrap().unwrap();
            let mut shown = 0;
            cursor = Elements::of(view, Kind::Set).scan(cursor, count, &mut |member, _| {
                *seen.entry(member.to_vec()).or_insert(0) += 1;
                shown += 1;
            });
            if cursor == 0 {
                break;
            }
            prop_assert!(shown >= count, "{shown} of {count}");
            let mut editor = Editor::open(&mut shard, DB, key, Kind::Set, NOW).unwrap();
            for (add, index) in churn.by_ref().take(20) {
                let other = format!("other:{index}");
                if *add { editor.add(other.as_bytes()) } else { editor.remove(other.as_bytes()) };
            }
            editor.close();
        }
        for index in 0..len {
            prop_assert_eq!(seen.get(format!("stays:{index}").as_bytes()), Some(&1), "stays:{}", index);
        }
    }

    #[test]
    fn samples_are_of_different_members(len in 1..400usize, count in 0..500usize, seed: u64) {
        let mut shard = shard(PackLimits { set: (200, 24), ..LIMITS });
        let key = shard.key(b"k");
        let mut editor = Editor::open(&mut shard, DB, key, Kind::Set, NOW).unwrap();
        (0..len).for_each(|index| assert!(editor.add(format!("m{index}").as_bytes())));
        editor.close();
        let view = shard.peek_view(DB, &key, Kind::Set, NOW).unwrap().unwrap();
        let (elements, mut seen) = (Elements::of(view, Kind::Set), BTreeSet::new());
        elements.sample(count, &mut Chance::new(seed), &mut |member, _| assert!(seen.insert(member) && elements.contains(member)));
        prop_assert_eq!(seen.len(), count.min(len));
    }
}

#[test]
fn no_member_is_likelier_than_another() {
    for len in [5, 40] {
        let mut shard = shard(LIMITS);
        let key = shard.key(b"k");
        let mut editor = Editor::open(&mut shard, DB, key, Kind::Set, NOW).unwrap();
        (0..len).for_each(|index| assert!(editor.add(format!("m{index}").as_bytes())));
        editor.close();
        assert_eq!(is_large(&shard, b"k", Kind::Set), len > LIMITS.set.0);
        let view = shard.peek_view(DB, &key, Kind::Set, NOW).unwrap().unwrap();
        let (elements, mut chance) = (Elements::of(view, Kind::Set), Chance::new(1));
        const DRAWS: usize = 8_000;
        for different in [1, len / 5, len / 2] {
            let mut counts = BTreeMap::new();
            for _ in 0..DRAWS / different {
                elements.sample(different, &mut chance, &mut |member, _| *counts.entry(member).or_insert(0usize) += 1);
            }
            let mean = DRAWS / different * different / len;
            assert_eq!(counts.len(), len);
            // Six standard deviations of a fair draw.
            let slack = 6.0 * (mean as f64).sqrt();
            assert!(counts.values().all(|count| (*count as f64 - mean as f64).abs() < slack), "{different} of {len}: {counts:?}");
        }
    }
}

#[test]
fn whole_numbers_are_packed_longer() {
    let mut shard = shard(LIMITS);
    let key = shard.key(b"k");
    let add = |shard: &mut Shard, members: &[&[u8]]| {
        let mut editor = Editor::open(shard, DB, key, Kind::Set, NOW).unwrap();
        members.iter().for_each(|member| assert!(editor.add(member)));
        editor.close();
        is_large(shard, b"k", Kind::Set)
    };
    assert!(!add(&mut shard, &[b"1", b"2", b"3", b"4", b"5", b"6"]));
    assert!(!add(&mut shard, &[b"7", b"8", b"-9223372036854775808"]));
    assert!(add(&mut shard, &[b"10"]));
    shard.delete(DB, &key, NOW);
    assert!(!add(&mut shard, &[b"1", b"2", b"3", b"4", b"5", b"6", b"7"]));
    assert!(add(&mut shard, &[b"x"]));
    shard.delete(DB, &key, NOW);
    assert!(!add(&mut shard, &[b"1", b"2", b"3", b"4", b"5", b"x"]));
    assert!(add(&mut shard, &[b"7"]));
}

#[test]
fn a_key_of_another_kind_is_left_alone() {
    let mut shard = shard(LIMITS);
    let key = shard.key(b"k");
    shard.put(DB, &key, Kind::String, b"v", Expiry::Never, NOW);
    for kind in [Kind::Set, Kind::Hash] {
        assert!(Editor::open(&mut shard, DB, key, kind, NOW).is_err());
        assert!(matches!(shard.peek_view(DB, &key, kind, NOW), Err(WrongKind)));
    }
}

#[test]
fn counts_that_need_another_byte() {
    let mut shard = shard(PackLimits::default());
    let key = shard.key(b"k");
    for len in [126, 127, 128, 129, 128, 127, 126] {
        let mut editor = Editor::open(&mut shard, DB, key, Kind::Hash, NOW).unwrap();
        while editor.elements().len() < len {
            let field = editor.elements().len().to_string();
            assert!(editor.set(field.as_bytes(), &[7; 64]));
        }
        while editor.elements().len() > len {
            let field = (editor.elements().len() - 1).to_string();
            assert!(editor.remove(field.as_bytes()));
        }
        editor.close();
        assert!(!is_large(&shard, b"k", Kind::Hash));
        let wanted: Model = (0..len).map(|index| (index.to_string().into_bytes(), vec![7; 64])).collect();
        assert_eq!(contents(&shard, b"k", Kind::Hash), wanted);
        assert!(Pack::check(Kind::Hash, shard.peek(DB, &key, NOW).unwrap().value));
    }
}

#[test]
fn records_of_all_lengths_are_changed_in_their_place() {
    let mut shard = shard(PackLimits { hash: (2000, 3000), ..LIMITS });
    let (key, mut chance, mut model) = (shard.key(b"k"), Chance::new(3), Model::new());
    for step in 0..3000 {
        // Grows to a few hundred fields, and some of them to more than a slot holds, and goes back to nothing.
        let puts = if step < 1500 { 9 } else { 2 };
        let field = chance.below(400).to_string().into_bytes();
        let mut editor = Editor::open(&mut shard, DB, key, Kind::Hash, NOW).unwrap();
        if chance.below(10) < puts {
            let bytes_max = if chance.below(40) == 0 { 2000 } else { 40 };
            let value = vec![step as u8; chance.below(bytes_max)];
            assert_eq!(editor.set(&field, &value), model.insert(field, value).is_none());
        } else {
            assert_eq!(editor.remove(&field), model.remove(&field).is_some());
        }
        editor.close();
        if step % 50 == 0 {
            assert_eq!(contents(&shard, b"k", Kind::Hash), model);
            assert!(model.is_empty() || Pack::check(Kind::Hash, shard.peek(DB, &key, NOW).unwrap().value));
            shard.check();
        }
    }
    assert!(!is_large(&shard, b"k", Kind::Hash));
    for field in model.keys() {
        assert!(shard.peek(DB, &key, NOW).is_some());
        let mut editor = Editor::open(&mut shard, DB, key, Kind::Hash, NOW).unwrap();
        assert!(editor.remove(field));
        editor.close();
    }
    assert!(shard.peek(DB, &key, NOW).is_none());
    shard.check();
}

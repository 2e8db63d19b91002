//! What the journal says of commands: that it is enough to do them again, and no more than happened.

use super::*;
use crate::executor::Executor;
use crate::hold::Holds;
use crate::latency::LatencyMonitor;
use crate::metrics::Metrics;
use crate::placement::CoreId;
use crate::settings::Settings;
use crate::slowlog::Slowlog;
use proptest::prelude::*;
use shards::command::{COMMANDS_BY_NUMBER, Resolved, resolve};
use shards::log::{FrameFlags, FrameHeader, entries};
use shards::wire::{Proto, split_words};
use shards::{KeySeed, ShardConfig, Slot};

const CLOCK: u64 = 1_700_000_000_000;

fn shard(seed: u64) -> Shard {
    Shard::new(ShardConfig { key_seed: KeySeed::new(seed), chance_seed: seed, db_count: 4 })
}

/// An executor whose journal is open at this level.
fn executor(ladder: &str) -> Executor {
    let mut journal = Journal::default();
    journal.set_ladder(ladder.parse().expect("a ladder"));
    journal.open(0);
    Executor {
        shard: shard(1),
        journal,
        effects: crate::replica::Effects::default(),
        turnstile: crate::turnstile::Turnstile::default(),
        depends: Lsn(0),
        holds: Holds::default(),
        granted: false,
        metrics: Metrics::default(),
        slowlog: Slowlog::new(0, 1),
        latency: LatencyMonitor::default(),
        slow_ns: u64::MAX,
        settings: Settings::default().into(),
    }
}

/// Runs a line, and says up to where its reply depends on the log.
fn run(executor: &mut Executor, db: u16, line: &str, now: u64) -> Lsn {
    let (mut bytes, mut spans, mut out) = (Vec::new(), Vec::new(), Vec::new());
    for word in split_words(line.as_bytes()).expect("balanced quotes") {
        spans.push(Span { start: bytes.len() as u32, len: word.len() as u32 });
        bytes.extend_from_slice(&word);
    }
    let args = Args::new(&bytes, &spans);
    let Resolved::Command(command) = resolve(args) else { panic!("{line} is a command") };
    let index = keys_of(COMMANDS_BY_NUMBER[usize::from(command)], args).next();
    let key = executor.shard.key(index.map_or(b"", |index| args.get(index)));
    let job = Job { command, args, key, db: Db(db), proto: Proto::Resp2, now, no_touch: false };
    executor.run(&job, &mut out, 0, || 0);
    executor.take_depends()
}

fn header(payload: &Payload) -> FrameHeader {
    FrameHeader {
        at: 0,
        first_lsn: payload.first,
        synced_lsn: Lsn(0),
        clock_ms: payload.clock_ms,
        entry_count: payload.count,
        stored_bytes: 0,
        raw_bytes: 0,
        flags: FrameFlags::ENTRIES,
        key_number: 0,
    }
}

/// Every entry of the journal as text, its number first.
fn told(journal: &mut Journal) -> Vec<String> {
    let mut all = Vec::new();
    while let Some(payload) = journal.take_payload() {
        for entry in entries(&payload.bytes, &header(&payload)) {
            let (lsn, entry) = entry.expect("our own");
            let body = match entry.body {
                Body::Command(words) => words.iter().map(String::from_utf8_lossy).collect::<Vec<_>>().join(" "),
                Body::Store { key, record } => {
                    format!("{} {}", if record.is_some() { "store" } else { "remove" }, String::from_utf8_lossy(key))
                }
                Body::Evict { key } => format!("evict {}", String::from_utf8_lossy(key)),
                Body::Tick => "tick".to_owned(),
            };
            let part = entry.part.map_or(String::new(), |part| format!(" part {}", part.number));
            all.push(format!("{} {body}{}{part}", lsn.0, if entry.in_group { " &" } else { "" }));
        }
    }
    all
}

#[test]
fn what_changes_nothing_is_not_told() {
    let mut executor = executor("batch");
    for line in ["GET a", "SET a 1", "SETNX a 2", "DEL b", "EXPIRE b 10", "PERSIST a", "DBSIZE", "APPEND a 2"] {
        run(&mut executor, 0, line, CLOCK);
    }
    assert_eq!(told(&mut executor.journal), ["1 SET a 1", "2 APPEND a 2"]);
}

#[test]
fn a_command_on_several_partitions_is_one_group() {
    let mut executor = executor("batch");
    run(&mut executor, 0, "MSET {a}1 x {b}1 y {a}2 z", CLOCK);
    run(&mut executor, 0, "RENAME {a}1 {b}2", CLOCK);
    run(&mut executor, 0, "RENAME {a}2 {a}3", CLOCK);
    run(&mut executor, 0, "DEL {a}3 {b}1 {b}2", CLOCK);
    run(&mut executor, 0, "FLUSHALL", CLOCK);
    let partition = |tag: &[u8]| PartitionId::of(Slot::of(tag));
    assert!(partition(b"b") < partition(b"a"));
    assert_eq!(
        told(&mut executor.journal),
        [
            "1 MSET {b}1 y &",
            "2 MSET {a}1 x {a}2 z",
            "3 remove {a}1 &",
            "4 store {b}2",
            "5 RENAME {a}2 {a}3",
            "6 DEL {b}1 {b}2 &",
            "7 DEL {a}3",
            "8 FLUSHALL"
        ]
    );
}

#[test]
fn what_a_command_on_collections_came_to_is_told_where_its_keys_are() {
    let mut executor = executor("batch");
    for line in [
        "RPUSH {a}l 1 2",
        "LMOVE {a}l {b}l RIGHT LEFT",
        "LMPOP 2 {b}l {a}l LEFT COUNT 9",
        "SADD {a}s m",
        "SMOVE {a}s {b}s m",
        "SPOP {b}s",
        "ZUNIONSTORE {a}z 1 {b}s",
        "GEOADD {a}g 1 2 m",
        "ZUNIONSTORE {b}z 1 {a}g",
        "GEORADIUS {a}g 1 2 9 km STORE {b}x",
        "GEORADIUS {a}g 1 2 9 km",
        "HINCRBYFLOAT {a}h f 1.5",
    ] {
        run(&mut executor, 0, line, CLOCK);
    }
    assert_eq!(
        told(&mut executor.journal),
        [
            "1 RPUSH {a}l 1 2",
            "2 RPOP {a}l &",
            "3 LPUSH {b}l 2",
            "4 LPOP {b}l 9",
            "5 SADD {a}s m",
            "6 SREM {a}s m &",
            "7 SADD {b}s m",
            "8 DEL {b}s",
            "9 GEOADD {a}g 1 2 m",
            "10 store {b}z",
            "11 store {b}x",
            "12 HSET {a}h f 1.5"
        ]
    );
}

#[test]
fn a_part_is_named_on_every_entry_and_there_even_if_it_did_nothing() {
    let mut executor = executor("batch");
    let tag = |number| PartTag {
        joint: JointId { core: CoreId(1), number },
        mode: PartMode::Held,
        participants: [CoreId(0), CoreId(1)].as_slice().into(),
        line: 0,
    };
    executor.journal.begin_part(tag(7));
    run(&mut executor, 0, "MSET {a}1 x {b}1 y", CLOCK);
    assert_eq!(executor.journal.end_part(CLOCK), Lsn(2));
    executor.journal.begin_part(tag(8));
    run(&mut executor, 0, "DEL none", CLOCK);
    assert_eq!(executor.journal.end_part(CLOCK), Lsn(3));
    run(&mut executor, 0, "SET c z", CLOCK);
    assert_eq!(told(&mut executor.journal), ["1 MSET {b}1 y & part 7", "2 MSET {a}1 x part 7", "3 tick part 8", "4 SET c z"]);
}

#[test]
fn what_is_durable_is_not_safe_while_a_crash_could_cut_it() {
    let mut executor = executor("periodic:40");
    let cut = |executor: &mut Executor, number| {
        let (joint, participants) = (JointId { core: CoreId(1), number }, [CoreId(0), CoreId(1)].as_slice().into());
        executor.journal.begin_part(PartTag { joint, mode: PartMode::Cut, participants, line: 0 });
        run(executor, 0, "SET a 1", CLOCK);
        executor.journal.end_part(CLOCK)
    };
    run(&mut executor, 0, "SET a 1", CLOCK);
    executor.journal.begin_turn(MonotonicNs(1_000_000));
    assert_eq!((cut(&mut executor, 7), executor.journal.line_due()), (Lsn(2), Some(MonotonicNs(16_000_000))));
    run(&mut executor, 0, "SET b 1", CLOCK);
    executor.journal.take_payload().expect("three entries");
    executor.journal.note_synced(Lsn(3));
    assert_eq!((executor.journal.synced(), executor.journal.safe()), (Lsn(3), Lsn(1)));

    // All of it is durable here, and late all the same: another core's part may be missing.
    executor.journal.begin_turn(MonotonicNs(41_000_000));
    assert_eq!(run(&mut executor, 0, "SET b 2", CLOCK), Lsn(4));

    // A part behind the line is not what the line makes safe.
    assert_eq!(executor.journal.draw_line(), Some(Lsn(4)));
    assert_eq!(cut(&mut executor, 8), Lsn(5));
    executor.journal.note_synced(Lsn(5));
    assert_eq!(executor.journal.safe(), Lsn(1));
    executor.journal.pass_line();
    assert_eq!((executor.journal.safe(), executor.journal.has_open_cut()), (Lsn(4), true));
    assert_eq!(executor.journal.draw_line(), Some(Lsn(5)));
    executor.journal.pass_line();
    assert_eq!((executor.journal.safe(), executor.journal.line_due(), executor.journal.draw_line()), (Lsn(5), None, None));
}

#[test]
fn a_stronger_level_waits_for_what_a_crash_could_still_cut() {
    let mut executor = executor("periodic:40");
    let (joint, participants) = (JointId { core: CoreId(1), number: 1 }, [CoreId(0), CoreId(1)].as_slice().into());
    executor.journal.begin_part(PartTag { joint, mode: PartMode::Cut, participants, line: 0 });
    run(&mut executor, 0, "SET a 1", CLOCK);
    executor.journal.end_part(CLOCK);
    executor.journal.set_ladder("batch".parse().expect("a ladder"));
    assert_eq!(run(&mut executor, 0, "SET b 1", CLOCK), Lsn(2));
    executor.journal.take_payload().expect("two entries");
    executor.journal.note_synced(Lsn(2));
    assert_eq!(run(&mut executor, 0, "GET b", CLOCK), Lsn(2), "durable here, and cut if another core's part is missing");
    assert_eq!(executor.journal.line_due(), Some(MonotonicNs(0)), "somebody waits");
}

#[test]
fn a_reply_depends_on_what_it_tells_of() {
    let mut executor = executor("batch");
    assert_eq!(run(&mut executor, 0, "GET a", CLOCK), Lsn(0));
    assert_eq!(run(&mut executor, 0, "SET a 1", CLOCK), Lsn(1));
    assert_eq!(run(&mut executor, 0, "SET b 1", CLOCK), Lsn(2));
    assert_eq!(run(&mut executor, 0, "GET a", CLOCK), Lsn(1));
    assert_eq!(run(&mut executor, 0, "SETNX a 2", CLOCK), Lsn(1), "it tells of the value that was in its way");
    assert_eq!(run(&mut executor, 0, "MGET none a b", CLOCK), Lsn(2));
    assert_eq!(run(&mut executor, 0, "DBSIZE", CLOCK), Lsn(2));
    assert_eq!(executor.journal.taken(), Lsn(0));
    executor.journal.take_payload().expect("two entries");
    assert_eq!(executor.journal.taken(), Lsn(2));
    executor.journal.note_synced(Lsn(1));
    assert_eq!(run(&mut executor, 0, "GET a", CLOCK), Lsn(0));
    assert_eq!(run(&mut executor, 0, "GET b", CLOCK), Lsn(2));
    assert_eq!(run(&mut executor, 0, "FLUSHALL", CLOCK), Lsn(3));
    assert_eq!(run(&mut executor, 0, "GET other", CLOCK), Lsn(3), "it may have been there");
}

#[test]
fn the_level_says_how_far_a_reply_may_run_ahead() {
    let depends = |ladder: &str, count: u64| {
        let mut executor = executor(ladder);
        (0..count).map(|_| run(&mut executor, 0, "SET a 1", CLOCK)).last().expect("at least one")
    };
    assert_eq!(depends("every:3", 2), Lsn(0));
    assert_eq!(depends("every:3", 3), Lsn(1));
    assert_eq!(depends("periodic:10", 9), Lsn(0));
    assert_eq!(depends("none", 9), Lsn(0));
    assert_eq!(depends("none 1=batch", 9), Lsn(0));
    let mut late = executor("periodic:10");
    run(&mut late, 0, "SET a 1", CLOCK);
    late.journal.begin_turn(MonotonicNs(9_999_999));
    assert_eq!(run(&mut late, 0, "SET a 2", CLOCK), Lsn(0));
    late.journal.begin_turn(MonotonicNs(10_000_000));
    assert_eq!(run(&mut late, 0, "SET a 3", CLOCK), Lsn(3));
    assert_eq!(run(&mut late, 0, "GET a", CLOCK), Lsn(0), "reads go on");
}

#[test]
fn only_what_a_namespace_that_is_logged_holds_is_told() {
    let mut executor = executor("none 1=batch");
    for (db, line) in [
        (0, "SET a 1"),
        (1, "SET b 1"),
        (1, "MOVE b 0"),
        (0, "MOVE a 1"),
        (1, "COPY a c DB 0"),
        (0, "COPY c d DB 1"),
        (0, "DEL c"),
        (1, "DEL a"),
    ] {
        run(&mut executor, db, line, CLOCK);
    }
    assert_eq!(told(&mut executor.journal), ["1 SET b 1", "2 remove b", "3 store a", "4 store d", "5 DEL a"]);
}

fn line() -> impl Strategy<Value = String> {
    let key = || prop::sample::select(vec!["a", "b", "c", "{a}2", "{b}2"]);
    prop_oneof![
        (key(), 0..100u32).prop_map(|(key, value)| format!("SET {key} {value}")),
        (key(), 1..400u32).prop_map(|(key, ms)| format!("SET {key} brief PX {ms}")),
        (key(), 1..400u32).prop_map(|(key, ms)| format!("PEXPIRE {key} {ms}")),
        key().prop_map(|key| format!("APPEND {key} x")),
        key().prop_map(|key| format!("GETDEL {key}")),
        key().prop_map(|key| format!("GET {key}")),
        (key(), key(), key()).prop_map(|(a, b, c)| format!("MSET {a} 1 {b} 2 {c} 3")),
        (key(), key()).prop_map(|(a, b)| format!("MSETNX {a} 1 {b} 2")),
        (key(), key(), key()).prop_map(|(a, b, c)| format!("DEL {a} {b} {c}")),
        (key(), key()).prop_map(|(a, b)| format!("RENAME {a} {b}")),
        (key(), key(), 0..4u16).prop_map(|(a, b, db)| format!("COPY {a} {b} DB {db} REPLACE")),
        (key(), 0..4u16).prop_map(|(a, db)| format!("MOVE {a} {db}")),
        (key(), key(), key()).prop_map(|(a, b, c)| format!("BITOP XOR {a} {b} {c}")),
        (0..4u16, 0..4u16).prop_map(|(a, b)| format!("SWAPDB {a} {b}")),
        Just("FLUSHDB".to_owned()),
    ]
}

proptest! {
    #[test]
    fn what_is_told_makes_the_same_again(lines in prop::collection::vec((0..4u16, line(), 0..50u64), 1..80)) {
        let mut executor = executor("batch");
        let mut now = CLOCK;
        for (db, line, ms) in &lines {
            now += ms;
            run(&mut executor, *db, line, now);
        }
        let mut again = shard(2);
        let (mut last, mut clock) = (Lsn(0), 0);
        while let Some(payload) = executor.journal.take_payload() {
            for entry in entries(&payload.bytes, &header(&payload)) {
                let (lsn, entry) = entry.expect("our own");
                prop_assert_eq!(lsn, Lsn(last.0 + 1));
                prop_assert!(entry.clock_ms >= clock && entry.part.is_none());
                (last, clock) = (lsn, entry.clock_ms);
                again.replay(&entry, &|_| true).expect("our own");
            }
        }
        prop_assert_eq!(last, executor.journal.last());
        for db in (0..4).map(Db) {
            prop_assert_eq!(again.digest(db, now), executor.shard.digest(db, now), "namespace {}", db.0);
        }
    }
}

//! What is said of commands, word by word.

use super::*;
use crate::executor::Executor;
use crate::hold::Holds;
use crate::journal::Journal;
use crate::latency::LatencyMonitor;
use crate::metrics::Metrics;
use crate::settings::Settings;
use crate::slowlog::Slowlog;
use crate::turnstile::Turnstile;
use shards::command::{Resolved, keys_of, resolve};
use shards::log::Lsn;
use shards::wire::{Proto, Span, split_words};
use shards::{KeySeed, PartitionId, ShardConfig, Slot};

const NOW: u64 = 1_700_000_000_000;

/// An executor of one core whose effects are on and who knows of every partition.
fn executor() -> Executor {
    let mut executor = Executor {
        shard: Shard::new(ShardConfig { key_seed: KeySeed::new(1), chance_seed: 1, db_count: 4 }),
        journal: Journal::default(),
        effects: Effects::default(),
        turnstile: Turnstile::default(),
        granted: false,
        depends: Lsn(0),
        holds: Holds::default(),
        metrics: Metrics::default(),
        slowlog: Slowlog::new(0, 1),
        latency: LatencyMonitor::default(),
        slow_ns: u64::MAX,
        settings: Settings::default().into(),
    };
    executor.shard.note_expired(true);
    executor.effects.prepare(1, 0);
    executor.effects.end_walk();
    said(&mut executor);
    executor
}

/// Runs a line in a database, at a moment after [`NOW`].
fn run(executor: &mut Executor, db: u16, line: &str, after_ms: u64) {
    let (mut bytes, mut spans, mut out) = (Vec::new(), Vec::new(), Vec::new());
    for word in split_words(line.as_bytes()).expect("balanced quotes") {
        spans.push(Span { start: bytes.len() as u32, len: word.len() as u32 });
        bytes.extend_from_slice(&word);
    }
    let args = Args::new(&bytes, &spans);
    let Resolved::Command(command) = resolve(args) else { panic!("{line} is a command") };
    let index = keys_of(COMMANDS_BY_NUMBER[usize::from(command)], args).next();
    let key = executor.shard.key(index.map_or(b"", |index| args.get(index)));
    let job = Job { command, args, key, db: Db(db), proto: Proto::Resp2, now: NOW + after_ms, no_touch: false };
    executor.run(&job, &mut out, 0, || 0);
}

/// Everything said since the last time, words behind each other, commands apart.
fn said(executor: &mut Executor) -> String {
    let mut text = String::new();
    for piece in executor.effects.take() {
        let (Piece::Commands(chunk) | Piece::Everywhere { chunk, .. }) = piece else {
            text += &format!("{piece:?}; ");
            continue;
        };
        text += &format!("[{}] ", chunk.first.0);
        let bytes = String::from_utf8(chunk.bytes).expect("text");
        let mut lines = bytes.split("\r\n");
        while let Some(count) = lines.next().and_then(|head| head.strip_prefix('*')) {
            let words: Vec<&str> = (0..count.parse().expect("a number")).filter_map(|_| lines.nth(1)).collect();
            text += &(words.join(" ") + "; ");
        }
    }
    text
}

#[track_caller]
fn check(executor: &mut Executor, db: u16, line: &str, expected: &str) {
    run(executor, db, line, 0);
    let got = said(executor).replace(&(NOW + 50).to_string(), "<soon>").replace(&(NOW + 60_000).to_string(), "<later>");
    assert_eq!(got.trim_end_matches("; "), expected, "{line}");
}

#[test]
fn what_hangs_on_the_moment_or_is_unknown_to_redis_is_said_by_what_came_of_it() {
    let mut executor = executor();
    for (line, expected) in [
        ("SET a 1", "[0] SET a 1"),
        ("GET a", ""),
        ("SET a 2 PX 50", "[0] SET a 2 PXAT <soon>"),
        ("SET a 3 NX", ""),
        ("SET a 3 KEEPTTL", "[0] SET a 3 PXAT <soon>"),
        ("SET a 4 IFEQ 9", ""),
        ("SET a 4 IFEQ 3", "[0] SET a 4"),
        ("INCR a", "[0] INCR a"),
        ("INCRBYFLOAT a 0.5", "[0] SET a 5.5"),
        ("EXPIRE a 60", "[0] PEXPIREAT a <later>"),
        ("GETEX a PERSIST", "[0] PERSIST a"),
        ("PERSIST a", ""),
        ("APPEND a x", "[0] APPEND a x"),
        ("SETRANGE a 2 yy", "[0] SETRANGE a 2 yy"),
        ("DELIFEQ a no", ""),
        ("DELIFEQ a 5.yyx", ""),
        ("RENAME a b", "[0] MULTI; DEL a; SET b 5.yy; EXEC"),
        ("COPY b c DB 2", "[2] SET c 5.yy"),
        ("MOVE b 3", "[0] MULTI; DEL b; SELECT 3; SET b 5.yy; EXEC"),
        ("MSET k 1 l 2", "[0] MSET k 1 l 2"),
        ("MSETNX k 1 m 2", ""),
        ("MSETNX m 1 n 2", "[0] MULTI; SET m 1; SET n 2; EXEC"),
        ("DEL k nothing", "[0] DEL k nothing"),
        ("DEL nothing", ""),
        ("PEXPIRE l -1", "[0] DEL l"),
        ("SETBIT bits 1 1", "[0] SETBIT bits 1 1"),
        ("BITOP AND m m n", "[0] SET m 0"),
        ("GETDEL m", "[0] DEL m"),
        ("SWAPDB 0 1", "[0] SWAPDB 0 1"),
        ("FLUSHALL ASYNC", "[0] FLUSHALL ASYNC"),
    ] {
        check(&mut executor, 0, line, expected);
    }
}

#[test]
fn who_expired_is_said_before_what_is_done_to_the_key() {
    let mut executor = executor();
    for line in ["SET a 1 PX 10", "SET b 1 PX 10", "SET c 1 PX 10"] {
        run(&mut executor, 1, line, 0);
    }
    said(&mut executor);
    run(&mut executor, 1, "APPEND a x", 20);
    run(&mut executor, 1, "GET b", 20);
    executor.shard.tick(NOW + 20, 100);
    executor.tell_removed(NOW + 20);
    assert_eq!(said(&mut executor), "[1] DEL a; APPEND a x; DEL b; DEL c; ");
}

#[test]
fn a_partition_that_was_not_walked_is_told_what_its_keys_have_become() {
    let mut executor = executor();
    let long = "l".repeat(VALUE_BYTES_LONG);
    run(&mut executor, 0, &format!("SET long {long}"), 0);
    said(&mut executor);
    executor.effects.prepare(2, 0);
    check(&mut executor, 0, "INCR n", "Prepared(2); [0] SET n 1");
    // Before the replica listens nothing is known to it, whatever was said.
    check(&mut executor, 0, "APPEND long x", &format!("[0] SET long {long}x"));
    check(&mut executor, 0, "APPEND long x", &format!("[0] SET long {long}xx"));
    executor.effects.note_heard();
    check(&mut executor, 0, "INCR n", "[0] SET n 2");
    check(&mut executor, 0, "APPEND long x", &format!("[0] SET long {long}xxx"));
    check(&mut executor, 0, "APPEND long y", "[0] APPEND long y");
    check(&mut executor, 0, "EXPIRE long 60", "[0] PEXPIREAT long <later>");
    let PartitionId(partition) = PartitionId::of(Slot::of(b"n"));
    executor.effects.note_walked(partition - 1);
    check(&mut executor, 0, "INCR n", "[0] SET n 3");
    executor.effects.note_walked(partition);
    check(&mut executor, 0, "INCR n", "[0] INCR n");
    executor.effects.end_walk();
    check(&mut executor, 0, "DECR n", "[0] DECR n");
}

#[test]
fn more_than_may_wait_is_given_up_and_nothing_is_said_any_more() {
    let mut executor = executor();
    let value = vec![b'v'; 1 << 20];
    for number in 0..WAITING_BYTES_MAX >> 20 {
        executor.effects.record_removal(Db(0), &value);
        assert!(executor.effects.is_on(), "{number} MiB may wait");
    }
    executor.effects.push(Piece::Walked(7));
    executor.effects.record_removal(Db(0), &value);
    executor.effects.record_removal(Db(0), &value);
    assert_eq!(said(&mut executor), "Walked(7); Broken(\"more was written than could be passed on\"); ");
    check(&mut executor, 0, "SET a 1", "");
}

//! A log of what commands did gives the same data again, however many shards it is replayed on.

use super::any_words::{shard_commands, word};
use proptest::prelude::*;
use shards::command::{COMMANDS_BY_NUMBER, Call, Command, Flags, Handler, Keys, Resolved, Spread, keys_of, resolve};
use shards::log::{Body, Entry, FrameFlags, FrameHeader, Lsn, PARTITION_ALL, encode, encode_command, entries};
use shards::wire::{Args, Proto, Reply, Span};
use shards::{Db, Eviction, KeySeed, Lfu, PartitionId, Shard, ShardConfig, Slot};

const START: u64 = 2_000_000_000_000;
const DBS: u16 = 3;

fn shard(seed: u64) -> Shard {
    Shard::new(ShardConfig { key_seed: KeySeed::new(seed), chance_seed: seed, db_count: DBS })
}

/// What a core does with a log, in the smallest form.
struct Logged {
    shard: Shard,
    payload: Vec<u8>,
    count: u32,
    now: u64,
}

impl Logged {
    fn entries(&self) -> impl Iterator<Item = (Lsn, Entry<'_>)> {
        let header = FrameHeader {
            at: 0,
            first_lsn: Lsn(1),
            synced_lsn: Lsn(0),
            clock_ms: START,
            entry_count: self.count,
            stored_bytes: 0,
            raw_bytes: 0,
            flags: FrameFlags::ENTRIES,
            key_number: 0,
        };
        entries(&self.payload, &header).map(Result::unwrap)
    }

    fn note_victims(&mut self) {
        let (payload, count, now) = (&mut self.payload, &mut self.count, self.now);
        self.shard.drain_victims(&mut |db, key| {
            let partition = PartitionId::of(Slot::of(key)).0;
            encode(&Entry { partition, db, clock_ms: now, in_group: false, part: None, body: Body::Evict { key } }, START, payload);
            *count += 1;
        });
    }

    fn ask(&mut self, db: Db, request: &[Vec<u8>]) {
        let (mut bytes, mut spans, mut out) = (Vec::new(), Vec::new(), Vec::new());
        for word in request {
            spans.push(Span { start: bytes.len() as u32, len: word.len() as u32 });
            bytes.extend_from_slice(word);
        }
        let args = Args::new(&bytes, &spans);
        let Resolved::Command(number) = resolve(args) else { return };
        let command = COMMANDS_BY_NUMBER[usize::from(number)];
        let Handler::Shard(handler) = command.handler else { return };
        let keys: Vec<_> = keys_of(command, args).map(|index| self.shard.key(args.get(index))).collect();
        let partition = keys.first().map_or(PARTITION_ALL, |key| key.partition().0);
        if keys.iter().any(|key| key.partition().0 != partition) {
            return;
        }
        if command.flags.has(Flags::DENYOOM) && !self.shard.make_room(self.now) {
            return;
        }
        self.note_victims();
        let before = self.shard.changes();
        let key = keys.first().copied().unwrap_or_else(|| self.shard.key(b""));
        handler(&mut self.shard, &mut Call { args, key, db, now: self.now, reply: Reply::new(&mut out, Proto::Resp2) });
        if self.shard.changes() != before {
            assert!(command.flags.has(Flags::WRITE), "{} is no write", command.full_name);
            assert_ne!(out[0], b'-', "{} failed half-way", command.full_name);
            match self.shard.retold() {
                None => {
                    encode_command(partition, db, self.now, START, args, &mut self.payload);
                    self.count += 1;
                }
                Some(retold) => {
                    for args in retold.commands() {
                        encode_command(partition, db, self.now, START, args, &mut self.payload);
                        self.count += 1;
                    }
                }
            }
        }
    }
}

fn digests(shards: &[&Shard], now: u64) -> Vec<u64> {
    (0..DBS).map(|db| shards.iter().fold(0, |digest, shard| digest ^ shard.digest(Db(db), now))).collect()
}

/// A command whose keys are all in one of a few partitions, or any of those without keys.
fn request() -> impl Strategy<Value = Vec<Vec<u8>>> {
    (0..shard_commands().len(), 0..6u8).prop_flat_map(|(index, tag)| {
        let command = shard_commands()[index];
        let name: Vec<Vec<u8>> = command.full_name.split('|').map(Vec::from).collect();
        let least = usize::from(command.arity.unsigned_abs()) - name.len();
        let most = if command.arity < 0 { least + 4 } else { least };
        let key = (0..4u8).prop_map(move |key| format!("{{{tag}}}{key}").into_bytes());
        let first = if command.keys == Keys::None { word(command) } else { prop_oneof![9 => key.clone(), 1 => word(command)].boxed() };
        let other = prop_oneof![1 => key, 2 => (0..3u8).prop_map(|db| db.to_string().into_bytes()), 3 => word(command)];
        (first, prop::collection::vec(other, least.max(1) - 1..=most.max(1) - 1)).prop_map(move |(first, others)| {
            let words = if most == 0 { vec![] } else { [vec![first], others].concat() };
            name.iter().cloned().chain(words).collect()
        })
    })
}

/// Writes that fit, so that there is something to do things with.
fn plain() -> impl Strategy<Value = Vec<Vec<u8>>> {
    (0..6u8, 0..4u8, 1..3000usize, prop::option::of(1..5000u64)).prop_map(|(tag, key, bytes, ttl)| {
        let mut words = vec![b"SET".to_vec(), format!("{{{tag}}}{key}").into_bytes(), vec![b'1'; bytes]];
        if let Some(ttl) = ttl {
            words.extend([b"PX".to_vec(), ttl.to_string().into_bytes()]);
        }
        words
    })
}

/// Lists that are not packed any more.
fn long_list() -> impl Strategy<Value = Vec<Vec<u8>>> {
    (0..6u8, 0..4u8, 2..6usize, 1000..5000usize).prop_map(|(tag, key, count, bytes)| {
        let words = [b"RPUSH".to_vec(), format!("{{{tag}}}{key}").into_bytes()];
        words.into_iter().chain((0..count).map(|number| vec![b'1' + number as u8; bytes])).collect()
    })
}

/// Members of sets, and fields of hashes, few and many.
fn elements() -> impl Strategy<Value = Vec<Vec<u8>>> {
    let name = prop::sample::select(vec!["SADD", "SREM", "HSET", "HDEL"]);
    (name, 0..6u8, 0..4u8, 0..150usize, prop_oneof![3 => 1..10usize, 1 => 1..150usize]).prop_map(|(name, tag, key, first, count)| {
        let mut words = vec![name.as_bytes().to_vec(), format!("{{{tag}}}{key}").into_bytes()];
        for index in first..first + count {
            words.push(format!("m{index}").into_bytes());
            if name == "HSET" {
                words.push(vec![b'v'; index % 70]);
            }
        }
        words
    })
}

/// Sorted sets of few members and of many.
fn ranked() -> impl Strategy<Value = Vec<Vec<u8>>> {
    (0..6u8, 0..4u8, 1..300u32, 1..50u32).prop_map(|(tag, key, members, scores)| {
        let pairs = (0..members).flat_map(|member| [(member % scores).to_string(), member.to_string()].map(String::into_bytes));
        [b"ZADD".to_vec(), format!("{{{tag}}}{key}").into_bytes()].into_iter().chain(pairs).collect()
    })
}

#[derive(Clone, Debug)]
enum Step {
    Ask(u16, Vec<Vec<u8>>),
    Pass(u64),
    Tick,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0..DBS, plain()).prop_map(|(db, request)| Step::Ask(db, request)),
        1 => (0..DBS, long_list()).prop_map(|(db, request)| Step::Ask(db, request)),
        4 => (0..DBS, elements()).prop_map(|(db, request)| Step::Ask(db, request)),
        2 => (0..DBS, ranked()).prop_map(|(db, request)| Step::Ask(db, request)),
        12 => (0..DBS, request()).prop_map(|(db, request)| Step::Ask(db, request)),
        2 => (0..800u64).prop_map(Step::Pass),
        1 => Just(Step::Tick),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn a_log_gives_the_same_data_again_on_any_number_of_shards(
        steps in prop::collection::vec(step(), 1..150), budget in prop::option::weighted(0.4, 40_000..200_000usize), bound in 0..257u16
    ) {
        let mut logged = Logged { shard: shard(1), payload: Vec::new(), count: 0, now: START };
        logged.shard.note_victims(true);
        logged.shard.set_eviction(Eviction::AllKeysLru, Lfu::default());
        logged.shard.set_memory_budget(budget);
        for step in steps {
            match step {
                Step::Ask(db, request) => logged.ask(Db(db), &request),
                Step::Pass(ms) => logged.now += ms,
                Step::Tick => {
                    logged.shard.tick(logged.now, 1000);
                    logged.note_victims();
                }
            }
        }
        let (mut whole, mut lower, mut upper) = (shard(2), shard(3), shard(4));
        for (_, entry) in logged.entries() {
            whole.replay(&entry, &|_| true).unwrap();
            lower.replay(&entry, &|partition| partition < bound).unwrap();
            upper.replay(&entry, &|partition| partition >= bound).unwrap();
        }
        let now = logged.now;
        let expected = digests(&[&logged.shard], now);
        prop_assert_eq!(digests(&[&whole], now), expected.clone());
        prop_assert_eq!(digests(&[&lower, &upper], now), expected);
        for shard in [&mut whole, &mut lower, &mut upper] {
            shard.check();
            // What was cleared goes, and takes its memory along.
            while shard.tick(now, 1000) > 0 || shard.backlog() > 0 {}
            shard.check();
        }
    }
}

/// What is replayed for each partition on its own: there must be no other.
#[test]
fn writes_everywhere_are_those_that_replay_knows() {
    let all: Vec<&str> = COMMANDS_BY_NUMBER
        .iter()
        .filter(|command| command.flags.has(Flags::WRITE) && (command.spread == Spread::Everywhere || command.keys == Keys::None))
        .map(|command: &&Command| command.full_name)
        .collect();
    assert_eq!(all, ["flushall", "flushdb", "swapdb"]);
}

#[test]
fn entries_that_nobody_writes_are_refused_and_change_nothing() {
    let mut shard = shard(1);
    let mut refuse = |partition: u16, db: u16, words: &[&str], why: &str| {
        let (mut payload, mut bytes, mut spans) = (Vec::new(), Vec::new(), Vec::new());
        for word in words {
            spans.push(Span { start: bytes.len() as u32, len: word.len() as u32 });
            bytes.extend_from_slice(word.as_bytes());
        }
        encode_command(partition, Db(db), START, START, Args::new(&bytes, &spans), &mut payload);
        let logged = Logged { shard: self::shard(9), payload, count: 1, now: START };
        let (_, entry) = logged.entries().next().unwrap();
        let refused = shard.replay(&entry, &|_| true).unwrap_err();
        assert_eq!(refused.why, why);
        assert_eq!(digests(&[&shard], START), [0, 0, 0]);
    };
    let own = PartitionId::of(Slot::of(b"k")).0;
    refuse(own, 3, &["SET", "k", "v"], "an entry of database 3, and there are 3: set `databases` as it was");
    refuse(own + 1, 0, &["SET", "k", "v"], "a key outside its entry's partition");
    refuse(own, 0, &["MSET", "k", "v", "other", "v"], "a key outside its entry's partition");
    refuse(256, 0, &["SET", "k", "v"], "an entry of partition 256");
    refuse(own, 0, &["SAT", "k", "v"], "'SAT' is no command of this version, or has other arguments");
    refuse(own, 0, &["PING"], "ping changes no data");
    refuse(own, 0, &["FLUSHALL"], "flushall has no keys");
    refuse(own, 0, &["INCRBY", "k", "x"], "incrby answers -ERR value is not an integer or out of range");
    refuse(PARTITION_ALL, 0, &["SET", "k", "v"], "set does not write everywhere");
    refuse(PARTITION_ALL, 0, &["SWAPDB", "0", "3"], "swapdb of databases that there are not");
}

#[test]
fn victims_are_told_once_and_only_if_asked_for() {
    for noted in [false, true] {
        let mut shard = shard(1);
        shard.note_victims(noted);
        shard.set_eviction(Eviction::AllKeysRandom, Lfu::default());
        for index in 0..2000 {
            let bytes = format!("key:{index}");
            let key = shard.key(bytes.as_bytes());
            shard.put(Db(1), &key, shards::Kind::String, &[b'v'; 100], shards::shard::Expiry::Never, START);
        }
        shard.set_memory_budget(Some(shard.used_bytes() / 2));
        let (mut told, changes) = (Vec::new(), shard.changes());
        while shard.is_over_budget() {
            assert!(shard.make_room(START));
            shard.drain_victims(&mut |db, key| told.push((db, key.to_vec())));
        }
        let len = told.len();
        assert_eq!(len as u64, if noted { shard.counts().evicted } else { 0 });
        assert_eq!(changes, shard.changes(), "nobody's command did this");
        told.sort();
        told.dedup();
        assert_eq!(told.len(), len);
        assert!(told.iter().all(|(db, key)| *db == Db(1) && shard.peek(Db(1), &shard.key(key), START).is_none()));
        shard.drain_victims(&mut |_, _| panic!("told twice"));
    }
}

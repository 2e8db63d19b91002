//! Replicas of another kind: what they are given and told makes them hold what the server holds.

use netio::sim::Chance;
use shards::rdb::{Entry, Item, Reader, Value};
use shards::wire::{Limits, Parsed, parse};
use simulation::{Client, Recipe, World};
use std::collections::BTreeMap;
use std::time::Duration;

/// A key of a database, and what it holds until when.
type Keys = BTreeMap<(u16, Vec<u8>), (Vec<u8>, Option<u64>)>;

/// What Redis does with a master's keys and commands. It expires nothing by itself.
#[derive(Default)]
struct Replica {
    id: String,
    offset: u64,
    keys: Keys,
    db: u16,
    /// What has come and was not understood yet.
    bytes: Vec<u8>,
    commands: Vec<String>,
    /// Commands that wait for `EXEC`.
    transaction: Option<Vec<Vec<Vec<u8>>>>,
}

impl Replica {
    fn greet(world: &mut World, client: &mut Client) {
        assert_eq!(world.ask(client, "PING").to_string(), "+PONG");
        assert_eq!(world.ask(client, "REPLCONF listening-port 7777").to_string(), "+OK");
        assert_eq!(world.ask(client, "REPLCONF capa eof capa psync2").to_string(), "+OK");
    }

    /// Asks for the keys, takes them while `meanwhile` happens, and says that it has them.
    fn follow(world: &mut World, client: &mut Client, mut meanwhile: impl FnMut(&mut World)) -> Replica {
        Replica::greet(world, client);
        client.send("PSYNC ? -1");
        let mut replica = Replica::default();
        let mut mark: Option<(String, usize)> = None;
        loop {
            meanwhile(world);
            replica.receive(world, client);
            assert!(!client.is_closed(), "let go; seed {}", world.seed);
            if mark.is_none() {
                mark = replica.take_head();
            }
            let Some((mark, at)) = &mark else { continue };
            if replica.bytes.len() < at + mark.len() || !replica.bytes.ends_with(mark.as_bytes()) {
                continue;
            }
            let end = replica.bytes.len() - mark.len();
            let file = std::mem::take(&mut replica.bytes);
            replica.load(&file[..end]);
            replica.acknowledge(client);
            return replica;
        }
    }

    fn receive(&mut self, world: &mut World, client: &mut Client) {
        world.turn_all();
        if !world.net.busy() {
            world.net.advance_to_next_event();
        }
        client.pump();
        self.bytes.extend(client.take_bytes());
    }

    /// `+FULLRESYNC id offset`, then `$EOF:mark`.
    fn take_head(&mut self) -> Option<(String, usize)> {
        while self.bytes.first() == Some(&b'\n') {
            self.bytes.remove(0);
        }
        let text = String::from_utf8_lossy(&self.bytes).into_owned();
        let (first, rest) = text.split_once("\r\n")?;
        let (second, _) = rest.split_once("\r\n")?;
        let words: Vec<&str> = first.split(' ').collect();
        assert_eq!((words[0], words[1].len()), ("+FULLRESYNC", 40), "{first}");
        (self.id, self.offset) = (words[1].to_owned(), words[2].parse().expect("an offset"));
        let mark = second.strip_prefix("$EOF:").expect("a file whose length is not known").to_owned();
        assert_eq!(mark.len(), 40);
        self.bytes.drain(..first.len() + second.len() + 4);
        Some((mark, 1))
    }

    fn load(&mut self, file: &[u8]) {
        let mut reader = Reader::begin(file).expect("a head");
        loop {
            match reader.next().expect("a file that is whole, checksum and all") {
                Item::Key(Entry { db, key, value: Value::String(value), expires_at_ms }) => {
                    let before = self.keys.insert((db as u16, key.to_vec()), (value.to_vec(), expires_at_ms));
                    assert!(before.is_none(), "a key that came twice: {}", key.escape_ascii());
                }
                Item::About { .. } => {}
                Item::End => return,
                other => panic!("{other:?} was not expected"),
            }
        }
    }

    fn acknowledge(&self, client: &mut Client) {
        client.send(&format!("REPLCONF ACK {}", self.offset));
    }

    /// Carries out what has come.
    fn carry_out(&mut self, client: &mut Client) {
        let mut spans = Vec::new();
        let mut at = 0;
        while let Parsed::Request { bytes } = {
            spans.clear();
            parse(&self.bytes[at..], &Limits::OPEN, &mut spans)
        } {
            let words: Vec<Vec<u8>> =
                spans.iter().map(|span| self.bytes[at + span.start as usize..][..span.len as usize].to_vec()).collect();
            at += bytes;
            self.offset += bytes as u64;
            self.take(words, client);
        }
        self.bytes.drain(..at);
    }

    fn take(&mut self, words: Vec<Vec<u8>>, client: &mut Client) {
        let text: Vec<String> = words.iter().map(|word| word.escape_ascii().to_string()).collect();
        self.commands.push(text.join(" "));
        let name = text[0].to_ascii_lowercase();
        match (&mut self.transaction, name.as_str()) {
            (None, "multi") => self.transaction = Some(Vec::new()),
            (Some(_), "exec") => {
                let commands = self.transaction.take().expect("just seen");
                commands.iter().for_each(|words| self.apply(words));
            }
            (Some(queue), _) => queue.push(words),
            (None, "replconf") => self.acknowledge(client),
            (None, _) => self.apply(&words),
        }
    }

    fn apply(&mut self, words: &[Vec<u8>]) {
        let name = words[0].to_ascii_lowercase();
        let db = self.db;
        let number = |word: &[u8]| String::from_utf8_lossy(word).parse::<i64>().expect("a number");
        let key = |index: usize| (db, words[index].clone());
        match name.as_slice() {
            b"ping" => {}
            b"select" => self.db = number(&words[1]) as u16,
            b"set" => {
                let deadline = words.get(4).map(|at| number(at) as u64);
                assert!(words.len() == 3 || (words.len() == 5 && words[3] == b"PXAT"), "{:?}", self.commands.last());
                self.keys.insert(key(1), (words[2].clone(), deadline));
            }
            b"del" | b"unlink" => words[1..].iter().for_each(|word| drop(self.keys.remove(&(db, word.clone())))),
            b"mset" => words[1..].chunks(2).for_each(|pair| drop(self.keys.insert((db, pair[0].clone()), (pair[1].clone(), None)))),
            b"append" => self.keys.entry(key(1)).or_default().0.extend_from_slice(&words[2]),
            b"incr" | b"incrby" | b"decr" | b"decrby" => {
                let by = words.get(2).map_or(1, |by| number(by));
                let value = &mut self.keys.entry(key(1)).or_insert_with(|| (b"0".to_vec(), None)).0;
                *value = (number(value) + if name.starts_with(b"decr") { -by } else { by }).to_string().into_bytes();
            }
            b"pexpireat" => {
                if let Some(entry) = self.keys.get_mut(&key(1)) {
                    entry.1 = Some(number(&words[2]) as u64);
                }
            }
            b"persist" => {
                if let Some(entry) = self.keys.get_mut(&key(1)) {
                    entry.1 = None;
                }
            }
            b"setrange" => {
                let from = number(&words[2]) as usize;
                let value = &mut self.keys.entry(key(1)).or_default().0;
                value.resize(value.len().max(from + words[3].len()), 0);
                value[from..from + words[3].len()].copy_from_slice(&words[3]);
            }
            b"flushall" => self.keys.clear(),
            b"flushdb" => self.keys.retain(|(of, _), _| *of != db),
            b"swapdb" => {
                let (a, b) = (number(&words[1]) as u16, number(&words[2]) as u16);
                let turned = |of: u16| {
                    if of == a {
                        b
                    } else if of == b {
                        a
                    } else {
                        of
                    }
                };
                self.keys = std::mem::take(&mut self.keys).into_iter().map(|((of, key), entry)| ((turned(of), key), entry)).collect();
            }
            _ => panic!("a replica was sent {:?}", self.commands.last()),
        }
    }

    /// Turns until it has carried out everything that was written before.
    fn catch_up(&mut self, world: &mut World, client: &mut Client) {
        let mut asker = world.client();
        asker.send("WAIT 1 0");
        for _ in 0..200_000 {
            self.receive(world, client);
            self.carry_out(client);
            asker.pump();
            if let Some(reply) = asker.take_reply() {
                assert_eq!(reply.integer(), 1);
                return;
            }
            assert!(!client.is_closed(), "let go; seed {}", world.seed);
        }
        panic!("it does not catch up; seed {}", world.seed);
    }
}

/// What the server holds, asked key by key.
fn contents(world: &mut World, client: &mut Client, dbs: u16) -> Keys {
    let mut found = Keys::new();
    for db in 0..dbs {
        world.ask(client, &format!("SELECT {db}"));
        for key in world.ask(client, "KEYS *").parts().to_vec() {
            let key = key.text();
            let value = world.ask(client, &format!("GET {key}")).text().into_bytes();
            let deadline = world.ask(client, &format!("PEXPIRETIME {key}")).integer();
            found.insert((db, key.into_bytes()), (value, u64::try_from(deadline).ok()));
        }
    }
    world.ask(client, "SELECT 0");
    found
}

#[track_caller]
fn assert_same(world: &mut World, replica: &Replica) {
    let mut client = world.client();
    let ours = contents(world, &mut client, 3);
    let keys = |keys: &Keys| {
        keys.iter()
            .map(|((db, key), (value, at))| {
                format!("{db}:{} {:?} {at:?}", key.escape_ascii(), value.escape_ascii().to_string().chars().take(40).collect::<String>())
            })
            .collect::<Vec<_>>()
    };
    let (a, b) = (keys(&ours), keys(&replica.keys));
    let only_ours: Vec<_> = a.iter().filter(|line| !b.contains(line)).collect();
    let only_theirs: Vec<_> = b.iter().filter(|line| !a.contains(line)).collect();
    assert!(ours == replica.keys, "seed {}\nonly here: {only_ours:#?}\nonly there: {only_theirs:#?}", world.seed);
}

/// One command of a client that does anything.
fn command(chance: &mut Chance, round: u64, with_swaps: bool) -> String {
    let key = |chance: &mut Chance| format!("k:{}", chance.below(60));
    let (a, b) = (key(chance), key(chance));
    match chance.below(if with_swaps { 28 } else { 27 }) {
        0 => format!("SET {a} {round}"),
        1 => format!("SET {a} {round} PX {}", 20 + chance.below(400)),
        2 => format!("APPEND {a} x{round}"),
        3 => format!("APPEND long:{} y{round}", chance.below(3)),
        4 => format!("INCRBY n:{} {}", chance.below(5), chance.below(100)),
        5 => format!("DECR n:{}", chance.below(5)),
        6 => format!("INCRBYFLOAT f:{} 0.1", chance.below(3)),
        7 => format!("MSET {a} m{round} {b} m k:x m"),
        8 => format!("MSETNX {a} nx{round} {b} nx"),
        9 => format!("DEL {a} {b}"),
        10 => format!("UNLINK {a} {b} k:x"),
        11 => format!("RENAME {a} {b}"),
        12 => format!("COPY {a} {b} REPLACE"),
        13 => format!("COPY {a} {b} DB 1 REPLACE"),
        14 => format!("MOVE {a} 2"),
        15 => format!("PEXPIRE {a} {}", chance.below(300)),
        16 => format!("EXPIRE {a} -1"),
        17 => format!("GETEX {a} PX 200"),
        18 => format!("PERSIST {a}"),
        19 => format!("SETRANGE {a} {} zz", chance.below(9)),
        20 => format!("BITOP XOR {a} {b} n:1"),
        21 => format!("GETDEL {a}"),
        22 => format!("SET {a} {round} KEEPTTL"),
        23 => format!("SETEX {a} 1 s{round}"),
        24 => "SELECT 0".to_owned(),
        25 => "SELECT 1".to_owned(),
        26 if chance.one_in(20) => ["FLUSHALL", "FLUSHDB"][chance.below(2) as usize].to_owned(),
        27 if chance.one_in(8) => "SWAPDB 0 1".to_owned(),
        _ => format!("SET j:{} {round}", chance.below(300)),
    }
}

fn fill(world: &mut World, client: &mut Client) {
    for number in 0..300 {
        client.send(&format!("SET j:{number} {number}"));
        client.send(&format!("SET k:{} v PX {}", number % 60, 100 + number));
    }
    for number in 0..3 {
        client.send(&format!("SET long:{number} {}", "l".repeat(3000)));
        client.send(&format!("SELECT {number}"));
        client.send("SET in each");
    }
    client.send("SELECT 0");
    for _ in 0..610 {
        assert_eq!(world.reply(client).to_string(), "+OK");
    }
}

#[test]
fn a_replica_that_comes_while_anything_is_written_holds_what_the_server_holds() {
    for seed in 1..=24 {
        let mut chance = Chance::new(seed);
        let cores = [1, 3, 2, 5][(seed % 4) as usize];
        let recipe = Recipe::new(seed, cores);
        let mut world = World::new(if seed % 3 == 0 { recipe.with_directory("/data") } else { recipe });
        world.pass(Duration::from_millis(200));
        let mut first = world.client();
        fill(&mut world, &mut first);
        let mut writers: Vec<Client> = (0..4).map(|_| world.client()).collect();
        let mut client = world.client();
        let mut round = 0;
        let mut write = |world: &mut World, with_swaps: bool| {
            round += 1;
            let writer = &mut writers[chance.below(4) as usize];
            writer.send(&command(&mut chance, round, with_swaps));
            if chance.one_in(50) {
                world.pass(Duration::from_millis(chance.below(60)));
            }
            writer.pump();
            while writer.take_reply().is_some() {}
        };
        let mut replica = Replica::follow(&mut world, &mut client, |world| write(world, false));
        for _ in 0..400 {
            write(&mut world, true);
            replica.receive(&mut world, &mut client);
            replica.carry_out(&mut client);
        }
        // What has a deadline goes, and that is said.
        world.pass(Duration::from_secs(3));
        replica.catch_up(&mut world, &mut client);
        assert_same(&mut world, &replica);
        assert!(replica.commands.iter().any(|command| command.starts_with("DEL ")), "keys expired");
    }
}

#[test]
fn a_replica_goes_on_where_it_was_as_long_as_that_is_kept() {
    for (seed, cores) in [(1, 1), (2, 3)] {
        let mut world = World::new(Recipe::new(seed, cores).set("repl-backlog-size", "16384"));
        let (mut writer, mut client) = (world.client(), world.client());
        world.ask(&mut writer, "SET a 1");
        let mut replica = Replica::follow(&mut world, &mut client, |_| {});
        replica.catch_up(&mut world, &mut client);
        client.close();
        for number in 0..20 {
            world.ask(&mut writer, &format!("INCRBY a {number}"));
        }
        let mut again = world.client();
        Replica::greet(&mut world, &mut again);
        again.send(&format!("PSYNC {} {}", replica.id, replica.offset + 1));
        assert_eq!(world.reply(&mut again).to_string(), format!("+CONTINUE {}", replica.id));
        replica.catch_up(&mut world, &mut again);
        assert_same(&mut world, &replica);
        assert!(world.ask(&mut writer, "INFO stats").text().contains("sync_full:1\r\nsync_partial_ok:1\r\nsync_partial_err:0"));
        again.close();
        for number in 0..400 {
            world.ask(&mut writer, &format!("SET b:{number} {}", "v".repeat(100)));
        }
        // What is not kept any more, another stream's name, and what was never said.
        for (id, offset) in [(replica.id.as_str(), replica.offset + 1), (&"0".repeat(40), 5), (&replica.id, 1 << 40)] {
            let mut late = world.client();
            Replica::greet(&mut world, &mut late);
            late.send(&format!("PSYNC {id} {offset}"));
            assert!(world.reply(&mut late).text().starts_with("FULLRESYNC "), "{id} {offset}");
            late.close();
            world.pass(Duration::from_millis(300));
        }
    }
}

#[test]
fn who_may_not_follow_is_told_why() {
    simulation::check(
        r#"
        a> PSYNC ? -1
        = -ERR keys are sent without their length in advance: say REPLCONF capa eof first, …
        a> SYNC
        = -ERR keys are sent without their length in advance: …
        a> REPLCONF capa
        = -ERR syntax error
        a> REPLCONF nonsense 1
        = -ERR Unrecognized REPLCONF option: nonsense
        a> REPLCONF listening-port 70000
        = -ERR value is not an integer or out of range
        a> REPLCONF ip-address 10.0.0.7 listening-port 6380 version 9.0.0 capa dual-channel
        = +OK
        a> REPLCONF ACK 5
        =
        a> REPLCONF capa eof
        = +OK
        a> PSYNC ? x
        = -ERR value is not an integer or out of range
        a> PSYNC ? -1 FAILOVER
        = -ERR wrong number of arguments for 'psync' command
        a> REPLICAOF 10.0.0.1 6379
        = -ERR this server does not follow another one; …
        a> REPLICAOF NO ONE
        = +OK
        a> ROLE
        = ["master" :0 []]
        a> WAIT 0 0
        = :0
        a> WAIT 1 5
        = :0
        "#,
    );
    let mut world = World::new(Recipe::new(1, 2).set("requirepass", "pw"));
    let mut client = world.client();
    for line in ["PSYNC ? -1", "SYNC", "REPLCONF capa eof"] {
        assert_eq!(world.ask(&mut client, line).to_string(), "-NOAUTH Authentication required.");
    }
}

#[test]
fn replicas_are_shown_and_can_be_killed_and_one_that_speaks_is_closed() {
    for cores in [1, 3] {
        let mut world = World::new(Recipe::new(5, cores));
        let (mut other, mut client) = (world.client(), world.client());
        let mut replica = Replica::follow(&mut world, &mut client, |_| {});
        world.ask(&mut other, "SET a 1");
        replica.catch_up(&mut world, &mut client);
        let info = world.ask(&mut other, "INFO replication").text();
        assert!(info.contains("role:master\r\nconnected_slaves:1\r\nslave0:ip="), "{info}");
        let of = |offset: u64| format!(",port=7777,state=online,offset={offset},lag=0\r\n");
        assert!(info.contains(&of(replica.offset)) && info.contains(&format!("master_replid:{}\r\n", replica.id)), "{info}");
        assert!(info.contains(&format!("master_repl_offset:{}\r\n", replica.offset)), "{info}");
        let role = world.ask(&mut other, "ROLE").to_string();
        assert!(role.ends_with(&format!("\"7777\" \"{}\"]]]", replica.offset)), "{role}");
        assert!(world.ask(&mut other, "CLIENT LIST TYPE replica").text().contains(" flags=S "));
        assert_eq!(world.ask(&mut other, "CLIENT KILL TYPE replica").integer(), 1);
        world.closed(&mut client);
        world.pass(Duration::from_millis(300));
        assert!(world.ask(&mut other, "INFO replication").text().contains("connected_slaves:0\r\n"));

        let mut speaks = world.client();
        let _ = Replica::follow(&mut world, &mut speaks, |_| {});
        speaks.send("GET a");
        world.closed(&mut speaks);
    }
}

#[test]
fn who_wants_the_keys_only_gets_a_file_and_the_end() {
    for cores in [1, 3] {
        let mut world = World::new(Recipe::new(6, cores));
        let mut writer = world.client();
        fill(&mut world, &mut writer);
        let mut client = world.client();
        for line in ["REPLCONF capa eof", "REPLCONF rdb-only 1"] {
            assert_eq!(world.ask(&mut client, line).to_string(), "+OK");
        }
        client.send("SYNC");
        world.closed(&mut client);
        let bytes = client.take_bytes();
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let (head, _) = text.trim_start_matches('\n').split_once("\r\n").expect("a line");
        let mark = head.strip_prefix("$EOF:").expect("a mark");
        assert!(bytes.ends_with(mark.as_bytes()));
        let begin = bytes.windows(5).position(|window| window == b"REDIS").expect("a file");
        let mut replica = Replica::default();
        replica.load(&bytes[begin..bytes.len() - mark.len()]);
        assert_same(&mut world, &replica);
        assert!(world.ask(&mut writer, "INFO replication").text().contains("repl_backlog_active:0\r\n"), "nobody listens");
    }
}

#[test]
fn a_replica_that_does_not_read_is_let_go_and_nobody_else_notices() {
    for cores in [1, 3] {
        let mut world = World::new(Recipe::new(7, cores).set("client-output-buffer-limit", "replica 300000 0 0"));
        let (mut writer, mut asleep, mut awake) = (world.client(), world.client(), world.client());
        let mut replica = Replica::follow(&mut world, &mut awake, |_| {});
        let _ = Replica::follow(&mut world, &mut asleep, |_| {});
        let value = "v".repeat(1000);
        let mut written = 0;
        while world.ask(&mut writer, "INFO replication").text().contains("connected_slaves:2") {
            for _ in 0..50 {
                written += 1;
                assert_eq!(world.ask(&mut writer, &format!("SET k:{written} {value}")).to_string(), "+OK");
                replica.receive(&mut world, &mut awake);
                replica.carry_out(&mut awake);
            }
            assert!(written < 3000, "it holds {written} values for who does not read");
        }
        assert!(written > 300, "let go after {written} values");
        world.closed(&mut asleep);
        replica.catch_up(&mut world, &mut awake);
        assert_same(&mut world, &replica);
    }
}

#[test]
fn databases_exchanged_while_keys_are_given_end_that_and_it_begins_again() {
    let mut world = World::new(Recipe::new(8, 3));
    let mut writer = world.client();
    // More than may be on its way to a socket that nobody reads.
    let value = "v".repeat(100_000);
    for number in 0..100 {
        world.ask(&mut writer, &format!("SET k:{number} {number}{value}"));
    }
    let mut client = world.client();
    Replica::greet(&mut world, &mut client);
    client.send("PSYNC ? -1");
    world.pass(Duration::from_millis(50));
    assert!(world.ask(&mut writer, "INFO replication").text().contains("state=send_bulk"));
    world.ask(&mut writer, "SWAPDB 0 1");
    world.closed(&mut client);
    let mut client = world.client();
    let mut replica = Replica::follow(&mut world, &mut client, |_| {});
    world.ask(&mut writer, "SWAPDB 1 2");
    replica.catch_up(&mut world, &mut client);
    assert_same(&mut world, &replica);
    assert_eq!(replica.keys.len(), 100);
}

#[test]
fn snapshots_are_made_while_a_replica_is_given_the_keys() {
    for cores in [1, 3] {
        let mut world = World::new(Recipe::new(9, cores).with_directory("/data"));
        world.pass(Duration::from_millis(200));
        let mut writer = world.client();
        fill(&mut world, &mut writer);
        let mut saver = world.client();
        saver.send("SAVE");
        let mut client = world.client();
        let mut replica = Replica::follow(&mut world, &mut client, |_| {});
        assert_eq!(world.reply(&mut saver).to_string(), "+OK");
        world.pass(Duration::from_secs(1));
        replica.catch_up(&mut world, &mut client);
        assert_same(&mut world, &replica);
        assert_eq!(world.ask(&mut saver, "SAVE").to_string(), "+OK");
    }
}

#[test]
fn an_orderly_stop_tells_replicas_all_that_was_acknowledged() {
    for (seed, cores) in [(1, 1), (2, 3), (3, 3), (4, 5)] {
        let mut world = World::new(Recipe::new(seed, cores));
        let mut client = world.client();
        let mut replica = Replica::follow(&mut world, &mut client, |_| {});
        replica.catch_up(&mut world, &mut client);
        let mut writers: Vec<Client> = (0..4).map(|_| world.client()).collect();
        let mut told = vec![0; writers.len()];
        for (index, writer) in writers.iter_mut().enumerate() {
            for number in 0..500 {
                writer.queue_bytes(format!("SET {index}:{number} v\r\n").as_bytes());
            }
        }
        let (mut turns, mut asked, mut stopper) = (0, false, world.client());
        while !world.cores.iter().all(|core| core.is_stopped()) {
            turns += 1;
            assert!(turns < 100_000, "it does not stop; seed {seed}");
            for (writer, told) in writers.iter_mut().zip(&mut told) {
                writer.pump();
                while let Some(reply) = writer.take_reply() {
                    assert_eq!(reply.to_string(), "+OK");
                    *told += 1;
                }
            }
            if !asked && told.iter().sum::<usize>() > 600 {
                asked = true;
                stopper.send("SHUTDOWN NOSAVE");
            }
            replica.receive(&mut world, &mut client);
            replica.carry_out(&mut client);
        }
        world.closed(&mut client);
        replica.receive(&mut world, &mut client);
        replica.carry_out(&mut client);
        for (index, told) in told.iter().enumerate() {
            for number in 0..*told {
                let key = (0, format!("{index}:{number}").into_bytes());
                assert!(replica.keys.contains_key(&key), "{index}:{number} was acknowledged and not told; seed {seed}");
            }
        }
    }
}

#[test]
fn a_flush_of_one_core_alone_makes_replicas_begin_again() {
    let mut world = World::new(Recipe::new(3, 3).with_cluster_ports());
    let mut writer = world.client();
    fill(&mut world, &mut writer);
    let mut client = world.client();
    let mut replica = Replica::follow(&mut world, &mut client, |_| {});
    replica.catch_up(&mut world, &mut client);
    let mut node = world.client_of_core(1);
    assert_eq!(world.ask(&mut node, "FLUSHALL").to_string(), "+OK");
    world.closed(&mut client);
    let mut client = world.client();
    let mut again = Replica::follow(&mut world, &mut client, |_| {});
    assert_ne!(again.id, replica.id, "nobody may go on in a stream that has a gap");
    again.catch_up(&mut world, &mut client);
    world.pass(Duration::from_secs(1));
    again.catch_up(&mut world, &mut client);
    assert_same(&mut world, &again);
}

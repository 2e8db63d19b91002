//! Several cores, several clients: replies in order, and commands on many keys that nobody sees half done.

use netio::sim::Chance;
use simulation::{Client, Recipe, World};

/// What is asked in a pipeline, and how its reply begins.
const QUESTIONS: &[(&str, &str)] = &[
    ("SET k:1 x", "+OK"),
    ("GET k:2", ""),
    ("MGET k:1 k:2 k:3 k:4 k:5", "["),
    ("MSET k:1 a k:2 b k:3 c k:4 d", "+OK"),
    ("EXISTS k:1 k:2 k:3 k:4", ":"),
    ("DBSIZE", ":"),
    ("CLIENT ID", ":"),
    ("CONFIG GET timeout", "[\"timeout\""),
    ("INFO server", "\"# Server"),
    ("SLOWLOG LEN", ":"),
    ("KEYS nothing*", "[]"),
    ("SCAN 0 COUNT 1", "["),
    ("RENAME k:none k:other", "-ERR no such key"),
    ("NONSENSE", "-ERR unknown command 'NONSENSE'"),
    ("GET", "-ERR wrong number of arguments for 'get' command"),
];

#[test]
fn replies_leave_in_the_order_of_their_requests() {
    for (seed, cores) in [(1, 1), (2, 2), (3, 3), (4, 3), (5, 5), (6, 1)] {
        let mut world = World::new(Recipe::new(seed, cores));
        let mut chance = Chance::new(seed);
        let mut clients: Vec<(Client, Vec<String>)> = (0..4).map(|_| (world.client(), Vec::new())).collect();
        for (index, (client, expected)) in clients.iter_mut().enumerate() {
            for number in 0..300 {
                let (question, answer) = QUESTIONS[chance.below(QUESTIONS.len() as u64) as usize];
                client.send(question);
                expected.push(answer.to_owned());
                if chance.one_in(2) {
                    client.send(&format!("ECHO {index}:{number}"));
                    expected.push(format!("\"{index}:{number}\""));
                }
            }
        }
        for (client, expected) in &mut clients {
            for (position, begin) in expected.iter().enumerate() {
                let got = world.reply(client).to_string();
                assert!(got.starts_with(begin.as_str()), "reply {position}: wanted {begin}, got {got}; seed {seed}, {cores} cores");
            }
        }
    }
}

#[test]
fn a_handshake_in_one_packet_is_answered_in_order() {
    for cores in [1, 3] {
        let mut world = World::new(Recipe::new(7, cores));
        let mut client = world.client();
        for line in ["hello 3", "client SETINFO LIB-NAME ioredis", "info", "PING", "SLOWLOG LEN", "DBSIZE", "GET none"] {
            client.send(line);
        }
        let begins = ["{\"server\"", "+OK", "=txt:# Server", "+PONG", ":0", ":0", "null"];
        for begin in begins {
            let got = world.reply(&mut client).to_string();
            assert!(got.starts_with(begin), "wanted {begin}, got {got}; {cores} cores");
        }
    }
}

/// Writers set all keys to their own word, readers must never see two words; on the way the same keys are counted, deleted
/// and set only if absent, and all there is is emptied or exchanged.
#[test]
fn commands_on_many_keys_are_never_seen_half_done() {
    const KEYS: [&str; 7] = ["a", "b", "c", "d", "e", "f", "g"];
    for (seed, cores) in [(11, 2), (12, 3), (13, 3), (14, 7), (15, 5)] {
        let mut world = World::new(Recipe::new(seed, cores));
        let mut chance = Chance::new(seed);
        let mut clients: Vec<(Client, Vec<Wish>)> = (0..8).map(|_| (world.client(), Vec::new())).collect();
        for round in 0..60 {
            for (index, (client, wishes)) in clients.iter_mut().enumerate() {
                let mut keys = KEYS;
                chance.shuffle(&mut keys);
                let (line, wish) = match (index % 2, chance.below(8)) {
                    (0, 0) => (format!("DEL {}", keys.join(" ")), Wish::NoneOrAll),
                    (0, 1) => {
                        let pairs: Vec<String> = keys.iter().map(|key| format!("{key} n{index}:{round}")).collect();
                        (format!("MSETNX {}", pairs.join(" ")), Wish::Number)
                    }
                    (0, 2) => (["FLUSHALL", "FLUSHDB", "SWAPDB 0 1"][chance.below(3) as usize].to_owned(), Wish::Ok),
                    (0, _) => {
                        let pairs: Vec<String> = keys.iter().map(|key| format!("{key} w{index}:{round}")).collect();
                        (format!("MSET {}", pairs.join(" ")), Wish::Ok)
                    }
                    (_, 0) => (format!("EXISTS {}", keys.join(" ")), Wish::NoneOrAll),
                    _ => (format!("MGET {}", keys.join(" ")), Wish::OneWord),
                };
                client.send(&line);
                wishes.push(wish);
            }
        }
        for (client, wishes) in &mut clients {
            for wish in wishes.iter() {
                let got = world.reply(client);
                let fits = match wish {
                    Wish::Ok => got.to_string() == "+OK",
                    Wish::Number => matches!(got.integer(), 0 | 1),
                    Wish::NoneOrAll => got.integer() == 0 || got.integer() == KEYS.len() as i64,
                    Wish::OneWord => got.parts().iter().all(|part| *part == got.parts()[0]),
                };
                assert!(fits, "{got}; seed {seed}, {cores} cores");
            }
        }
    }
}

/// A request on two keys of one core waits because the first is held; the next of the same client, on the second key alone, must
/// not overtake it.
#[test]
fn a_request_that_waits_for_one_of_its_keys_is_not_overtaken_on_the_other() {
    for (seed, cores) in [(21, 2), (22, 3), (23, 4), (24, 5)] {
        let mut world = World::new(Recipe::new(seed, cores));
        let mut others: Vec<Client> = (0..4).map(|_| world.client()).collect();
        // One for each core to be the one that owns the keys, or not to be.
        let mut clients: Vec<Client> = (0..6).map(|_| world.client()).collect();
        for round in 0..80 {
            for (index, other) in others.iter_mut().enumerate() {
                other.send(&format!("MSET {{x}}1 o{index}:{round} a o b o c o d o"));
            }
            for (index, client) in clients.iter_mut().enumerate() {
                client.send(&format!("MSET {{x}}1 {index}:{round} {{x}}own{index} {round}"));
                client.send(&format!("GET {{x}}own{index}"));
            }
        }
        for client in &mut clients {
            for round in 0..80 {
                assert_eq!(world.reply(client).to_string(), "+OK");
                assert_eq!(world.reply(client).to_string(), format!("\"{round}\""), "seed {seed}, {cores} cores");
            }
        }
        others.iter_mut().for_each(|other| (0..80).for_each(|_| assert_eq!(world.reply(other).to_string(), "+OK")));
    }
}

/// What a reply must look like.
enum Wish {
    Ok,
    Number,
    NoneOrAll,
    OneWord,
}

#[test]
fn keys_that_move_between_cores_arrive_whole() {
    for (seed, cores) in [(21, 2), (22, 3), (23, 5)] {
        let mut world = World::new(Recipe::new(seed, cores));
        let mut a = world.client();
        world.ask(&mut a, "SET from value PX 100000");
        for number in 0..20 {
            let (from, to) = (if number == 0 { "from".to_owned() } else { format!("to:{}", number - 1) }, format!("to:{number}"));
            assert_eq!(world.ask(&mut a, &format!("RENAME {from} {to}")).to_string(), "+OK");
            assert_eq!(world.ask(&mut a, &format!("GET {to}")).to_string(), "\"value\"");
            assert!(world.ask(&mut a, &format!("PTTL {to}")).integer() > 90_000);
            assert_eq!(world.ask(&mut a, &format!("EXISTS {from}")).integer(), 0);
        }
        assert_eq!(world.ask(&mut a, "COPY to:19 copy").integer(), 1);
        assert_eq!(world.ask(&mut a, "COPY to:19 copy").integer(), 0);
        assert_eq!(world.ask(&mut a, "COPY to:19 copy DB 3").integer(), 1);
        assert_eq!(world.ask(&mut a, "BITOP NOT inverse copy").integer(), 5);
        assert_eq!(world.ask(&mut a, "BITOP XOR both inverse copy to:19").integer(), 5);
        assert_eq!(world.ask(&mut a, "GET both").to_string(), "\"\\x89\\x9e\\x93\\x8a\\x9a\"");
        assert_eq!(world.ask(&mut a, "DBSIZE").integer(), 4);
    }
}

#[test]
fn the_same_seed_is_the_same_server() {
    let history = |seed| {
        let mut world = World::new(Recipe::new(seed, 3));
        let mut clients: Vec<Client> = (0..5).map(|_| world.client()).collect();
        let mut chance = Chance::new(seed);
        for _ in 0..200 {
            let client = &mut clients[chance.below(5) as usize];
            let key = chance.below(50);
            world.ask(client, &format!("SET k:{key} {}", chance.below(1000)));
            world.ask(client, "MGET k:1 k:2 k:3 k:4");
        }
        world.net.digest()
    };
    assert_eq!(history(31), history(31));
    assert_ne!(history(31), history(32));
}

#[test]
fn a_key_without_its_value_is_refused_whatever_core_it_is_on() {
    let mut world = World::new(Recipe::new(41, 3));
    let mut client = world.client();
    for line in ["MSET k7 k1 v k0 v", "MSET a 1 b", "MSETNX a 1 b 2 c", "MSET a 1 b 2 c 3 d"] {
        let got = world.ask(&mut client, line).to_string();
        assert!(got.starts_with("-ERR wrong number of arguments for 'mset"), "{line}: {got}");
    }
    assert_eq!(world.ask(&mut client, "DBSIZE").integer(), 0);
}

#[test]
fn a_flush_through_a_cores_own_port_is_that_cores_alone_and_answered_in_order() {
    let mut world = World::new(Recipe::new(42, 3).with_cluster_ports());
    let mut client = world.client();
    for number in 0..50 {
        assert_eq!(world.ask(&mut client, &format!("SET k:{number} v")).to_string(), "+OK");
    }
    let mut node = world.client_of_core(1);
    let own = world.ask(&mut node, "DBSIZE").integer();
    assert!(own > 0, "fifty keys are on all cores");
    node.send_bytes(b"PING\r\nFLUSHALL\r\nDBSIZE\r\nFLUSHDB nonsense\r\nPING\r\n");
    for expected in ["+PONG", "+OK", ":0", "-ERR syntax error", "+PONG"] {
        assert_eq!(world.reply(&mut node).to_string(), expected);
    }
    assert_eq!(world.ask(&mut client, "DBSIZE").integer(), 50 - own);
    client.send_bytes(b"PING\r\nSWAPDB 0 99\r\nFLUSHALL\r\nDBSIZE\r\n");
    for expected in ["+PONG", "-ERR DB index is out of range", "+OK", ":0"] {
        assert_eq!(world.reply(&mut client).to_string(), expected);
    }
}

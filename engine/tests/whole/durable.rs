//! The log and its ladder on a simulated disk: who is told what when, and what is there after the power was gone.

use engine::core::Halt;
use netio::SimDisk;
use netio::sim::DiskOptions;
use simulation::{Client, Recipe, World};
use std::path::PathBuf;
use std::time::Duration;

const DIR: &str = "/data";

/// How long the disk takes for whatever it is asked, where a test looks between question and answer.
const SLOW: DiskOptions = DiskOptions { latency_ns: 20_000_000..=20_000_000, ..DISK };

/// A disk without faults.
const DISK: DiskOptions = DiskOptions {
    latency_ns: 20_000..=400_000,
    slow_one_in: 0,
    slow_ns: 0..=0,
    capacity_bytes: 1 << 30,
    full_one_in: 0,
    write_error_one_in: 0,
    sync_error_one_in: 0,
    misdirect_one_in: 0,
    rot_one_in: 0,
    lies: false,
};

/// A server that serves, with a log at this level.
fn world(seed: u64, cores: u16, durability: &str) -> World {
    let mut world = World::new(Recipe::new(seed, cores).with_directory(DIR).set("durability", durability));
    serves(&mut world);
    world
}

/// Asks until recovery is over.
fn serves(world: &mut World) {
    let mut client = world.client();
    for _ in 0..10_000 {
        let said = world.ask(&mut client, "DBSIZE").to_string();
        if !said.contains("LOADING") {
            return;
        }
    }
    panic!("recovery does not end; seed {}", world.seed);
}

fn disk(world: &World) -> SimDisk {
    world.net.disk(0)
}

/// The power fails, comes back, and the server starts on so many cores.
fn lose_power(world: &mut World, cores: u16) {
    world.cores.clear();
    disk(world).lose_power();
    world.restart(cores);
    serves(world);
}

/// Sends a line; the reply if it came within so many milliseconds.
fn answered_within(world: &mut World, client: &mut Client, line: &str, ms: u64) -> Option<String> {
    let until = world.net.now().monotonic.0 + ms * 1_000_000;
    client.send(line);
    loop {
        world.turn_all();
        if !world.net.busy() {
            world.net.advance(Duration::from_micros(100));
        }
        if world.net.now().monotonic.0 > until {
            return None;
        }
        client.pump();
        if let Some(reply) = client.take_reply() {
            return Some(reply.to_string());
        }
    }
}

#[test]
fn what_was_acknowledged_at_batch_survives_the_power() {
    for seed in 1..=12 {
        let cores = 1 + seed as u16 % 3;
        let mut world = world(seed, cores, "batch");
        let mut client = world.client();
        for number in 0..20 {
            assert_eq!(world.ask(&mut client, &format!("SET k:{number} {number}")).to_string(), "+OK");
            assert!(world.ask(&mut client, &format!("APPEND k:{} x", number / 2)).integer() > 0);
        }
        assert_eq!(world.ask(&mut client, "MSET k:1 a k:2 b k:3 c k:4 d").to_string(), "+OK");
        assert_eq!(world.ask(&mut client, "RENAME k:1 k:99").to_string(), "+OK");
        assert_eq!(world.ask(&mut client, "COPY k:2 k:98").to_string(), ":1");
        assert_eq!(world.ask(&mut client, "DEL k:3 k:4 k:0").to_string(), ":3");
        let digest = world.ask(&mut client, "DEBUG DIGEST").to_string();
        // On fewer or more cores than before, too.
        lose_power(&mut world, 1 + (seed as u16 + 1) % 3);
        let mut client = world.client();
        assert_eq!(
            world.ask(&mut client, "MGET k:1 k:99 k:2 k:98 k:3 k:5").to_string(),
            "[nil \"a\" \"b\" \"b\" nil \"5xx\"]",
            "seed {seed}"
        );
        assert_eq!(world.ask(&mut client, "DEBUG DIGEST").to_string(), digest, "seed {seed}");
        assert_eq!(world.ask(&mut client, "DBSIZE").integer(), 18, "seed {seed}");
    }
}

#[test]
fn a_flush_of_all_cores_survives_whole() {
    for seed in 1..=6 {
        let mut world = world(seed, 3, "batch");
        let mut client = world.client();
        for number in 0..10 {
            world.ask(&mut client, &format!("SET k:{number} x"));
        }
        assert_eq!(world.ask(&mut client, "SWAPDB 0 1").to_string(), "+OK");
        world.ask(&mut client, "SET kept y");
        assert_eq!(world.ask(&mut client, "SWAPDB 0 1").to_string(), "+OK");
        assert_eq!(world.ask(&mut client, "FLUSHDB").to_string(), "+OK");
        world.ask(&mut client, "SET after z");
        lose_power(&mut world, 2);
        let mut client = world.client();
        assert_eq!(world.ask(&mut client, "KEYS *").to_string(), "[\"after\"]", "seed {seed}");
        world.ask(&mut client, "SELECT 1");
        assert_eq!(world.ask(&mut client, "KEYS *").to_string(), "[\"kept\"]", "seed {seed}");
    }
}

#[test]
fn at_batch_a_reply_waits_for_the_disk_and_other_reads_do_not() {
    for cores in [1, 3] {
        let mut world = world(3, cores, "batch");
        let mut writer = world.client();
        let mut reader = world.client();
        world.ask(&mut writer, "SET old 1");
        disk(&world).set_options(SLOW);
        assert_eq!(answered_within(&mut world, &mut writer, "SET new 2", 8), None, "the disk takes 20 ms");
        // Not even somebody else may see it before it is safe, nor learn of it by a write that it makes fail.
        assert_eq!(answered_within(&mut world, &mut reader, "GET old", 4).as_deref(), Some("\"1\""));
        assert_eq!(answered_within(&mut world, &mut reader, "GET new", 4), None);
        assert_eq!(world.reply(&mut writer).to_string(), "+OK");
        assert_eq!(world.reply(&mut reader).to_string(), "\"2\"");
        assert_eq!(answered_within(&mut world, &mut reader, "GET new", 4).as_deref(), Some("\"2\""));
        assert_eq!(answered_within(&mut world, &mut writer, "SETNX new 3", 4).as_deref(), Some(":0"), "nothing was written");
    }
}

#[test]
fn replies_stay_in_order_when_some_wait_for_the_disk() {
    for (seed, cores) in [(1, 1), (2, 2), (3, 4)] {
        let mut world = world(seed, cores, "batch");
        let mut client = world.client();
        for number in 0..400 {
            match number % 4 {
                0 => client.send(&format!("SET k:{number} {number}")),
                1 => client.send(&format!("ECHO {number}")),
                2 => client.send(&format!("GET k:{}", number - 2)),
                _ => client.send(&format!("MSET a:{number} 1 b:{number} 2 c:{number} 3")),
            }
        }
        for number in 0..400 {
            let expected = match number % 4 {
                0 | 3 => "+OK".to_owned(),
                1 => format!("\"{number}\""),
                _ => format!("\"{}\"", number - 2),
            };
            assert_eq!(world.reply(&mut client).to_string(), expected, "reply {number}; seed {seed}");
        }
    }
}

#[test]
fn what_comes_turn_after_turn_shares_a_sync_and_waits_no_longer_than_it_is_worth() {
    let mut world = world(14, 1, "batch");
    let mut judge = world.client();
    let syncs = |world: &mut World, judge: &mut Client| -> u64 {
        let info = world.ask(judge, "INFO persistence").text();
        info.lines().find_map(|line| line.strip_prefix("log_syncs:")).expect("there is a log").trim().parse().expect("a number")
    };
    disk(&world).set_options(DiskOptions { latency_ns: 1..=1, ..DISK });
    let before = syncs(&mut world, &mut judge);
    // Something arrives in every turn.
    let mut clients: Vec<Client> = (0..30).map(|_| world.client()).collect();
    let step = |world: &mut World, clients: &mut [Client]| {
        clients.iter_mut().for_each(|client| client.send("INCR k"));
        world.turn_all();
        world.net.advance(Duration::from_micros(20));
        clients.iter_mut().for_each(Client::pump);
    };
    (0..50).for_each(|_| step(&mut world, &mut clients));
    for client in &mut clients {
        (0..50).for_each(|_| assert!(world.reply(client).integer() > 0));
    }
    let shared = syncs(&mut world, &mut judge) - before;
    assert!(shared <= 45, "{shared} syncs for what came in 50 turns");
    // One alone is not made to wait for others.
    let alone = world.net.now().monotonic;
    world.ask(&mut judge, "SET alone x");
    assert!(world.net.now().monotonic.since(alone) < 1_000_000);
    // And a stream that never ends does not put off its own sync for ever.
    (0..500).for_each(|_| step(&mut world, &mut clients));
    for client in &mut clients {
        let answered = std::iter::from_fn(|| client.take_reply()).count();
        assert!(answered >= 300, "{answered} of 500 in 10 ms");
    }
}

#[test]
fn a_count_bounds_what_may_be_lost() {
    let mut world = world(5, 1, "every:4");
    let mut client = world.client();
    disk(&world).set_options(SLOW);
    for number in 0..3 {
        assert_eq!(answered_within(&mut world, &mut client, &format!("SET k:{number} x"), 4).as_deref(), Some("+OK"));
    }
    assert_eq!(answered_within(&mut world, &mut client, "SET k:3 x", 8), None, "four writes would be unsynced");
    assert_eq!(world.reply(&mut client).to_string(), "+OK");
    for number in 0..50 {
        world.ask(&mut client, &format!("SET n:{number} x"));
    }
    lose_power(&mut world, 1);
    let mut client = world.client();
    let kept = world.ask(&mut client, "KEYS n:*").parts().len();
    assert!((47..=50).contains(&kept), "{kept} of 50 were kept");
}

#[test]
fn a_period_bounds_what_may_be_lost_even_on_a_slow_disk() {
    let mut world = world(6, 1, "periodic:100");
    let mut client = world.client();
    for number in 0..40 {
        assert_eq!(answered_within(&mut world, &mut client, &format!("SET k:{number} x"), 3).as_deref(), Some("+OK"), "nobody waits");
        world.pass(Duration::from_millis(10));
    }
    world.cores.clear();
    disk(&world).lose_power();
    world.restart(1);
    serves(&mut world);
    let mut client = world.client();
    let kept = world.ask(&mut client, "DBSIZE").integer();
    assert!((28..=40).contains(&kept), "{kept} of 40 were kept, one was written every 10 ms");
    // A disk that takes longer than the period: then the reply waits.
    disk(&world).set_options(DiskOptions { latency_ns: 400_000_000..=400_000_000, ..DISK });
    world.ask(&mut client, "SET slow 1");
    world.pass(Duration::from_millis(120));
    assert_eq!(answered_within(&mut world, &mut client, "SET slow 2", 50), None, "something is older than the period and not safe");
    let mut reader = world.client();
    assert_eq!(answered_within(&mut world, &mut reader, "GET slow", 50).as_deref(), Some("\"2\""), "reads go on");
}

#[test]
fn a_killed_process_loses_nothing_older_than_a_moment_at_any_level() {
    for level in ["periodic:60000", "every:100000"] {
        let mut world = world(7, 2, level);
        let mut client = world.client();
        for number in 0..30 {
            world.ask(&mut client, &format!("SET k:{number} x"));
        }
        world.pass(Duration::from_millis(50));
        world.cores.clear();
        disk(&world).kill();
        world.restart(2);
        serves(&mut world);
        let mut client = world.client();
        assert_eq!(world.ask(&mut client, "DBSIZE").integer(), 30, "{level}");
    }
}

#[test]
fn each_namespace_has_its_own_level() {
    let mut world = world(8, 2, "none 1=batch");
    let mut client = world.client();
    world.ask(&mut client, "SET gone x");
    for line in ["SELECT 1", "SET kept y", "SET moved z", "SET copied w"] {
        world.ask(&mut client, line);
    }
    assert_eq!(world.ask(&mut client, "SWAPDB 0 1").to_string().split(' ').next(), Some("-ERR"));
    assert_eq!(world.ask(&mut client, "MOVE moved 0").to_string(), ":1");
    assert_eq!(world.ask(&mut client, "COPY copied other DB 0").to_string(), ":1");
    world.ask(&mut client, "SELECT 0");
    assert_eq!(world.ask(&mut client, "COPY gone here DB 1").to_string(), ":1");
    lose_power(&mut world, 1);
    let mut client = world.client();
    assert_eq!(world.ask(&mut client, "DBSIZE").integer(), 0);
    world.ask(&mut client, "SELECT 1");
    assert_eq!(world.ask(&mut client, "MGET kept copied here moved").to_string(), "[\"y\" \"w\" \"x\" nil]");
}

#[test]
fn a_failed_sync_stops_the_core_and_releases_nothing() {
    let mut world = world(9, 1, "batch");
    let mut client = world.client();
    world.ask(&mut client, "SET a 1");
    disk(&world).set_options(DiskOptions { sync_error_one_in: 1, ..DISK });
    client.send("SET b 2");
    let halt = loop {
        let core = &mut world.cores[0];
        let wait = core.wait();
        if let Err(halt) = core.turn(wait) {
            break halt;
        }
        if !world.net.busy() {
            world.net.advance_to_next_event();
        }
    };
    let Halt::Log(why) = halt else { panic!("{halt}") };
    assert!(why.contains("sync") && why.contains("/data/log/"), "{why}");
    client.pump();
    assert!(client.take_reply().is_none(), "what failed is not acknowledged");
}

#[test]
fn a_full_disk_refuses_writes_and_recovers() {
    for cores in [1, 2] {
        let mut world = world(10, cores, "batch");
        let mut client = world.client();
        disk(&world).set_options(DiskOptions { capacity_bytes: 512 * 1024, ..DISK });
        let value = "v".repeat(2000);
        let mut written = 0;
        let refused = loop {
            let said = world.ask(&mut client, &format!("SET k:{written} {value}")).to_string();
            if said != "+OK" {
                break said;
            }
            written += 1;
            assert!(written < 2000, "never full");
        };
        assert!(refused.starts_with("-MISCONF the log's disk is full"), "{refused}");
        assert_eq!(world.ask(&mut client, "STRLEN k:0").integer(), 2000, "reads go on");
        assert_eq!(world.ask(&mut client, "GET none").to_string(), "nil");
        let info = world.ask(&mut client, "INFO persistence").to_string();
        assert!(info.contains("log_refuses_writes:1") && info.contains("aof_last_write_status:err"), "{info}");
        disk(&world).set_options(DISK);
        world.pass(Duration::from_millis(500));
        assert_eq!(world.ask(&mut client, "SET back 1").to_string(), "+OK");
        let keys = world.ask(&mut client, "DBSIZE").integer();
        lose_power(&mut world, cores);
        let mut client = world.client();
        assert_eq!(world.ask(&mut client, "DBSIZE").integer(), keys, "nothing acknowledged is missing, nothing refused is there");
    }
}

#[test]
fn what_was_evicted_or_expired_stays_away() {
    let mut world = world(11, 1, "batch");
    let mut client = world.client();
    world.ask(&mut client, "SET brief x PX 50");
    world.ask(&mut client, "SET long y PX 600000");
    world.pass(Duration::from_millis(300));
    assert_eq!(world.ask(&mut client, "GET brief").to_string(), "nil");
    lose_power(&mut world, 1);
    let mut client = world.client();
    assert_eq!(world.ask(&mut client, "MGET brief long").to_string(), "[nil \"y\"]");
    let left = world.ask(&mut client, "PTTL long").integer();
    assert!((1..=599_700).contains(&left), "{left}");
}

#[test]
fn an_orderly_stop_keeps_everything_at_every_level() {
    for level in ["periodic:3600000", "every:1000000", "batch"] {
        let mut world = world(12, 2, level);
        let mut client = world.client();
        for number in 0..30 {
            world.ask(&mut client, &format!("SET k:{number} x"));
        }
        client.send("SHUTDOWN NOSAVE");
        let mut ended = false;
        for _ in 0..100_000 {
            world.turn_all();
            ended = world.cores.iter().all(|core| core.is_stopped());
            if ended {
                break;
            }
            if !world.net.busy() {
                world.net.advance_to_next_event();
            }
        }
        assert!(ended, "{level}");
        lose_power(&mut world, 1);
        let mut client = world.client();
        assert_eq!(world.ask(&mut client, "DBSIZE").integer(), 30, "{level}");
    }
}

#[test]
fn waitaof_tells_when_all_cores_are_safe() {
    for cores in [1, 3] {
        let mut world = world(13, cores, "periodic:2000");
        let mut client = world.client();
        for number in 0..9 {
            world.ask(&mut client, &format!("SET k:{number} x"));
        }
        assert_eq!(world.ask(&mut client, "WAITAOF 0 0 0").to_string(), "[:0 :0]");
        disk(&world).set_options(SLOW);
        assert_eq!(answered_within(&mut world, &mut client, "WAITAOF 1 0 0", 10), None);
        assert_eq!(world.reply(&mut client).to_string(), "[:1 :0]");
        assert_eq!(world.ask(&mut client, "WAITAOF 0 0 0").to_string(), "[:1 :0]");
        disk(&world).set_options(DiskOptions { latency_ns: 3_000_000_000..=3_000_000_000, ..DISK });
        world.ask(&mut client, "SET k:0 y");
        assert_eq!(answered_within(&mut world, &mut client, "WAITAOF 1 0 500", 2000).as_deref(), Some("[:0 :0]"), "patience ends");
        assert_eq!(world.ask(&mut client, "GET k:0").to_string(), "\"y\"", "and the connection goes on");
        disk(&world).set_options(DISK);
        lose_power(&mut world, cores);
        let mut client = world.client();
        assert_eq!(world.ask(&mut client, "DBSIZE").integer(), 9);
    }
}

#[test]
fn who_asks_for_more_safety_has_it_when_told_so() {
    for seed in 1..=4 {
        let mut world = world(seed, 2, "periodic:60000");
        let mut client = world.client();
        for number in 0..20 {
            world.ask(&mut client, &format!("SET k:{number} x"));
        }
        assert!(world.ask(&mut client, "CLIENT INFO").to_string().contains(" durability=periodic:60000"));
        assert_eq!(world.ask(&mut client, "CONFIG SET appendfsync always").to_string(), "+OK");
        assert_eq!(world.ask(&mut client, "CONFIG GET durability").to_string(), "[\"durability\" \"batch\"]");
        lose_power(&mut world, 2);
        let mut client = world.client();
        assert_eq!(world.ask(&mut client, "DBSIZE").integer(), 20, "seed {seed}");
    }
}

#[test]
fn a_command_over_several_cores_is_there_whole_or_not_at_all() {
    for seed in 1..=40 {
        let mut world = world(seed, 3, "batch");
        let mut client = world.client();
        world.ask(&mut client, "MSET a 0 b 0 c 0 d 0 e 0 f 0");
        // The machine dies somewhere in the middle of it.
        let requests = disk(&world).requests();
        disk(&world).crash_at(requests + 1 + seed % 7);
        client.send("MSET a 1 b 1 c 1 d 1 e 1 f 1");
        for _ in 0..400 {
            world.turn_all();
            if !world.net.busy() {
                world.net.advance(Duration::from_micros(100));
            }
        }
        client.pump();
        let acknowledged = client.take_reply().is_some();
        lose_power(&mut world, 1 + seed as u16 % 4);
        let mut client = world.client();
        let after = world.ask(&mut client, "MGET a b c d e f").to_string();
        let whole = |value: &str| format!("[{}]", vec![format!("\"{value}\""); 6].join(" "));
        assert!(after == whole("1") || (!acknowledged && after == whole("0")), "{after}; seed {seed}, acknowledged: {acknowledged}");
    }
}

/// Whether what is logged still waits for the snapshot that it goes on from.
fn base_is_pending(world: &mut World, client: &mut Client) -> bool {
    world.ask(client, "INFO persistence").text().contains("log_base_pending:1")
}

#[test]
fn logging_can_be_switched_on_and_counts_when_there_is_a_snapshot_of_what_was_there() {
    for (seed, cores) in [(15, 1), (16, 2), (17, 3)] {
        let mut world = world(seed, cores, "none");
        let mut client = world.client();
        world.ask(&mut client, "MSET n 10 a 1 b 2 c 3 d 4 e 5");
        // The power fails before that snapshot is there: what is left is what would have been left without the log, which is nothing.
        disk(&world).set_options(SLOW);
        assert_eq!(world.ask(&mut client, "CONFIG SET appendonly yes").to_string(), "+OK");
        assert_eq!(world.ask(&mut client, "INCR n").to_string(), ":11");
        world.ask(&mut client, "MSET a 9 b 9 c 9 d 9 e 9");
        assert!(base_is_pending(&mut world, &mut client));
        assert!(world.ask(&mut client, "WAITAOF 1 0 0").to_string().starts_with("-ERR the log has just begun"));
        disk(&world).set_options(DISK);
        lose_power(&mut world, 1 + cores % 3);
        let mut client = world.client();
        assert_eq!(world.ask(&mut client, "DBSIZE").to_string(), ":0", "neither half of it; {cores} cores");
        // And the same once it is.
        world.ask(&mut client, "MSET n 20 a 1 b 2 c 3 d 4 e 5");
        assert_eq!(world.ask(&mut client, "CONFIG SET durability batch").to_string(), "+OK");
        world.ask(&mut client, "INCR n");
        world.pass(Duration::from_secs(3));
        assert!(!base_is_pending(&mut world, &mut client));
        world.ask(&mut client, "INCR n");
        lose_power(&mut world, 1 + cores % 3);
        let mut client = world.client();
        assert_eq!(world.ask(&mut client, "MGET n a b c d e").to_string(), "[\"22\" \"1\" \"2\" \"3\" \"4\" \"5\"]");
    }
}

#[test]
fn a_log_that_goes_on_from_a_snapshot_is_refused_without_it() {
    for (cores, file) in [(1, "manifest"), (3, "manifest"), (1, "c0000.snap"), (3, "c0000.snap")] {
        let mut world = world(18, cores, "none");
        let mut client = world.client();
        world.ask(&mut client, "SET n 10");
        assert_eq!(world.ask(&mut client, "CONFIG SET durability batch").to_string(), "+OK");
        world.pass(Duration::from_secs(3));
        assert!(!base_is_pending(&mut world, &mut client));
        world.ask(&mut client, "INCR n");
        world.pass(Duration::from_secs(1));
        world.cores.clear();
        disk(&world).lose_power();
        let file = PathBuf::from(DIR).join("snap/00000001").join(file);
        // Both copies of a header, or the first block.
        for at in if file.ends_with("manifest") { [20, 20 + 4096] } else { [4096 + 70, 4096 + 90] } {
            disk(&world).flip_bit(&file, at, 1).expect("it is there");
        }
        world.restart(cores);
        let refusal = loop {
            if let Some(refusal) = world.cores[0].refusal() {
                break refusal.to_string();
            }
            assert!(!world.cores[0].is_serving(), "it must not serve 1 for 11");
            world.turn_all();
            if !world.net.busy() {
                world.net.advance_to_next_event();
            }
        };
        assert!(refusal.contains("/data/snap"), "{refusal}");
    }
}

#[test]
fn what_is_in_no_log_cannot_be_logged_from_the_middle_on() {
    let mut world = world(14, 2, "batch 3=none");
    let mut client = world.client();
    world.ask(&mut client, "SELECT 3");
    world.ask(&mut client, "SET a x");
    let refused = world.ask(&mut client, "CONFIG SET durability batch").to_string();
    assert!(refused.starts_with("-ERR CONFIG SET failed") && refused.contains("from a start on"), "{refused}");
    assert_eq!(world.ask(&mut client, "CONFIG GET durability").to_string(), "[\"durability\" \"batch 3=none\"]");
    assert_eq!(world.ask(&mut client, "CONFIG SET durability 'periodic:100 3=none'").to_string(), "+OK", "other changes are taken");
    assert_eq!(world.ask(&mut client, "CONFIG SET appendonly no").to_string(), "+OK");
    assert_eq!(world.ask(&mut client, "CONFIG GET appendonly").to_string(), "[\"appendonly\" \"no\"]");
}

//! Snapshots on a simulated disk: what they show, what they make superfluous, and what happens when one cannot be made or read.

use engine::load::Refusal;
use netio::SimDisk;
use netio::sim::Chance;
use shards::log::{segment_of, snapshot_id};
use simulation::{Client, Recipe, World};
use std::path::PathBuf;
use std::time::Duration;

const DIR: &str = "/data";

fn recipe(seed: u64, cores: u16) -> Recipe {
    Recipe::new(seed, cores).with_directory(DIR).set("log-segment-bytes", "65536")
}

fn world(recipe: Recipe) -> World {
    let mut world = World::new(recipe);
    serves(&mut world);
    world
}

/// Waits until recovery is over.
fn serves(world: &mut World) {
    for _ in 0..20_000 {
        assert_eq!(world.cores[0].refusal(), None);
        if !world.cores.iter().any(|core| core.is_loading()) {
            return;
        }
        world.turn_all();
        if !world.net.busy() {
            world.net.advance_to_next_event();
        }
    }
    panic!("recovery does not end; seed {}", world.seed);
}

fn disk(world: &World) -> SimDisk {
    world.net.disk(0)
}

fn lose_power(world: &mut World, cores: u16) {
    world.cores.clear();
    disk(world).lose_power();
    world.restart(cores);
    serves(world);
}

/// Numbers of the snapshots that have a manifest.
fn kept(world: &World) -> Vec<u64> {
    let manifests = disk(world).files().into_iter().map(|(path, _)| path).filter(|path| path.ends_with("manifest"));
    manifests.filter_map(|path| snapshot_id(path.parent()?.file_name()?.to_str()?)).collect()
}

/// Files of the log, and their bytes.
fn log_files(world: &World) -> Vec<(PathBuf, u64)> {
    let is_log = |path: &PathBuf| path.file_name().and_then(|name| name.to_str()).is_some_and(|name| segment_of(name).is_some());
    disk(world).files().into_iter().filter(|(path, _)| is_log(path)).collect()
}

fn info(world: &mut World, client: &mut Client, field: &str) -> String {
    let text = world.ask(client, "INFO persistence").to_string();
    let from = text.find(&format!("{field}:")).unwrap_or_else(|| panic!("no {field} in {text}")) + field.len() + 1;
    text[from..].split("\\r\\n").next().expect("a value").to_owned()
}

/// All databases' contents as one number, whatever core has them.
fn digest(world: &mut World, client: &mut Client) -> String {
    world.ask(client, "DEBUG DIGEST").to_string()
}

#[test]
fn what_was_saved_is_there_on_any_number_of_cores_and_the_log_is_short() {
    for (seed, cores) in [(1, 1), (2, 2), (3, 3)] {
        let mut world = world(recipe(seed, cores));
        let mut client = world.client();
        let value = "v".repeat(300);
        for number in 0..1500 {
            world.ask(&mut client, &format!("SET k:{number} {value}{number}"));
        }
        assert!(log_files(&world).len() > 4 * usize::from(cores), "several segments each");
        assert_eq!(info(&mut world, &mut client, "rdb_changes_since_last_save"), "1500");
        let before = world.ask(&mut client, "LASTSAVE").integer();
        world.pass(Duration::from_secs(2));
        assert_eq!(world.ask(&mut client, "SAVE").to_string(), "+OK");
        assert!(world.ask(&mut client, "LASTSAVE").integer() >= before + 2);
        assert_eq!(info(&mut world, &mut client, "rdb_changes_since_last_save"), "0");
        assert_eq!((kept(&world), info(&mut world, &mut client, "rdb_saves")), (vec![1], "1".to_owned()));
        assert!(log_files(&world).len() <= 2 * usize::from(cores), "{:?}", log_files(&world));
        world.ask(&mut client, "APPEND k:7 +");
        world.ask(&mut client, "DEL k:8");
        let expected = digest(&mut world, &mut client);
        for cores in [cores, 4, 1] {
            lose_power(&mut world, cores);
            let mut client = world.client();
            assert_eq!(digest(&mut world, &mut client), expected, "seed {seed}, now {cores} cores");
            assert_eq!(world.ask(&mut client, "STRLEN k:7").integer(), 302);
        }
        // What the generations before have left goes with the second snapshot of this one.
        let mut client = world.client();
        for _ in 0..2 {
            assert_eq!(world.ask(&mut client, "SAVE").to_string(), "+OK");
        }
        assert!(log_files(&world).len() <= 2, "{:?}", log_files(&world));
        assert_eq!(kept(&world).len(), 2);
        lose_power(&mut world, 2);
        let mut client = world.client();
        assert_eq!(digest(&mut world, &mut client), expected);
    }
}

/// Clients that write whatever they like while snapshots are made one after the other.
#[test]
fn commands_go_on_while_a_snapshot_is_made_and_none_is_lost_or_done_twice() {
    for seed in 1..=8 {
        let mut chance = Chance::new(seed);
        let cores = 1 + (seed % 4) as u16;
        let mut world = world(recipe(seed, cores).set("durability", if seed % 3 == 0 { "periodic:50" } else { "batch" }));
        let mut client = world.client();
        for number in 0..400 {
            world.ask(&mut client, &format!("SET k:{number} 1"));
        }
        let mut writers: Vec<Client> = (0..4).map(|_| world.client()).collect();
        for round in 0..6 {
            assert_eq!(world.ask(&mut client, "BGSAVE").to_string(), "+Background saving started");
            while info(&mut world, &mut client, "rdb_bgsave_in_progress") == "1"
                || info(&mut world, &mut client, "rdb_saves") != (round + 1).to_string()
            {
                for writer in &mut writers {
                    let (a, b) = (chance.below(400), chance.below(400));
                    let line = match chance.below(12) {
                        0 => format!("MSET k:{a} {round} k:{b} {round}"),
                        1 => format!("RENAME k:{a} k:{b}"),
                        2 => format!("COPY k:{a} k:{b} REPLACE"),
                        3 => format!("DEL k:{a} k:{b}"),
                        4 => format!("SET k:{a} t PX {}", 1 + chance.below(30)),
                        5 if chance.one_in(20) => "FLUSHDB".to_owned(),
                        6 if chance.one_in(10) => "SWAPDB 0 1".to_owned(),
                        7 => format!("SET k:{a} {}", "x".repeat(1000)),
                        _ => format!("APPEND k:{a} {round}"),
                    };
                    world.ask(writer, &line);
                }
            }
        }
        assert_eq!(info(&mut world, &mut client, "rdb_last_bgsave_status"), "ok");
        // Nothing that has a deadline is left to change the digest.
        world.pass(Duration::from_millis(100));
        let expected = digest(&mut world, &mut client);
        assert_eq!(world.ask(&mut client, "WAITAOF 1 0 0").to_string(), "[:1 :0]");
        for cores in [cores % 3 + 1, cores] {
            lose_power(&mut world, cores);
            let mut client = world.client();
            assert_eq!(digest(&mut world, &mut client), expected, "seed {seed}, {cores} cores");
        }
    }
}

#[test]
fn a_snapshot_that_cannot_be_read_is_passed_over_for_the_one_before() {
    for seed in 1..=6 {
        let mut world = world(recipe(seed, 2));
        let mut client = world.client();
        for round in 0..3 {
            for number in 0..200 {
                world.ask(&mut client, &format!("APPEND k:{number} {round}"));
            }
            assert_eq!(world.ask(&mut client, "SAVE").to_string(), "+OK");
        }
        let expected = digest(&mut world, &mut client);
        assert_eq!(kept(&world), [2, 3]);
        let files: Vec<(PathBuf, u64)> =
            disk(&world).files().into_iter().filter(|(path, _)| path.starts_with("/data/snap/00000003")).collect();
        let (path, _) = &files[seed as usize % files.len()];
        // Behind the header, of which there are two copies; in the first block.
        disk(&world).flip_bit(path, 4096 + 100, 3).expect("the file is there");
        lose_power(&mut world, 1 + seed as u16 % 3);
        let mut client = world.client();
        assert_eq!(digest(&mut world, &mut client), expected, "seed {seed}: {}", path.display());
        // The next one takes the place of the one that cannot be used.
        assert_eq!(world.ask(&mut client, "SAVE").to_string(), "+OK");
        assert_eq!(world.ask(&mut client, "SAVE").to_string(), "+OK");
        assert_eq!(kept(&world), [4, 5]);
        // With none that can be used, and a log that begins in the middle, nothing is served.
        world.cores.clear();
        for snapshot in [4, 5] {
            disk(&world).flip_bit(&PathBuf::from(format!("/data/snap/{snapshot:08}/c0000.snap")), 4096 + 70, 1).expect("there");
        }
        world.restart(2);
        let refusal = loop {
            if let Some(refusal) = world.cores[0].refusal() {
                break refusal;
            }
            world.turn_all();
            if !world.net.busy() {
                world.net.advance_to_next_event();
            }
        };
        let Refusal::Damaged(damage) = refusal else { panic!("{refusal:?}") };
        assert!(damage.file.starts_with("/data/snap"), "{damage:?}");
    }
}

#[test]
fn snapshots_are_made_by_size_and_by_time() {
    let mut world = world(recipe(1, 2).set("snapshot-log-bytes", "200000").set("snapshot-interval-s", "60"));
    let mut client = world.client();
    world.pass(Duration::from_secs(100));
    assert_eq!(info(&mut world, &mut client, "rdb_saves"), "0", "nothing was written");
    world.ask(&mut client, "SET a 1");
    world.pass(Duration::from_secs(1));
    assert_eq!(info(&mut world, &mut client, "rdb_saves"), "1", "it was time, and there is something");
    world.pass(Duration::from_secs(100));
    assert_eq!(info(&mut world, &mut client, "rdb_saves"), "1");
    assert_eq!(world.ask(&mut client, "CONFIG SET snapshot-interval-s 0").to_string(), "+OK");
    for number in 0..150 {
        world.ask(&mut client, &format!("SET k:{number} {}", "v".repeat(1000)));
    }
    world.pass(Duration::from_secs(1));
    assert_eq!(info(&mut world, &mut client, "rdb_saves"), "2", "the log is long");
    // What a restart finds counts too.
    for number in 0..60 {
        world.ask(&mut client, &format!("SET k:{number} {}", "w".repeat(1000)));
    }
    lose_power(&mut world, 1);
    let mut client = world.client();
    for number in 0..100 {
        world.ask(&mut client, &format!("SET k:{number} {}", "x".repeat(1000)));
    }
    world.pass(Duration::from_secs(1));
    assert_eq!(info(&mut world, &mut client, "rdb_saves"), "1");
}

#[test]
fn without_a_log_what_was_saved_is_kept() {
    for (seed, cores) in [(1, 1), (2, 3)] {
        let mut world = world(recipe(seed, cores).set("durability", "none"));
        let mut client = world.client();
        for number in 0..100 {
            world.ask(&mut client, &format!("SET k:{number} saved"));
        }
        assert_eq!(world.ask(&mut client, "SAVE").to_string(), "+OK");
        world.ask(&mut client, "SET k:5 lost");
        lose_power(&mut world, 2);
        let mut client = world.client();
        assert_eq!(world.ask(&mut client, "DBSIZE").integer(), 100);
        assert_eq!(world.ask(&mut client, "GET k:5").to_string(), "\"saved\"");
    }
}

#[test]
fn a_full_disk_ends_a_snapshot_and_nothing_else() {
    let mut world = world(recipe(4, 2).set("durability", "none"));
    let mut client = world.client();
    for number in 0..300 {
        world.ask(&mut client, &format!("SET k:{number} {}", "v".repeat(1000)));
    }
    let used: u64 = disk(&world).files().iter().map(|(_, bytes)| bytes).sum();
    let options = disk(&world).options();
    disk(&world).set_options(netio::sim::DiskOptions { capacity_bytes: used + 100_000, ..options.clone() });
    let said = world.ask(&mut client, "SAVE").to_string();
    assert!(said.starts_with("-ERR the snapshot could not be made: cannot "), "{said}");
    assert_eq!(info(&mut world, &mut client, "rdb_last_bgsave_status"), "err");
    assert_eq!((kept(&world), world.ask(&mut client, "GET k:1").to_string().len()), (vec![], 1002));
    assert!(!disk(&world).files().iter().any(|(path, _)| path.starts_with("/data/snap")), "its room was given back");
    disk(&world).set_options(options);
    assert_eq!(world.ask(&mut client, "SAVE").to_string(), "+OK");
    assert_eq!(info(&mut world, &mut client, "rdb_last_bgsave_status"), "ok");
    lose_power(&mut world, 1);
    let mut client = world.client();
    assert_eq!(world.ask(&mut client, "DBSIZE").integer(), 300);
}

#[test]
fn who_waits_for_a_snapshot_is_told_that_the_server_stops() {
    for cores in [1, 3] {
        let mut world = world(recipe(7, cores));
        let mut client = world.client();
        for number in 0..300 {
            world.ask(&mut client, &format!("SET k:{number} {}", "v".repeat(1000)));
        }
        let (mut saver, mut stopper) = (world.client(), world.client());
        saver.send("SAVE");
        stopper.send("SHUTDOWN NOSAVE");
        assert_eq!(world.reply(&mut saver).to_string(), "-ERR the server is stopping: the snapshot was given up");
        world.closed(&mut saver);
    }
}

#[test]
fn power_that_fails_while_a_snapshot_is_made_costs_nothing() {
    for seed in 1..=30 {
        let cores = 1 + (seed % 3) as u16;
        let mut world = world(recipe(seed, cores));
        let mut client = world.client();
        for number in 0..60 {
            world.ask(&mut client, &format!("SET k:{number} {seed}"));
        }
        if seed % 2 == 0 {
            assert_eq!(world.ask(&mut client, "SAVE").to_string(), "+OK");
            assert_eq!(world.ask(&mut client, "SAVE").to_string(), "+OK");
            world.ask(&mut client, "APPEND k:1 +");
        }
        let expected = digest(&mut world, &mut client);
        let requests = disk(&world).requests();
        disk(&world).crash_at(requests + seed);
        client.send("BGSAVE");
        for _ in 0..3000 {
            world.turn_all();
            if !world.net.busy() {
                world.net.advance(Duration::from_micros(300));
            }
        }
        lose_power(&mut world, cores % 3 + 1);
        let mut client = world.client();
        assert_eq!(digest(&mut world, &mut client), expected, "seed {seed}");
        assert_eq!(world.ask(&mut client, "SAVE").to_string(), "+OK");
        lose_power(&mut world, cores);
        let mut client = world.client();
        assert_eq!(digest(&mut world, &mut client), expected, "seed {seed}, from the snapshot after");
    }
}

#[test]
fn one_snapshot_is_made_at_a_time_and_only_where_there_is_a_directory() {
    let mut world = world(recipe(6, 2));
    let mut client = world.client();
    for number in 0..500 {
        world.ask(&mut client, &format!("SET k:{number} v"));
    }
    assert_eq!(world.ask(&mut client, "BGREWRITEAOF").to_string(), "+Background append only file rewriting started");
    while info(&mut world, &mut client, "aof_rewrite_in_progress") == "0" {}
    assert_eq!(world.ask(&mut client, "BGSAVE").to_string(), "-ERR Background save already in progress");
    assert_eq!(world.ask(&mut client, "SAVE").to_string(), "-ERR Background save already in progress");
    assert_eq!(world.ask(&mut client, "BGSAVE NONSENSE").to_string(), "-ERR syntax error");
    while info(&mut world, &mut client, "aof_rewrite_in_progress") == "1" {}
    let mut other = world.client();
    client.send("SAVE");
    assert_eq!(world.ask(&mut other, "SET during save").to_string(), "+OK", "others go on");
    assert_eq!(world.reply(&mut client).to_string(), "+OK");
    let mut world = World::new(Recipe::new(7, 2));
    let mut client = world.client();
    for line in ["SAVE", "BGSAVE", "BGREWRITEAOF"] {
        assert!(world.ask(&mut client, line).to_string().starts_with("-ERR nothing can be saved"), "{line}");
    }
}

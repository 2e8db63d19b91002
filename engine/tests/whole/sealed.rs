//! What lies on the disk when the log is compressed and encrypted, who can read it again, and where keys never show.

use engine::keys::Keys;
use engine::load::Refusal;
use engine::seal::Compression;
use netio::sim::DiskOptions;
use shards::log::{FRAME_HEADER_BYTES, SEGMENT_HEADER_BYTES, SegmentHeader};
use simulation::{Client, Recipe, World};
use std::collections::HashMap;
use std::path::PathBuf;
use std::time::Duration;

const KEY_1: &str = "8d0f2a6c11e94b7fa3c5d7e90b1d2f4e6a8c0e1f3b5d7f90123456789abcdef1";
const KEY_2: &str = "c1a70b9d3e5f81726354a5b6c7d8e9fa0b1c2d3e4f5061728394a5b6c7d8e9f2";

/// A value that is long enough to be found, and that compresses.
const VALUE: &str = "a-value-that-nobody-else-may-read";

fn keys(lines: &[(u32, &str)]) -> Keys {
    let text: Vec<String> = lines.iter().map(|(number, key)| format!("{number} {key}")).collect();
    Keys::parse(&text.join("\n")).expect("good lines")
}

fn world(seed: u64, cores: u16, compression: Compression, keys: Keys) -> World {
    let mut recipe = Recipe::new(seed, cores).with_directory("/data");
    (recipe.settings.log_compression, recipe.settings.keys) = (compression, keys);
    let mut world = World::new(recipe);
    assert_eq!(start(&mut world), None);
    world
}

/// Waits until the server serves, or refuses.
fn start(world: &mut World) -> Option<Refusal> {
    for _ in 0..20_000 {
        if let Some(refusal) = world.cores[0].refusal() {
            return Some(refusal);
        }
        if !world.cores.iter().any(|core| core.is_loading()) {
            return None;
        }
        world.turn_all();
        if !world.net.busy() {
            world.net.advance_to_next_event();
        }
    }
    panic!("recovery does not end; seed {}", world.seed);
}

/// Kills the server; it starts again on so many cores, with these keys.
fn restart(world: &mut World, cores: u16, keys: &Keys) -> Option<Refusal> {
    world.cores.clear();
    world.net.disk(0).lose_power();
    world.settings_mut().keys = keys.clone();
    world.restart(cores);
    start(world)
}

/// Pipelines writes, so that frames are long enough to be compressed.
fn write(world: &mut World, client: &mut Client, name: &str, count: usize) {
    for number in 0..count {
        client.send(&format!("SET {name}:{number} {VALUE}:{number}"));
    }
    for number in 0..count {
        assert_eq!(world.reply(client).to_string(), "+OK", "{name}:{number}");
    }
}

#[track_caller]
fn check(world: &mut World, name: &str, count: usize) {
    let mut client = world.client();
    for number in (0..count).step_by(7) {
        assert_eq!(world.ask(&mut client, &format!("GET {name}:{number}")).to_string(), format!("\"{VALUE}:{number}\""));
    }
}

/// The segments of the log: their headers, and all that is in them.
fn segments(world: &World) -> Vec<(PathBuf, SegmentHeader, Vec<u8>)> {
    let disk = world.net.disk(0);
    let logs = disk.files().into_iter().map(|(path, _)| path).filter(|path| path.extension().is_some_and(|end| end == "log"));
    logs.map(|path| {
        let bytes = disk.contents(&path).expect("it is listed");
        let (header, _) = SegmentHeader::read(&bytes).expect("a header");
        (path, header, bytes)
    })
    .collect()
}

fn holds(bytes: &[u8], what: &[u8]) -> bool {
    bytes.windows(what.len()).any(|window| window == what)
}

/// Whether any file on the disk holds these bytes.
fn disk_holds(world: &World, what: &[u8]) -> bool {
    let disk = world.net.disk(0);
    disk.files().iter().any(|(path, _)| holds(&disk.contents(path).expect("it is listed"), what))
}

fn raw(key: &str) -> Vec<u8> {
    (0..key.len()).step_by(2).map(|at| u8::from_str_radix(&key[at..at + 2], 16).expect("hexadecimal")).collect()
}

#[test]
fn what_is_sealed_survives_the_power_and_shows_nothing() {
    let mut stored = HashMap::new();
    for (seed, compression, key) in [
        (1, Compression::None, false),
        (2, Compression::Lz4, false),
        (3, Compression::Zstd, false),
        (4, Compression::None, true),
        (5, Compression::Lz4, true),
        (6, Compression::Zstd, true),
    ] {
        let given = if key { keys(&[(1, KEY_1)]) } else { Keys::default() };
        let mut world = world(seed, 2, compression, given.clone());
        let mut client = world.client();
        write(&mut world, &mut client, "k", 600);
        let info = world.ask(&mut client, "INFO persistence").to_string();
        assert!(info.contains(&format!("log_compression:{compression}\\r\\nlog_key_number:{}\\r", u8::from(key))), "{info}");
        // Of what is compressed only, pieces may be there letter by letter, or not.
        if key || compression == Compression::None {
            assert_eq!(disk_holds(&world, VALUE.as_bytes()), !key, "{compression} {key}");
        }
        let bytes: usize = segments(&world).iter().map(|(_, _, bytes)| bytes.iter().rposition(|byte| *byte != 0).unwrap_or(0)).sum();
        stored.insert((compression.to_string(), key), bytes);
        assert_eq!(restart(&mut world, 1 + seed as u16 % 3, &given), None);
        check(&mut world, "k", 600);
        let mut client = world.client();
        assert_eq!(world.ask(&mut client, "DBSIZE").integer(), 600);
    }
    for key in [false, true] {
        let of = |name: &str| stored[&(name.to_owned(), key)];
        assert!(of("lz4") * 2 < of("none") && of("zstd") < of("lz4"), "{stored:?}");
    }
}

#[test]
fn keys_rotate_over_restarts_and_wrong_ones_are_named() {
    let (one, both, two) = (keys(&[(1, KEY_1)]), keys(&[(1, KEY_1), (2, KEY_2)]), keys(&[(2, KEY_2)]));
    let mut world = world(7, 2, Compression::Lz4, Keys::default());
    let mut client = world.client();
    write(&mut world, &mut client, "plain", 50);
    assert_eq!(restart(&mut world, 2, &one), None, "what is not encrypted is read as it is");
    let mut client = world.client();
    write(&mut world, &mut client, "one", 50);
    assert_eq!(restart(&mut world, 1, &both), None);
    let mut client = world.client();
    write(&mut world, &mut client, "two", 50);
    let mut numbers: Vec<u32> = segments(&world).iter().map(|(_, header, _)| header.key_number).collect();
    numbers.sort_unstable();
    numbers.dedup();
    assert_eq!(numbers, [0, 1, 2]);
    for (given, why) in [
        (Keys::default(), "encrypted with key 1, and no key was given"),
        (two, "encrypted with key 1, and the only key given is 2"),
        (keys(&[(1, KEY_1)]), "encrypted with key 2, and the only key given is 1"),
        (keys(&[(1, KEY_2), (2, KEY_2)]), "key 1 is not the one it was encrypted with"),
        (keys(&[(1, KEY_1), (2, KEY_1)]), "key 2 is not the one it was encrypted with"),
    ] {
        let refusal = restart(&mut world, 2, &given).expect("a key is missing or wrong");
        let said = refusal.to_string();
        assert!(matches!(refusal, Refusal::Key { .. }) && said.contains(why) && said.contains("/data/log/g"), "{said}");
        assert!(!said.contains(&KEY_1[..8]) && !said.contains(&KEY_2[..8]));
    }
    assert_eq!(restart(&mut world, 3, &both), None, "a refusal has changed nothing");
    for name in ["plain", "one", "two"] {
        check(&mut world, name, 50);
    }
}

#[test]
fn snapshots_are_sealed_as_the_log_is() {
    for (seed, compression) in [(30, Compression::None), (31, Compression::Lz4), (32, Compression::Zstd)] {
        let (one, both) = (keys(&[(1, KEY_1)]), keys(&[(1, KEY_1), (2, KEY_2)]));
        let mut world = world(seed, 2, compression, one.clone());
        let mut client = world.client();
        write(&mut world, &mut client, "one", 300);
        assert_eq!(world.ask(&mut client, "SAVE").to_string(), "+OK");
        assert_eq!(restart(&mut world, 3, &both), None);
        let mut client = world.client();
        write(&mut world, &mut client, "two", 300);
        assert_eq!(world.ask(&mut client, "SAVE").to_string(), "+OK");
        let disk = world.net.disk(0);
        let snapshots = disk.files().into_iter().map(|(path, _)| path).filter(|path| path.extension().is_some_and(|end| end == "snap"));
        let mut numbers: Vec<u32> = snapshots
            .map(|path| SegmentHeader::read(&disk.contents(&path).expect("it is listed")).expect("a header").0.key_number)
            .collect();
        numbers.dedup();
        assert_eq!(numbers, [1, 2], "of the first snapshot's files, and of the second's");
        assert!(!disk_holds(&world, VALUE.as_bytes()), "{compression}");
        // The newest is of key 2: nobody may take it for damaged, and go back to the one before.
        for (given, why) in
            [(one, "encrypted with key 2, and the only key given is 1"), (keys(&[(1, KEY_1), (2, KEY_1)]), "key 2 is not the one")]
        {
            let refusal = restart(&mut world, 2, &given).expect("a key is missing or wrong");
            assert!(matches!(refusal, Refusal::Key { .. }) && refusal.to_string().contains(why), "{refusal}");
        }
        assert_eq!(restart(&mut world, 1, &both), None);
        check(&mut world, "one", 300);
        check(&mut world, "two", 300);
    }
}

/// A file of keys that goes with the test.
struct KeyFile(PathBuf);

impl KeyFile {
    fn new(name: &str) -> KeyFile {
        KeyFile(std::env::temp_dir().join(format!("corewheel-{}-{name}", std::process::id())))
    }

    fn say(&self, text: &str) {
        std::fs::write(&self.0, text).expect("a temporary file");
    }
}

impl Drop for KeyFile {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

#[test]
fn a_new_key_is_used_without_a_restart() {
    let file = KeyFile::new("rotated");
    let mut recipe = Recipe::new(8, 2).with_directory("/data");
    recipe.settings.keys = keys(&[(1, KEY_1)]);
    recipe.settings.encryption_key_file = Some(file.0.clone());
    let mut world = World::new(recipe);
    assert_eq!(start(&mut world), None);
    let mut client = world.client();
    write(&mut world, &mut client, "before", 100);
    for (text, why) in [
        (format!("1 {KEY_2}"), "key 1 is another one than before"),
        (format!("1 {KEY_1}\n2 {}", &KEY_2[1..]), "line 2: a key is 64 hexadecimal digits"),
        (String::new(), "there is no key"),
    ] {
        file.say(&text);
        let said = world.ask(&mut client, "CONFIG SET encryption-reload yes").to_string();
        assert!(said.contains(why) && !said.contains(&KEY_2[1..9]), "{said}");
    }
    assert!(world.ask(&mut client, "INFO persistence").to_string().contains("log_key_number:1\\r"), "a refused file changes nothing");
    file.say(&format!("1 {KEY_1}\n2 {KEY_2}\n"));
    assert_eq!(world.ask(&mut client, "CONFIG SET encryption-reload yes").to_string(), "+OK");
    assert!(world.ask(&mut client, "INFO persistence").to_string().contains("log_key_number:2\\r"));
    // Two segments of each core, of which the first may have been ready before.
    write(&mut world, &mut client, "after", 4000);
    let newest = |core: u16| {
        let mut of_core: Vec<_> = segments(&world).into_iter().filter(|(_, header, _)| header.stream.core == core).collect();
        of_core.sort_by_key(|(_, header, _)| header.seq);
        (of_core[0].1.key_number, of_core.last().map(|(_, header, _)| header.key_number))
    };
    assert_eq!((newest(0), newest(1)), ((1, Some(2)), (1, Some(2))));
    assert_eq!(restart(&mut world, 1, &keys(&[(1, KEY_1), (2, KEY_2)])), None);
    check(&mut world, "before", 100);
    check(&mut world, "after", 4000);
}

#[test]
fn no_place_in_a_file_is_ever_written_twice_under_one_key() {
    for seed in 20..26 {
        let given = keys(&[(1, KEY_1)]);
        let mut world = world(seed, 2, Compression::Lz4, given.clone());
        let options = world.net.disk(0).options();
        // What was seen once at a place: header and all.
        let mut seen: HashMap<(PathBuf, u64), Vec<u8>> = HashMap::new();
        let mut prefixes: HashMap<PathBuf, u32> = HashMap::new();
        for round in 0..30 {
            if round % 10 == 9 {
                assert_eq!(restart(&mut world, 1 + (seed as u16 + round) % 3, &given), None, "seed {seed}");
            }
            let mut client = world.client();
            write(&mut world, &mut client, &format!("r{round}"), 40);
            // A disk that is full for a while gets the same frame again.
            world.net.disk(0).set_options(DiskOptions { full_one_in: 3, ..options.clone() });
            client.send("SET again 1");
            world.pass(Duration::from_millis(120));
            world.net.disk(0).set_options(options.clone());
            world.reply(&mut client);
            for (path, header, bytes) in segments(&world) {
                assert_eq!(*prefixes.entry(path.clone()).or_insert(header.nonce_prefix), header.nonce_prefix, "seed {seed}");
                let mut at = SEGMENT_HEADER_BYTES;
                while bytes.get(at..at + 4) == Some(b"CWFR") {
                    let stored = u32::from_le_bytes(bytes[at + 8..at + 12].try_into().expect("four bytes")) as usize;
                    let frame = &bytes[at..at + FRAME_HEADER_BYTES + stored];
                    let first = seen.entry((path.clone(), at as u64)).or_insert_with(|| frame.to_vec());
                    assert_eq!(first, frame, "{} at {at}; seed {seed}", path.display());
                    at = (at + frame.len()).next_multiple_of(header.align_bytes as usize);
                }
            }
        }
        assert!(seen.len() > 100 && prefixes.len() > 4, "{} frames in {} files", seen.len(), prefixes.len());
        let mut drawn: Vec<u32> = prefixes.into_values().collect();
        let files = drawn.len();
        drawn.sort_unstable();
        drawn.dedup();
        assert_eq!(drawn.len(), files, "prefixes are drawn anew for every file");
    }
}

#[test]
fn keys_show_nowhere() {
    let file = KeyFile::new("hidden");
    file.say(&format!("1 {KEY_1}\n2 {KEY_2}\n"));
    let mut recipe = Recipe::new(9, 1).with_directory("/data");
    recipe.settings.keys = keys(&[(1, KEY_1)]);
    recipe.settings.encryption_key_file = Some(file.0.clone());
    let shown = format!("{:?}", recipe.settings);
    let mut world = World::new(recipe);
    assert_eq!(start(&mut world), None);
    let mut client = world.client();
    let mut said = shown;
    for line in [
        "CONFIG SET encryption-reload yes",
        "CONFIG GET *",
        "INFO everything",
        "CLIENT LIST",
        "SLOWLOG GET",
        "MEMORY STATS",
        "DEBUG OBJECT none",
        "COMMAND DOCS CONFIG",
    ] {
        said.push_str(&world.ask(&mut client, line).to_string());
    }
    write(&mut world, &mut client, "k", 100);
    said.push_str(&restart(&mut world, 1, &keys(&[(1, KEY_2)])).expect("a wrong key").to_string());
    said.push_str(&format!("{:?}", world.cores[0].refusal()));
    assert!(said.contains("encryption-key-file") && said.contains("the only key given is 1"), "the right things were asked for: {said}");
    for key in [KEY_1, KEY_2] {
        // Eight digits in a row, in either case, and four bytes as they are or as numbers in a list.
        let lower = said.to_ascii_lowercase();
        for at in 0..=key.len() - 8 {
            assert!(!lower.contains(&key[at..at + 8]), "{said}");
        }
        let bytes = raw(key);
        assert!(!said.contains(&format!("{}, {}, {}", bytes[0], bytes[1], bytes[2])));
        for what in [&bytes[..4], &bytes[28..], key.as_bytes()] {
            assert!(!disk_holds(&world, what), "on the disk");
        }
    }
}

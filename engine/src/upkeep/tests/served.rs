//! Directories that a server wrote, after something happened to them: it starts exactly where that is what was said, and
//! after a repair.

use super::super::check::{Verdict, examine};
use super::super::home::Home;
use super::super::repair::{Way, repair};
use super::{Scratch, flip, read};
use engine::keys::Keys;
use engine::machine::{Failure, Machine};
use engine::options::{IoChoice, ServerOptions, Switch};
use shards::log::{FRAME_HEADER_BYTES, SEGMENT_HEADER_BYTES, segment_of};
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};

/// A server on a directory, two cores, one segment soon full.
fn start(root: &Path) -> Machine {
    start_with(root, ServerOptions::default())
}

fn start_with(root: &Path, more: ServerOptions) -> Machine {
    let options = ServerOptions {
        port: Some(0),
        dir: Some(root.to_owned()),
        cores: Some("0,0".parse().expect("two shards")),
        io: Some(IoChoice::Epoll),
        log_segment_bytes: Some("64kb".into()),
        cluster_ports: Some(Switch::Off),
        ..more
    };
    let Ok(config) = options.into_config() else { panic!("these flags are right") };
    crate::start(config).unwrap_or_else(|failure| panic!("{failure}"))
}

/// A client's connection, and the reply to each line it sends.
struct Client(BufReader<TcpStream>);

impl Client {
    fn ask(&mut self, line: &str) -> Option<String> {
        self.0.get_mut().write_all(format!("{line}\r\n").as_bytes()).ok()?;
        let mut reply = String::new();
        self.0.read_line(&mut reply).ok().filter(|bytes| *bytes > 0)?;
        Some(reply.trim_end().to_string())
    }

    /// Once the server serves; `None` if it refuses to.
    fn connect(machine: &Machine) -> Option<Client> {
        loop {
            let connected = TcpStream::connect(("127.0.0.1", machine.settings.port));
            let Ok(stream) = connected else { return None };
            let mut client = Client(BufReader::new(stream));
            match client.ask("PING") {
                Some(reply) if reply == "+PONG" => return Some(client),
                Some(_) => std::thread::yield_now(),
                None => return None,
            }
        }
    }
}

/// Starts, asks, stops: how many keys there are, or why there is no server.
fn served(root: &Path) -> Result<u64, String> {
    served_by(start(root))
}

fn served_by(machine: Machine) -> Result<u64, String> {
    let keys = Client::connect(&machine).and_then(|mut client| client.ask("DBSIZE"));
    machine.shared.stop();
    match (keys, machine.join()) {
        (Some(reply), Ok(())) => Ok(reply.trim_start_matches(':').parse().expect("a number")),
        (_, Err(Failure::Refused(refusal))) => Err(refusal.to_string()),
        (keys, ended) => panic!("{keys:?}, {}", ended.err().map_or(String::new(), |failure| failure.to_string())),
    }
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

const KEYS: u64 = 120;

/// Every file, relative to the directory, in order.
fn files_of(root: &Path) -> Vec<PathBuf> {
    let (mut folders, mut files) = (vec![PathBuf::new()], Vec::new());
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(root.join(&folder)).unwrap() {
            let entry = entry.unwrap();
            let path = folder.join(entry.file_name());
            if entry.file_type().unwrap().is_dir() { folders.push(path) } else { files.push(path) }
        }
    }
    files.sort();
    files
}

/// The directory as it is while the server runs, and so as a crash would leave it; with a snapshot for each of `saves` keys.
fn write_by_server(image: &Path, saves: &[u64], more: ServerOptions) {
    let scratch = Scratch::new();
    let machine = start_with(scratch.path(), more);
    let mut client = Client::connect(&machine).expect("a new directory is served");
    for key in 0..KEYS / 2 {
        if saves.contains(&key) {
            assert_eq!(client.ask("SAVE").as_deref(), Some("+OK"));
        }
        assert_eq!(client.ask(&format!("SET key:{key} {}", "v".repeat(900))).as_deref(), Some("+OK"));
        if key % 3 == 0 {
            let (one, two, three) = (key * 100, key * 100 + 1, key * 100 + 2);
            assert_eq!(client.ask(&format!("MSET m{one} 1 m{two} 2 m{three} 3")).as_deref(), Some("+OK"));
        }
    }
    copy(scratch.path(), image);
    machine.shared.stop();
    machine.join().unwrap_or_else(|failure| panic!("{failure}"));
}

/// Places worth a fault: headers, both copies' sectors at once, the first frames, the middle, the end.
fn faults(image: &Path) -> Vec<(PathBuf, Vec<usize>)> {
    let mut all = vec![(PathBuf::from("node"), vec![8])];
    for path in files_of(image) {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let bytes = fs::read(image.join(&path)).unwrap();
        let Some(used) = bytes.iter().rposition(|byte| *byte != 0) else { continue };
        let payload = SEGMENT_HEADER_BYTES + FRAME_HEADER_BYTES + 10;
        all.push((path.clone(), vec![8, 2048 + 8]));
        if used > payload {
            all.push((path.clone(), vec![payload]));
            if segment_of(&name).is_some() {
                all.push((path.clone(), vec![(SEGMENT_HEADER_BYTES + used) / 2]));
                all.push((path, vec![used - 1]));
            }
        }
    }
    all
}

#[test]
fn a_server_starts_where_check_says_so_and_after_a_repair() {
    let counted = try_every_fault(&[]);
    assert!(counted.starts > 0 && counted.refusals > 3 && counted.losses > 3 && counted.spares == 0, "{counted:?}");
}

/// One snapshot can be spared as long as the one before it, and the log from there on, are whole.
#[test]
fn snapshots_stand_in_for_each_other() {
    let counted = try_every_fault(&[10, 40]);
    assert!(counted.starts > 0 && counted.refusals > 3 && counted.losses > 0 && counted.spares > 3, "{counted:?}");
}

/// What came of all faults.
#[derive(Debug, Default)]
struct Counted {
    starts: u32,
    refusals: u32,
    /// Repairs that lost something.
    losses: u32,
    /// Damage without which a server starts, with all keys.
    spares: u32,
}

fn try_every_fault(saves: &[u64]) -> Counted {
    let image = Scratch::new();
    write_by_server(image.path(), saves, ServerOptions::default());
    let all = {
        let scratch = Scratch::new();
        copy(image.path(), scratch.path());
        served(scratch.path()).unwrap()
    };
    assert_eq!(all, KEYS);
    let mut counted = Counted::default();
    for (file, places) in faults(image.path()) {
        let scratch = damaged(image.path(), &file, &places);
        let what = format!("{} at {places:?}", file.display());
        let home = read(scratch.path()).unwrap_or_else(|why| panic!("{what}: {}", why.0));
        let examined = examine(&home);
        let (said, verdict) = (examined.refusals().first().map(ToString::to_string), examined.verdict());
        let is_hopeless = !home.faults.is_empty() || !examined.view.faults.is_empty();
        drop(home);
        match (&said, served(scratch.path())) {
            (None, Ok(keys)) => {
                counted.starts += 1;
                if verdict == Verdict::Damaged {
                    counted.spares += 1;
                    assert_eq!(keys, all, "{what}");
                }
            }
            (Some(_), Err(_)) => counted.refusals += 1,
            (said, served) => panic!("{what}: check said {said:?}, the server {served:?}"),
        }
        if said.is_some() && !is_hopeless {
            for way in [Way::Truncate, Way::Skip] {
                let scratch = damaged(image.path(), &file, &places);
                counted.losses += u32::from(try_repair(scratch.path(), way, all, &what));
            }
        }
    }
    counted
}

fn damaged(image: &Path, file: &Path, places: &[usize]) -> Scratch {
    let scratch = Scratch::new();
    copy(image, scratch.path());
    places.iter().for_each(|at| flip(&scratch.path().join(file), *at));
    scratch
}

/// Whether a repair in this way lost something.
fn try_repair(root: &Path, way: Way, all: u64, what: &str) -> bool {
    match repair(read(root).unwrap(), way) {
        Ok(_) => {
            let keys = served(root).unwrap_or_else(|why| panic!("{what}, {way:?}: {why}"));
            assert!(keys <= all, "{what}, {way:?}: {keys} keys");
            assert_eq!(served(root), Ok(keys), "{what}, {way:?}: decided twice");
            keys < all
        }
        Err(why) => {
            assert!(way == Way::Skip && why.0.contains("see --truncate"), "{what}, {way:?}: {}", why.0);
            false
        }
    }
}

/// Checksums are of what is stored, so that who has no key can check; who repairs must know what is inside.
#[test]
fn a_sealed_log_is_checked_without_its_key_and_repaired_with_it() {
    let (image, secret) = (Scratch::new(), Scratch::new());
    let text = format!("1 {}", "5a".repeat(32));
    let keys = Keys::parse(&text).unwrap();
    let file = secret.path().join("keys");
    fs::write(&file, text).unwrap();
    let sealed =
        || ServerOptions { log_compression: Some("zstd".into()), encryption_key_file: Some(file.clone()), ..ServerOptions::default() };
    write_by_server(image.path(), &[], sealed());
    for keys in [Keys::default(), keys.clone()] {
        let has_keys = keys.newest().is_some();
        let home = Home::read(image.path(), keys).unwrap();
        let examined = examine(&home);
        assert_eq!(examined.verdict(), Verdict::Clean);
        assert_eq!(examined.report().contains("encrypted with key 1, which was not given"), !has_keys);
    }
    let place = SEGMENT_HEADER_BYTES + FRAME_HEADER_BYTES + 10;
    let name = files_of(image.path()).into_iter().find(|path| path.extension().is_some_and(|kind| kind == "log")).unwrap();
    let scratch = damaged(image.path(), &name, &[place]);
    assert_eq!(examine(&read(scratch.path()).unwrap()).verdict(), Verdict::Damaged, "a key is not needed to see that");
    let refused = repair(read(scratch.path()).unwrap(), Way::Skip).unwrap_err();
    assert!(refused.0.contains("which was not given"), "{}", refused.0);
    repair(Home::read(scratch.path(), keys).unwrap(), Way::Skip).unwrap();
    assert!(served_by(start_with(scratch.path(), sealed())).is_ok_and(|keys| (1..KEYS).contains(&keys)));
}

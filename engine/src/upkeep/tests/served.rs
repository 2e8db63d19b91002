//! Directories that a server wrote, after something happened to them: it starts exactly where that is what was said, and
//! after a repair.

use super::super::check::examine;
use super::super::home::Home;
use super::super::repair::{Way, repair};
use super::{Scratch, flip};
use engine::machine::{Failure, Machine};
use engine::options::{IoChoice, ServerOptions, Switch};
use shards::log::{FRAME_HEADER_BYTES, SEGMENT_HEADER_BYTES, segment_of};
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};

/// A server on a directory, two cores, one segment soon full.
fn start(root: &Path) -> Machine {
    let options = ServerOptions {
        port: Some(0),
        dir: Some(root.to_owned()),
        cores: Some("0,0".parse().expect("two shards")),
        io: Some(IoChoice::Epoll),
        log_segment_bytes: Some("64kb".into()),
        cluster_ports: Some(Switch::Off),
        ..ServerOptions::default()
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
    let machine = start(root);
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

/// The directory as it is while the server runs, and so as a crash would leave it.
fn write_by_server(image: &Path) {
    let scratch = Scratch::new();
    let machine = start(scratch.path());
    let mut client = Client::connect(&machine).expect("a new directory is served");
    for key in 0..KEYS / 2 {
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
    let mut all = vec![(PathBuf::from("node"), vec![8]), (PathBuf::from("node"), vec![8, 2048 + 8])];
    let mut names: Vec<String> =
        fs::read_dir(image.join("log")).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    for name in names {
        let path = Path::new("log").join(&name);
        let bytes = fs::read(image.join(&path)).unwrap();
        let used = bytes.iter().rposition(|byte| *byte != 0).unwrap();
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
    let image = Scratch::new();
    write_by_server(image.path());
    let all = {
        let scratch = Scratch::new();
        copy(image.path(), scratch.path());
        served(scratch.path()).unwrap()
    };
    assert_eq!(all, KEYS);
    let (mut starts, mut refusals, mut losses) = (0, 0, 0);
    for (file, places) in faults(image.path()) {
        let scratch = Scratch::new();
        copy(image.path(), scratch.path());
        places.iter().for_each(|at| flip(&scratch.path().join(&file), *at));
        let what = format!("{} at {places:?}", file.display());
        let home = Home::read(scratch.path()).unwrap_or_else(|why| panic!("{what}: {}", why.0));
        let said = examine(&home).refusals().first().map(ToString::to_string);
        let is_hopeless = !home.faults.is_empty() || !examine(&home).view.faults.is_empty();
        drop(home);
        match (&said, served(scratch.path())) {
            (None, Ok(_)) => starts += 1,
            (Some(_), Err(_)) => refusals += 1,
            (said, served) => panic!("{what}: check said {said:?}, the server {served:?}"),
        }
        if said.is_none() || is_hopeless {
            continue;
        }
        for way in [Way::Truncate, Way::Skip] {
            let scratch = Scratch::new();
            copy(image.path(), scratch.path());
            places.iter().for_each(|at| flip(&scratch.path().join(&file), *at));
            match repair(Home::read(scratch.path()).unwrap(), way) {
                Ok(_) => {
                    let keys = served(scratch.path()).unwrap_or_else(|why| panic!("{what}, {way:?}: {why}"));
                    losses += u32::from(keys < all);
                    assert!(keys <= all, "{what}, {way:?}: {keys} keys");
                    assert_eq!(served(scratch.path()), Ok(keys), "{what}, {way:?}: decided twice");
                }
                Err(why) => assert!(way == Way::Skip && why.0.contains("see --truncate"), "{what}, {way:?}: {}", why.0),
            }
        }
    }
    assert!(starts > 0 && refusals > 3 && losses > 3, "{starts} starts, {refusals} refusals, {losses} losses");
}

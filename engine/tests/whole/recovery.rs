//! Recovery from logs written by hand: what counts, what does not, and what makes a start impossible.

use engine::directory::Directory;
use engine::load::{Damage, Loss, Refusal};
use engine::placement::Placement;
use netio::{Aligned, Event, FileDone, FileFailure, FileRequest, Kernel, Options, Sim, Wait};
use shards::key::PartitionId;
use shards::log::{
    Body, Cores, Entry, FRAME_HEADER_BYTES, FrameFlags, FrameSpec, Generation, Lsn, NodeId, Part, PartMode, SEGMENT_HEADER_BYTES,
    SegmentHeader, SegmentKind, StreamId, Words, encode, frame_header,
};
use shards::wire::{Args, Span};
use shards::{Db, Slot};
use simulation::{Client, Recipe, World};
use std::path::PathBuf;

const DIR: &str = "/data";
const NODE: NodeId = NodeId(*b"recovery's node!");
const ALIGN_BYTES: u32 = 512;
/// The clock of entries that do not say otherwise: an hour before the world begins.
const CLOCK_MS: u64 = 1_767_225_600_000 - 3_600_000;

/// The directory before the server starts.
struct Disk {
    kernel: Sim,
    world: World,
}

impl Disk {
    /// An empty directory of this node.
    fn new(recipe: Recipe) -> Disk {
        let world = World::new(recipe.with_directory(DIR));
        world.net.insert_disk(1, world.net.disk(0));
        let kernel = world.net.kernel_of(1, Options::default());
        let mut disk = Disk { kernel, world };
        for path in [DIR, "/data/log", "/data/snap"] {
            disk.ask(FileRequest::MakeDirectory { path: path.into() });
        }
        disk.write(directory().node(), &header(SegmentKind::Node, stream(0, 0), 0, 0..0).to_bytes());
        disk
    }

    fn ask(&mut self, request: FileRequest) -> FileDone {
        self.try_ask(request).expect("the simulated disk does it")
    }

    fn try_ask(&mut self, request: FileRequest) -> Result<FileDone, FileFailure> {
        self.kernel.file(1, request);
        let mut events = Vec::new();
        loop {
            self.kernel.turn(Wait::Poll, &mut events).expect("a simulated turn does not fail");
            if let Some(Event::File { outcome, .. }) = events.pop() {
                return outcome;
            }
            self.world.net.advance_to_next_event();
        }
    }

    fn write(&mut self, path: PathBuf, bytes: &[u8]) {
        let _ = self.try_ask(FileRequest::Unlink { path: path.clone() });
        let FileDone::Opened { file, .. } = self.ask(FileRequest::Create { path, bytes: 0 }) else { panic!("created") };
        let mut buffer = Aligned::with_capacity(bytes.len());
        buffer.extend_from_slice(bytes);
        buffer.pad_to(ALIGN_BYTES as usize);
        self.ask(FileRequest::Write { file, at: 0, buffer, sync: true });
        self.ask(FileRequest::Close { file });
    }

    fn read(&mut self, path: PathBuf) -> Vec<u8> {
        let FileDone::Opened { file, .. } = self.ask(FileRequest::OpenRead { path, direct: false }) else { panic!("opened") };
        let mut buffer = Aligned::with_capacity(1 << 20);
        buffer.resize(1 << 20);
        let FileDone::Read { buffer } = self.ask(FileRequest::Read { file, at: 0, buffer }) else { panic!("read") };
        self.ask(FileRequest::Close { file });
        buffer.to_vec()
    }

    fn names(&mut self, path: &str) -> Vec<String> {
        let FileDone::Listed(listed) = self.ask(FileRequest::List { path: path.into() }) else { panic!("listed") };
        listed.into_iter().map(|entry| entry.name).collect()
    }

    fn put(&mut self, log: &Log) {
        self.write(directory().segment(log.header.stream, log.header.seq), &log.bytes);
    }

    /// Writes the openings of generations 1 to `newest`, none of which decided anything.
    fn open_generations(&mut self, newest: u64) {
        for generation in 1..=newest {
            let opening = shards::log::Opening {
                node: NODE,
                generation: Generation(generation),
                core_count: 1,
                plan: shards::log::Plan::default(),
                clock_ms: 0,
                created_ms: 0,
            };
            self.write(directory().opening(Generation(generation)), &opening.to_bytes());
        }
    }

    /// Waits until the server serves, or refuses.
    fn start(&mut self) -> Option<Refusal> {
        for _ in 0..10_000 {
            if let Some(refusal) = self.world.cores[0].refusal() {
                return Some(refusal);
            }
            if !self.world.cores.iter().any(|core| core.is_loading()) {
                return None;
            }
            self.world.turn_all();
            if !self.world.net.busy() {
                self.world.net.advance_to_next_event();
            }
        }
        panic!("stuck in recovery");
    }

    /// Starts, and shows what the keys are.
    #[track_caller]
    fn values(&mut self, keys: &[&str]) -> Vec<String> {
        let refusal = self.start();
        assert_eq!(refusal, None);
        let mut client = self.world.client();
        keys.iter().map(|key| self.world.ask(&mut client, &format!("GET {key}")).to_string()).collect()
    }

    #[track_caller]
    fn damage(&mut self) -> Damage {
        match self.start() {
            Some(Refusal::Damaged(damage)) => damage,
            other => panic!("started, or something else: {other:?}"),
        }
    }
}

fn directory() -> Directory {
    Directory::new(DIR)
}

fn stream(generation: u64, core: u16) -> StreamId {
    StreamId { generation: Generation(generation), core }
}

fn header(kind: SegmentKind, stream: StreamId, core_count: u16, partitions: std::ops::Range<u16>) -> SegmentHeader {
    SegmentHeader {
        kind,
        node: NODE,
        stream,
        core_count,
        partitions,
        seq: 0,
        created_ms: 0,
        align_bytes: ALIGN_BYTES,
        key_number: 0,
        nonce_prefix: 0,
        room_bytes: 0,
    }
}

/// A segment being written.
struct Log {
    header: SegmentHeader,
    bytes: Vec<u8>,
    next: u64,
    synced: u64,
}

impl Log {
    /// The first segment of a stream.
    fn new(generation: u64, core: u16, core_count: u16) -> Log {
        let placement = Placement::new(core_count);
        let header =
            header(SegmentKind::Log, stream(generation, core), core_count, placement.partitions_of(engine::placement::CoreId(core)));
        Log { bytes: header.to_bytes().to_vec(), header, next: 1, synced: 0 }
    }

    /// The one behind it.
    fn next_segment(&self) -> Log {
        let header = SegmentHeader { seq: self.header.seq + 1, ..self.header.clone() };
        Log { bytes: header.to_bytes().to_vec(), header, next: self.next, synced: self.synced }
    }

    /// A frame of commands, each of which is one entry. Says that everything before it was durable.
    fn frame(&mut self, commands: &[&str]) -> &mut Log {
        self.frame_at(CLOCK_MS, commands)
    }

    fn frame_at(&mut self, clock_ms: u64, commands: &[&str]) -> &mut Log {
        let mut payload = Vec::new();
        for command in commands {
            encode_words(command, clock_ms, None, &mut payload);
        }
        self.seal(clock_ms, commands.len() as u32, &payload)
    }

    /// A frame of one share of a command over several cores.
    fn part(&mut self, command: &str, number: u64, mode: PartMode, participants: &[u16]) -> &mut Log {
        let mut buffer = Vec::new();
        let participants = Cores::write(participants.iter().copied(), &mut buffer);
        let mut payload = Vec::new();
        encode_words(command, CLOCK_MS, Some(Part { origin: 0, number, mode, participants }), &mut payload);
        self.seal(CLOCK_MS, 1, &payload)
    }

    fn seal(&mut self, clock_ms: u64, entry_count: u32, payload: &[u8]) -> &mut Log {
        let (_, seed) = SegmentHeader::read(&self.bytes).expect("just written");
        let spec = FrameSpec {
            at: self.bytes.len() as u64,
            first_lsn: Lsn(self.next),
            synced_lsn: Lsn(self.synced),
            clock_ms,
            entry_count,
            raw_bytes: payload.len() as u32,
            flags: FrameFlags::ENTRIES,
            key_number: 0,
        };
        self.bytes.extend_from_slice(&frame_header(&spec, payload, seed));
        self.bytes.extend_from_slice(payload);
        self.bytes.resize(self.bytes.len().next_multiple_of(ALIGN_BYTES as usize), 0);
        self.next += u64::from(entry_count);
        self.synced = self.next - 1;
        self
    }
}

fn encode_words(command: &str, clock_ms: u64, part: Option<Part<'_>>, payload: &mut Vec<u8>) {
    let words = shards::wire::split_words(command.as_bytes()).expect("balanced quotes");
    let mut bytes = Vec::new();
    let mut spans = Vec::new();
    for word in &words {
        spans.push(Span { start: bytes.len() as u32, len: word.len() as u32 });
        bytes.extend_from_slice(word);
    }
    let everywhere = words.len() < 2;
    let partition = if everywhere { shards::log::PARTITION_ALL } else { PartitionId::of(Slot::of(&words[1])).0 };
    let mut buffer = Vec::new();
    let body = Body::Command(Words::write(Args::new(&bytes, &spans), &mut buffer));
    encode(&Entry { partition, db: Db(0), clock_ms, in_group: false, part, body }, clock_ms, payload);
}

/// A key that core `core` of `cores` owns.
fn key_of(core: u16, cores: u16) -> String {
    let placement = Placement::new(cores);
    (0..)
        .map(|number| format!("key:{number}"))
        .find(|key| placement.core_of(Slot::of(key.as_bytes())).0 == core)
        .expect("every core owns some")
}

#[test]
fn an_empty_directory_gets_a_name_and_a_generation_and_serves() {
    let mut disk = Disk::new(Recipe::new(1, 2));
    disk.ask(FileRequest::Unlink { path: directory().node() });
    assert_eq!(disk.values(&["a"]), ["nil"]);
    assert!(SegmentHeader::read(&disk.read(directory().node())).is_ok());
    assert!(disk.names("/data/log").contains(&"g00000001.open".to_owned()));
    disk.world.restart(1);
    assert_eq!(disk.values(&["a"]), ["nil"]);
    assert!(disk.names("/data/log").contains(&"g00000002.open".to_owned()));
}

#[test]
fn logs_of_two_cores_are_applied_on_any_number_of_cores() {
    let (a, b) = (key_of(0, 2), key_of(1, 2));
    for cores in [1, 2, 3, 5] {
        let mut disk = Disk::new(Recipe::new(u64::from(cores), cores));
        disk.open_generations(1);
        let mut first = Log::new(1, 0, 2);
        first.frame(&[&format!("SET {a} 1"), &format!("INCR {a}")]).frame(&[&format!("APPEND {a} x")]);
        disk.put(&first);
        disk.put(Log::new(1, 1, 2).frame(&[&format!("SET {b} other"), &format!("SET {b} last")]));
        assert_eq!(disk.values(&[&a, &b]), ["\"2x\"", "\"last\""], "{cores} cores");
        // Once more, with what this start has decided, on yet another number.
        disk.world.restart(cores % 3 + 1);
        assert_eq!(disk.values(&[&a, &b]), ["\"2x\"", "\"last\""], "{cores} cores, again");
    }
}

#[test]
fn generations_are_applied_in_order_and_a_flush_empties_its_own_partitions() {
    let (a, b) = (key_of(0, 2), key_of(1, 2));
    let mut disk = Disk::new(Recipe::new(3, 2));
    disk.open_generations(2);
    disk.put(Log::new(1, 0, 1).frame(&[&format!("SET {a} old"), &format!("SET {b} old")]));
    disk.put(Log::new(2, 0, 2).frame(&["FLUSHALL", &format!("SET {a} new")]));
    disk.put(Log::new(2, 1, 2).frame(&[&format!("APPEND {b} er")]));
    assert_eq!(disk.values(&[&a, &b]), ["\"new\"", "\"older\""]);
}

#[test]
fn what_expired_stays_away_whatever_the_clock_says_now() {
    let mut disk = Disk::new(Recipe::new(4, 2));
    disk.open_generations(1);
    let now = disk.world.net.now().wall.0;
    let mut log = Log::new(1, 0, 1);
    // The last entry is an hour ahead of the clock the machine shows after the restart.
    log.frame_at(now, &["SET short v PX 1000", "SET long v PX 7200000", "SET kept v PX 10"]).frame_at(now + 5, &["PERSIST kept"]);
    log.frame_at(now + 3_600_000, &["SET other v"]);
    disk.put(&log);
    assert_eq!(disk.values(&["short", "long", "kept", "other"]), ["nil", "\"v\"", "\"v\"", "\"v\""]);
    let mut client = disk.world.client();
    let left = disk.world.ask(&mut client, "PTTL long").integer();
    assert!((3_500_000..=3_600_000).contains(&left), "{left}");
}

#[test]
fn a_torn_tail_is_left_out_and_stays_out() {
    for cores in [1, 2] {
        let mut disk = Disk::new(Recipe::new(5, cores));
        disk.open_generations(1);
        let mut log = Log::new(1, 0, 1);
        log.frame(&["SET a 1"]).frame(&["SET a 2"]);
        let whole = log.bytes.len();
        log.frame(&["SET a 3"]);
        // The last write reached the disk in part.
        log.bytes[whole + FRAME_HEADER_BYTES + 3] ^= 0xFF;
        disk.put(&log);
        assert_eq!(disk.values(&["a"]), ["\"2\""]);
        // What was decided holds, even if the bytes were to come back.
        log.bytes[whole + FRAME_HEADER_BYTES + 3] ^= 0xFF;
        disk.put(&log);
        disk.world.restart(cores);
        assert_eq!(disk.values(&["a"]), ["\"2\""]);
    }
}

#[test]
fn damage_before_the_tail_is_refused_with_its_place_and_what_would_be_lost() {
    for cores in [1, 3] {
        let mut disk = Disk::new(Recipe::new(6, cores));
        disk.open_generations(1);
        let mut log = Log::new(1, 0, 1);
        log.frame(&["SET a 1"]);
        let at = log.bytes.len();
        log.frame(&["SET a 2", "SET a 3"]).frame(&["SET a 4"]);
        log.bytes[at + FRAME_HEADER_BYTES + 3] ^= 1;
        disk.put(&log);
        let damage = disk.damage();
        assert_eq!((damage.file, damage.at), (directory().segment(stream(1, 0), 0), at as u64));
        assert_eq!(damage.loss, Some(Loss { stream: stream(1, 0), from: Lsn(2), known: Lsn(3) }));
        // Nothing was changed: with the bit back, everything is there.
        log.bytes[at + FRAME_HEADER_BYTES + 3] ^= 1;
        disk.put(&log);
        disk.world.restart(cores);
        assert_eq!(disk.values(&["a"]), ["\"4\""]);
    }
}

#[test]
fn nobody_is_served_by_a_core_that_refuses() {
    for seed in 1..6 {
        let mut disk = Disk::new(Recipe::new(seed, 2));
        disk.open_generations(1);
        let mut log = Log::new(1, 0, 1);
        let at = log.bytes.len();
        log.frame(&["SET a 1"]).frame(&["SET a 2"]);
        log.bytes[at + FRAME_HEADER_BYTES + 3] ^= 1;
        disk.put(&log);
        let mut clients: Vec<Client> = (0..4).map(|_| disk.world.client()).collect();
        let mut refusals = 0;
        while !disk.world.cores.iter().any(|core| core.is_stopped()) {
            disk.world.turn_all();
            for client in &mut clients {
                client.send("GET a");
                client.pump();
                while let Some(reply) = client.take_reply() {
                    assert_eq!(reply.to_string(), "-LOADING Corewheel is loading the dataset in memory");
                    refusals += 1;
                }
            }
            assert!(disk.world.cores.iter().all(|core| core.is_loading()), "a core that refuses serves");
            if !disk.world.net.busy() {
                disk.world.net.advance_to_next_event();
            }
        }
        assert!(refusals > 0, "nobody asked in time");
    }
}

#[test]
fn an_end_that_was_decided_makes_everything_before_it_needed() {
    let mut disk = Disk::new(Recipe::new(7, 1));
    disk.open_generations(1);
    let mut log = Log::new(1, 0, 1);
    log.frame(&["SET a 1"]);
    let at = log.bytes.len();
    log.frame(&["SET a 2"]);
    disk.put(&log);
    assert_eq!(disk.values(&["a"]), ["\"2\""]);
    // The last frame was never followed by one that calls it durable, but a whole server was built upon it.
    log.bytes.truncate(at);
    disk.put(&log);
    disk.world.restart(1);
    assert_eq!(disk.damage().loss, Some(Loss { stream: stream(1, 0), from: Lsn(2), known: Lsn(2) }));
}

/// What `corewheel repair` writes: an end before the damage, after an end that was decided behind it.
#[test]
fn of_two_ends_that_were_decided_the_earlier_counts() {
    let mut disk = Disk::new(Recipe::new(7, 1));
    disk.open_generations(1);
    let mut log = Log::new(1, 0, 1);
    log.frame(&["SET a 1"]).frame(&["SET a 2"]);
    disk.put(&log);
    for (generation, end) in [(2, 3), (3, 2)] {
        let opening = shards::log::Opening {
            node: NODE,
            generation: Generation(generation),
            core_count: 1,
            plan: shards::log::Plan { ends: vec![(stream(1, 0), Lsn(end))], dropped: vec![] },
            clock_ms: 0,
            created_ms: 0,
        };
        disk.write(directory().opening(Generation(generation)), &opening.to_bytes());
    }
    for _ in 0..2 {
        assert_eq!(disk.values(&["a"]), ["\"1\""]);
        disk.world.restart(1);
    }
}

#[test]
fn segments_follow_each_other_and_none_may_be_missing() {
    let logs = || {
        let mut first = Log::new(1, 0, 1);
        first.frame(&["SET a 1"]);
        let mut second = first.next_segment();
        second.frame(&["APPEND a 2"]);
        let mut third = second.next_segment();
        third.frame(&["APPEND a 3"]);
        let unused = third.next_segment();
        [first, second, third, unused]
    };
    for missing in 0..3 {
        let mut disk = Disk::new(Recipe::new(8, 1));
        disk.open_generations(1);
        for (index, log) in logs().iter().enumerate() {
            if index != missing {
                disk.put(log);
            }
        }
        assert_eq!(disk.damage().file, directory().segment(stream(1, 0), missing as u64).as_path().to_owned());
        disk.put(&logs()[missing]);
        disk.world.restart(2);
        assert_eq!(disk.values(&["a"]), ["\"123\""]);
    }
}

/// It was never finished, or somebody took its manifest: which of the two, the log behind it tells.
#[test]
fn a_snapshot_without_its_manifest_is_kept_until_nothing_needs_it() {
    let mut disk = Disk::new(Recipe::new(8, 1));
    disk.open_generations(1);
    let mut first = Log::new(1, 0, 1);
    first.frame(&["SET a 1"]);
    let mut second = first.next_segment();
    second.frame(&["APPEND a 2"]);
    disk.put(&second);
    let folder = directory().snapshot(3);
    disk.ask(FileRequest::MakeDirectory { path: folder.clone() });
    disk.write(directory().snapshot_file(3, 0), &[0xAA; SEGMENT_HEADER_BYTES]);
    let damage = disk.damage();
    assert_eq!(damage.file, directory().manifest(3), "what the log was compacted for");
    assert_eq!(disk.names(folder.to_str().unwrap()), ["c0000.snap"]);
    disk.world.restart(1);
    disk.put(&first);
    assert_eq!(disk.values(&["a"]), ["\"12\""]);
    assert_eq!(disk.names("/data/snap"), [""; 0]);
}

/// A file has its whole room until something in the next one is durable: what is shorter before was not left so by a crash.
#[test]
fn a_newest_file_that_became_shorter_is_refused_and_so_is_one_whose_next_is_gone() {
    let room = SEGMENT_HEADER_BYTES + 8 * ALIGN_BYTES as usize;
    let roomy = |mut log: Log| {
        log.header.room_bytes = room as u64;
        log.bytes = log.header.to_bytes().to_vec();
        log
    };
    let mut first = roomy(Log::new(1, 0, 1));
    first.frame(&["SET a 1"]).frame(&["APPEND a 2"]);
    let mut second = roomy(first.next_segment());
    second.frame(&["APPEND a 3"]).frame(&["APPEND a 4"]);
    let full = second.bytes.clone();
    let mut disk = Disk::new(Recipe::new(8, 1));
    disk.open_generations(1);
    disk.put(&first);
    // Between frames, behind the last one, and before the first.
    for bytes in [full.len() - ALIGN_BYTES as usize, full.len(), room - ALIGN_BYTES as usize, SEGMENT_HEADER_BYTES] {
        second.bytes = full.clone();
        second.bytes.resize(bytes, 0);
        disk.put(&second);
        let damage = disk.damage();
        assert_eq!((damage.file, damage.at), (directory().segment(stream(1, 0), 1), bytes as u64));
        disk.world.restart(1);
    }
    disk.ask(FileRequest::Unlink { path: directory().segment(stream(1, 0), 1) });
    let damage = disk.damage();
    assert_eq!((damage.file, damage.at), (directory().segment(stream(1, 0), 0), first.bytes.len() as u64));
    assert!(damage.why.contains("it was made with"), "{}", damage.why);
    disk.world.restart(1);
    second.bytes = full;
    second.bytes.resize(room, 0);
    disk.put(&second);
    assert_eq!(disk.values(&["a"]), ["\"1234\""]);
}

#[test]
fn a_command_that_not_every_core_has_is_left_out_alone_if_its_keys_were_held() {
    let (a, b) = (key_of(0, 2), key_of(1, 2));
    let mut disk = Disk::new(Recipe::new(9, 2));
    disk.open_generations(1);
    let mut first = Log::new(1, 0, 2);
    first.part(&format!("SET {a} whole"), 1, PartMode::Held, &[0, 1]).part(&format!("SET {a} half"), 2, PartMode::Held, &[0, 1]);
    first.frame(&[&format!("APPEND {a} +")]);
    disk.put(&first);
    disk.put(Log::new(1, 1, 2).part(&format!("SET {b} whole"), 1, PartMode::Held, &[0, 1]));
    for cores in [2, 1] {
        assert_eq!(disk.values(&[&a, &b]), ["\"whole+\"", "\"whole\""]);
        disk.world.restart(cores);
    }
}

#[test]
fn a_command_that_not_every_core_has_ends_its_stream_if_its_keys_were_not_held() {
    let (a, b) = (key_of(0, 2), key_of(1, 2));
    let mut disk = Disk::new(Recipe::new(10, 3));
    disk.open_generations(1);
    let mut first = Log::new(1, 0, 2);
    first.part(&format!("SET {a} whole"), 1, PartMode::Cut, &[0, 1]).part(&format!("SET {a} half"), 2, PartMode::Cut, &[0, 1]);
    first.frame(&[&format!("APPEND {a} +")]);
    disk.put(&first);
    disk.put(Log::new(1, 1, 2).part(&format!("SET {b} whole"), 1, PartMode::Cut, &[0, 1]));
    for cores in [2, 1] {
        assert_eq!(disk.values(&[&a, &b]), ["\"whole\"", "\"whole\""]);
        disk.world.restart(cores);
    }
}

#[test]
fn files_that_belong_elsewhere_are_refused() {
    let mut other = Log::new(1, 0, 1);
    other.header.node = NodeId([7; 16]);
    other.bytes = other.header.to_bytes().to_vec();
    let mut moved = Log::new(1, 0, 1);
    moved.header.stream.core = 1;
    moved.bytes = moved.header.to_bytes().to_vec();
    for (log, why) in [(other, "another directory"), (moved, "another file under this name")] {
        let mut disk = Disk::new(Recipe::new(11, 2));
        disk.open_generations(1);
        disk.write(directory().segment(stream(1, 0), 0), &log.bytes);
        assert!(disk.damage().why.contains(why));
    }
    let mut disk = Disk::new(Recipe::new(12, 1));
    disk.put(Log::new(1, 0, 1).frame(&["SET a 1"]));
    assert_eq!(disk.damage().file, directory().opening(Generation(1)), "a stream without its generation's opening");
    let mut disk = Disk::new(Recipe::new(13, 1));
    disk.open_generations(1);
    disk.ask(FileRequest::Unlink { path: directory().node() });
    assert_eq!(disk.damage().file, directory().node());
}

#[test]
fn a_directory_is_served_by_one_process() {
    let mut disk = Disk::new(Recipe::new(14, 2));
    disk.ask(FileRequest::Lock { path: directory().lock() });
    assert_eq!(disk.start(), Some(Refusal::InUse(DIR.into())));
}

#[test]
fn unfinished_files_are_deleted() {
    let mut disk = Disk::new(Recipe::new(15, 1));
    for name in ["/data/node.tmp", "/data/log/g00000001-c0000-00000000.log.tmp", "/data/log/g00000001.open.tmp"] {
        disk.write(name.into(), &[0xAA; SEGMENT_HEADER_BYTES]);
    }
    assert_eq!(disk.values(&["a"]), ["nil"]);
    for path in [DIR, "/data/log"] {
        assert!(disk.names(path).iter().all(|name| !name.ends_with(".tmp") || name.starts_with("g00000001-c")), "{path}");
    }
}

#[test]
fn nobody_is_served_before_everything_is_there() {
    for cores in [1, 3] {
        let mut disk = Disk::new(Recipe::new(16, cores));
        disk.open_generations(1);
        let mut log = Log::new(1, 0, 1);
        for number in 0..200 {
            log.frame(&[&format!("SET key:{number} v")]);
        }
        disk.put(&log);
        let mut client = disk.world.client();
        let world = &mut disk.world;
        assert_eq!(world.ask(&mut client, "GET key:1").to_string(), "-LOADING Corewheel is loading the dataset in memory");
        assert_eq!(world.ask(&mut client, "DBSIZE").to_string(), "-LOADING Corewheel is loading the dataset in memory");
        assert_eq!(world.ask(&mut client, "MSET a 1 b 2 c 3").to_string(), "-LOADING Corewheel is loading the dataset in memory");
        assert!(world.ask(&mut client, "INFO persistence").to_string().contains("loading:1\\r\\n"));
        assert!(disk.world.cores.iter().any(|core| core.is_loading()), "a disk is slower than a client");
        assert_eq!(disk.start(), None);
        let world = &mut disk.world;
        assert_eq!(world.ask(&mut client, "DBSIZE").to_string(), ":200");
        assert!(world.ask(&mut client, "INFO persistence").to_string().contains("loading:0\\r\\n"));
    }
}

#[test]
fn what_is_asked_the_moment_recovery_ends_waits_for_the_core_that_knows() {
    let mut disk = Disk::new(Recipe::new(17, 4));
    disk.open_generations(1);
    let mut log = Log::new(1, 0, 1);
    log.frame(&(0..50).map(|number| format!("SET key:{number} v")).collect::<Vec<_>>().iter().map(String::as_str).collect::<Vec<_>>());
    disk.put(&log);
    let mut clients: Vec<Client> = (0..8).map(|_| disk.world.client()).collect();
    let mut served = 0;
    while served < 8 * 50 {
        served = 0;
        for client in &mut clients {
            for number in 0..50 {
                let got = disk.world.ask(client, &format!("GET key:{number}")).to_string();
                assert!(got == "\"v\"" || got.starts_with("-LOADING"), "{got}");
                served += usize::from(got == "\"v\"");
            }
        }
    }
}

//! What a simulated disk promises beyond the trait, and the faults it is asked for.

use netio::sim::{DiskOptions, Sim, SimDisk, SimNet, SimOptions};
use netio::{Aligned, Event, FileDone, FileFailure, FileId, FileRequest, Kernel, Options, Wait};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// One kernel on one disk.
struct Machine {
    net: SimNet,
    kernel: Option<Sim>,
    disk: SimDisk,
}

impl Machine {
    fn new(seed: u64, options: DiskOptions) -> Machine {
        Machine::on(SimDisk::new(seed, options))
    }

    fn on(disk: SimDisk) -> Machine {
        let net = SimNet::new(1, SimOptions::default());
        net.insert_disk(0, disk.clone());
        Machine { kernel: Some(net.kernel(Options::default())), net, disk }
    }

    fn begin(&mut self, token: u64, request: FileRequest) {
        self.kernel.as_mut().unwrap().file(token, request);
    }

    /// Everything that is answered until nothing happens any more.
    fn answers(&mut self) -> Vec<(u64, Result<FileDone, FileFailure>)> {
        let (mut answers, mut events) = (Vec::new(), Vec::new());
        loop {
            self.kernel.as_mut().unwrap().turn(Wait::Forever, &mut events).unwrap();
            for event in events.drain(..) {
                match event {
                    Event::File { token, outcome } => answers.push((token, outcome)),
                    other => panic!("unexpected {other:?}"),
                }
            }
            if !self.net.advance_to_next_event() && !self.net.busy() {
                return answers;
            }
        }
    }

    #[track_caller]
    fn ask(&mut self, request: FileRequest) -> Result<FileDone, FileFailure> {
        self.begin(0, request);
        let mut answers = self.answers();
        assert_eq!(answers.len(), 1, "one request, one answer");
        answers.remove(0).1
    }

    #[track_caller]
    fn create(&mut self, path: &str, bytes: u64) -> FileId {
        match self.ask(FileRequest::Create { path: PathBuf::from(path), bytes }) {
            Ok(FileDone::Opened { file, .. }) => file,
            other => panic!("unexpected {other:?}"),
        }
    }

    fn sync_root(&mut self) {
        assert!(matches!(self.ask(FileRequest::SyncDirectory { path: PathBuf::from("/") }), Ok(FileDone::DirectorySynced)));
    }

    fn names(&self) -> Vec<String> {
        self.disk.files().into_iter().map(|(path, _)| path.display().to_string()).collect()
    }

    fn die(mut self, how: fn(&SimDisk)) -> Machine {
        self.kernel = None;
        how(&self.disk);
        Machine::on(self.disk)
    }
}

fn full(byte: u8, bytes: usize) -> Aligned {
    let mut buffer = Aligned::with_capacity(bytes);
    buffer.resize(bytes);
    buffer.fill(byte);
    buffer
}

/// A disk with the durable file `/data` of 64 sectors, all `1`, which is open.
fn with_data(seed: u64) -> (Machine, FileId) {
    let mut machine = Machine::new(seed, DiskOptions::default());
    let file = machine.create("/data", 0);
    machine.ask(FileRequest::Write { file, at: 0, buffer: full(1, 64 * 512), sync: true }).unwrap();
    machine.sync_root();
    (machine, file)
}

fn sectors(disk: &SimDisk, path: &str) -> Vec<Vec<u8>> {
    disk.contents(Path::new(path)).unwrap().chunks(512).map(<[u8]>::to_vec).collect()
}

#[test]
fn what_was_synced_survives_and_what_was_not_may_not() {
    let mut lost = [false; 2];
    for seed in 0..60 {
        let (mut machine, file) = with_data(seed);
        machine.ask(FileRequest::Write { file, at: 0, buffer: full(2, 4096), sync: true }).unwrap();
        machine.ask(FileRequest::Write { file, at: 4096, buffer: full(3, 4096), sync: false }).unwrap();
        machine.create("/unnamed", 4096);
        let machine = machine.die(SimDisk::lose_power);
        let found = sectors(&machine.disk, "/data");
        assert!(found[..8].iter().all(|sector| sector == &[2; 512]), "a synced write was lost");
        assert!(found[8..16].iter().all(|sector| sector == &[3; 512] || sector == &[1; 512]), "half a sector");
        assert!(found[16..].iter().all(|sector| sector == &[1; 512]));
        lost[0] |= found[8..16].iter().any(|sector| sector == &[1; 512]);
        lost[1] |= machine.names() == ["/data"];
    }
    assert_eq!(lost, [true; 2], "an unsynced write or name was never lost");
}

#[test]
fn a_name_without_its_directory_s_sync_is_lost_with_all_that_was_synced_in_it() {
    let outcomes: BTreeSet<Vec<String>> = (0..60)
        .map(|seed| {
            let mut machine = Machine::new(seed, DiskOptions::default());
            machine.ask(FileRequest::MakeDirectory { path: PathBuf::from("/log") }).unwrap();
            let file = machine.create("/log/a.tmp", 0);
            machine.ask(FileRequest::Write { file, at: 0, buffer: full(1, 512), sync: true }).unwrap();
            machine.ask(FileRequest::SyncDirectory { path: PathBuf::from("/log") }).unwrap();
            machine.ask(FileRequest::Rename { from: PathBuf::from("/log/a.tmp"), to: PathBuf::from("/log/a") }).unwrap();
            machine.die(SimDisk::lose_power).names()
        })
        .collect();
    let expected = [vec![], vec!["/log/a".to_owned()], vec!["/log/a.tmp".to_owned()]];
    assert_eq!(outcomes, BTreeSet::from(expected), "the directory's own name was never synced");
}

#[test]
fn a_dead_process_leaves_what_it_wrote_and_tears_what_it_was_writing() {
    let mut seen = BTreeSet::new();
    for seed in 0..80 {
        let (mut machine, file) = with_data(seed);
        machine.ask(FileRequest::Write { file, at: 0, buffer: full(2, 4096), sync: false }).unwrap();
        machine.begin(1, FileRequest::Write { file, at: 4096, buffer: full(3, 4096), sync: true });
        let machine = machine.die(SimDisk::kill);
        let found = sectors(&machine.disk, "/data");
        assert!(found[..8].iter().all(|sector| sector == &[2; 512]), "the machine went on");
        assert!(found[16..].iter().all(|sector| sector == &[1; 512]));
        seen.insert(found[8..16].iter().filter(|sector| sector == &&[3; 512]).count());
    }
    assert!(seen.contains(&0) && seen.contains(&8) && seen.len() > 4, "{seen:?}");
}

#[test]
fn a_write_under_way_when_the_power_goes_may_leave_garbage_but_only_there() {
    let mut garbage = 0;
    for seed in 0..80 {
        let (mut machine, file) = with_data(seed);
        machine.begin(1, FileRequest::Write { file, at: 4096, buffer: full(3, 4096), sync: true });
        let machine = machine.die(SimDisk::lose_power);
        let found = sectors(&machine.disk, "/data");
        assert!(found[..8].iter().chain(&found[16..]).all(|sector| sector == &[1; 512]));
        garbage += found[8..16].iter().filter(|sector| sector != &&[1; 512] && sector != &&[3; 512]).count();
    }
    assert!(garbage > 0, "no sector was ever torn");
}

#[test]
fn a_crash_comes_at_the_request_it_was_set_to() {
    let mut happened = [false; 2];
    for seed in 0..40 {
        let (mut machine, file) = with_data(seed);
        machine.disk.crash_at(3);
        for count in 1..=2 {
            machine.ask(FileRequest::Write { file, at: count * 512, buffer: full(2, 512), sync: true }).unwrap();
            assert!(!machine.disk.crashed());
        }
        machine.begin(3, FileRequest::Write { file, at: 0, buffer: full(3, 512), sync: true });
        assert!(machine.answers().is_empty() && machine.disk.crashed(), "the third is the last");
        machine.begin(4, FileRequest::Write { file, at: 5120, buffer: full(4, 512), sync: true });
        assert!(machine.answers().is_empty(), "nothing is answered any more");
        let mut machine = machine.die(SimDisk::kill);
        assert!(!machine.disk.crashed());
        let found = sectors(&machine.disk, "/data");
        assert_eq!(found[1..3], [[2; 512], [2; 512]]);
        happened[usize::from(found[0] == [3; 512])] = true;
        assert!(found[10] == [1; 512] || found[10] == [4; 512]);
        machine.create("/next", 0);
    }
    assert_eq!(happened, [true; 2]);
}

#[test]
fn locks_end_with_their_process() {
    let lock = || FileRequest::Lock { path: PathBuf::from("/lock") };
    let mut machine = Machine::new(1, DiskOptions::default());
    machine.ask(lock()).unwrap();
    machine.disk.crash_at(1);
    machine.begin(1, lock());
    assert!(machine.answers().is_empty());
    let mut machine = machine.die(SimDisk::kill);
    machine.ask(lock()).unwrap();
}

#[test]
fn a_full_disk_refuses_room_and_takes_it_again_when_files_go() {
    let mut machine = Machine::new(1, DiskOptions { capacity_bytes: 64 * 512, ..DiskOptions::default() });
    let file = machine.create("/a", 60 * 512);
    let refused = machine.ask(FileRequest::Create { path: PathBuf::from("/b"), bytes: 5 * 512 }).unwrap_err();
    assert_eq!((refused.cause.raw_os_error(), machine.names()), (Some(28), vec!["/a".to_owned()]));
    machine.ask(FileRequest::Write { file, at: 0, buffer: full(1, 60 * 512), sync: true }).unwrap();
    let refused = machine.ask(FileRequest::Write { file, at: 60 * 512, buffer: full(1, 5 * 512), sync: true }).unwrap_err();
    assert_eq!((refused.step, refused.cause.raw_os_error(), refused.buffer.unwrap().len()), ("write", Some(28), 5 * 512));
    machine.ask(FileRequest::Truncate { file, bytes: 10 * 512 }).unwrap();
    machine.create("/b", 54 * 512);
    machine.ask(FileRequest::Unlink { path: PathBuf::from("/b") }).unwrap();
    machine.sync_root();
    let space = machine.ask(FileRequest::Space { path: PathBuf::from("/") }).unwrap();
    assert!(matches!(space, FileDone::Space(space) if space.free_bytes == 0), "an open file keeps its room: {space:?}");
    let mut machine = machine.die(SimDisk::kill);
    let space = machine.ask(FileRequest::Space { path: PathBuf::from("/") }).unwrap();
    assert!(matches!(space, FileDone::Space(space) if (space.free_bytes, space.total_bytes) == (54 * 512, 64 * 512)), "{space:?}");
}

#[test]
fn a_failed_sync_is_told_once_and_a_later_one_does_not_make_it_good() {
    let mut lost = false;
    for seed in 0..40 {
        let (mut machine, file) = with_data(seed);
        machine.disk.set_options(DiskOptions { sync_error_one_in: 1, ..DiskOptions::default() });
        let failure = machine.ask(FileRequest::Write { file, at: 0, buffer: full(2, 512), sync: true }).unwrap_err();
        assert_eq!((failure.step, failure.cause.raw_os_error()), ("sync", Some(5)));
        assert!(failure.buffer.is_some());
        assert!(machine.ask(FileRequest::SyncDirectory { path: PathBuf::from("/") }).is_err());
        machine.disk.set_options(DiskOptions::default());
        machine.ask(FileRequest::Sync { file }).unwrap();
        lost |= sectors(&machine.die(SimDisk::lose_power).disk, "/data")[0] == [1; 512];
    }
    assert!(lost);
}

#[test]
fn a_disk_that_lies_loses_what_it_said_was_durable() {
    let lost = (0..40).any(|seed| {
        let (mut machine, file) = with_data(seed);
        machine.disk.set_options(DiskOptions { lies: true, ..DiskOptions::default() });
        machine.ask(FileRequest::Write { file, at: 0, buffer: full(2, 512), sync: true }).unwrap();
        machine.ask(FileRequest::Sync { file }).unwrap();
        sectors(&machine.die(SimDisk::lose_power).disk, "/data")[0] == [1; 512]
    });
    assert!(lost);
}

#[test]
fn misdirected_writes_and_rot_say_nothing() {
    let (mut machine, file) = with_data(4);
    machine.disk.set_options(DiskOptions { misdirect_one_in: 1, ..DiskOptions::default() });
    for _ in 0..8 {
        machine.ask(FileRequest::Write { file, at: 0, buffer: full(2, 512), sync: true }).unwrap();
    }
    let found = sectors(&machine.disk, "/data");
    assert!(found[1..].contains(&vec![2; 512]), "nothing ended elsewhere");
    assert_eq!(found.len(), 64);

    let (mut machine, _) = with_data(4);
    machine.disk.set_options(DiskOptions { rot_one_in: 1, ..DiskOptions::default() });
    machine.ask(FileRequest::List { path: PathBuf::from("/") }).unwrap();
    let flipped: u32 = machine.disk.contents(Path::new("/data")).unwrap().iter().map(|byte| (byte ^ 1).count_ones()).sum();
    assert_eq!(flipped, 1);
    machine.disk.flip_bit(Path::new("/data"), 100, 3).unwrap();
    machine.disk.resize(Path::new("/data"), 700).unwrap();
    assert_eq!(machine.disk.contents(Path::new("/data")).unwrap().len(), 700);
}

#[test]
fn slow_requests_take_their_time_and_writes_may_fail() {
    let (mut machine, file) = with_data(4);
    machine.disk.set_options(DiskOptions {
        slow_one_in: 1,
        slow_ns: 5_000_000..=5_000_000,
        write_error_one_in: 1,
        ..DiskOptions::default()
    });
    let before = machine.net.now().monotonic;
    let failure = machine.ask(FileRequest::Write { file, at: 0, buffer: full(2, 512), sync: true }).unwrap_err();
    assert_eq!((failure.step, failure.cause.raw_os_error()), ("write", Some(5)));
    // And what the kernel's next turn takes, in which nothing is left.
    assert_eq!(machine.net.now().monotonic.since(before), 5_001_000);
}

#[test]
fn a_copy_is_another_disk() {
    let (mut machine, file) = with_data(1);
    let copy = machine.disk.copy(2);
    machine.ask(FileRequest::Write { file, at: 0, buffer: full(2, 512), sync: true }).unwrap();
    assert_eq!(sectors(&copy, "/data")[0], [1; 512]);
    let mut other = Machine::on(copy);
    other.ask(FileRequest::Unlink { path: PathBuf::from("/data") }).unwrap();
    assert_eq!((other.names(), machine.names()), (Vec::new(), vec!["/data".to_owned()]));
}

#[test]
fn the_same_seed_is_the_same_fate() {
    let fate = |seed: u64| {
        let (mut machine, file) = with_data(seed);
        for token in 0..20 {
            machine.begin(token, FileRequest::Write { file, at: token * 512, buffer: full(2, 2048), sync: token % 3 == 0 });
        }
        machine.disk.crash_at(12);
        machine.answers();
        let digest = machine.net.digest();
        (sectors(&machine.die(SimDisk::lose_power).disk, "/data"), digest)
    };
    assert_eq!(fate(7), fate(7));
    assert_ne!(fate(7).0, fate(8).0);
}

//! What a kernel promises of files.

use crate::world::{World, pattern, turn_until};
use netio::file::{FILE_REQUESTS_MAX, Listed, Space};
use netio::{Aligned, Event, FileDone, FileFailure, FileId, FileRequest, FileTraits, Kernel, Options};
use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};

/// Asks one thing and waits for the answer.
fn ask<W: World>(world: &mut W, kernel: &mut W::Kernel, request: FileRequest) -> Result<FileDone, FileFailure> {
    const TOKEN: u64 = 0xF11E << 48;
    kernel.file(TOKEN, request);
    let mut answer = None;
    turn_until(world, kernel, "a file's answer", |_, _, event| {
        match event {
            None | Some(Event::Woken) => {}
            Some(Event::File { token: TOKEN, outcome }) => assert!(answer.replace(outcome).is_none(), "answered twice"),
            other => panic!("unexpected {other:?}"),
        }
        answer.is_some()
    });
    answer.unwrap()
}

fn create<W: World>(world: &mut W, kernel: &mut W::Kernel, path: &Path, bytes: u64) -> (FileId, FileTraits) {
    match ask(world, kernel, FileRequest::Create { path: path.to_owned(), bytes }) {
        Ok(FileDone::Opened { file, traits }) => (file, traits),
        other => panic!("unexpected {other:?}"),
    }
}

fn open<W: World>(world: &mut W, kernel: &mut W::Kernel, path: &Path, direct: bool) -> (FileId, FileTraits) {
    match ask(world, kernel, FileRequest::OpenRead { path: path.to_owned(), direct }) {
        Ok(FileDone::Opened { file, traits }) => (file, traits),
        other => panic!("unexpected {other:?}"),
    }
}

fn write<W: World>(world: &mut W, kernel: &mut W::Kernel, file: FileId, at: u64, bytes: &[u8], sync: bool) {
    let mut buffer = Aligned::with_capacity(bytes.len());
    buffer.extend_from_slice(bytes);
    match ask(world, kernel, FileRequest::Write { file, at, buffer, sync }) {
        Ok(FileDone::Wrote { buffer }) => assert_eq!(&*buffer, bytes, "the buffer comes back as it went"),
        other => panic!("unexpected {other:?}"),
    }
}

fn read<W: World>(world: &mut W, kernel: &mut W::Kernel, file: FileId, at: u64, bytes: usize) -> Vec<u8> {
    let mut buffer = Aligned::with_capacity(bytes);
    buffer.resize(bytes);
    match ask(world, kernel, FileRequest::Read { file, at, buffer }) {
        Ok(FileDone::Read { buffer }) => buffer.to_vec(),
        other => panic!("unexpected {other:?}"),
    }
}

fn list<W: World>(world: &mut W, kernel: &mut W::Kernel, path: &Path) -> Vec<Listed> {
    match ask(world, kernel, FileRequest::List { path: path.to_owned() }) {
        Ok(FileDone::Listed(listed)) => listed,
        other => panic!("unexpected {other:?}"),
    }
}

pub(crate) fn what_is_written_is_read_back<W: World>(mut world: W) {
    let path = world.directory().join("data");
    let mut kernel = world.open(Options::default());
    let (file, traits) = create(&mut world, &mut kernel, &path, 0);
    assert_eq!(traits.bytes, 0);
    let align = traits.align_bytes as usize;
    assert!(align.is_power_of_two() && (512..=4096).contains(&align), "{traits:?}");
    let bytes = pattern(1 << 20);
    write(&mut world, &mut kernel, file, 0, &bytes[..align], true);
    write(&mut world, &mut kernel, file, align as u64, &bytes[align..], false);
    assert!(matches!(ask(&mut world, &mut kernel, FileRequest::Sync { file }), Ok(FileDone::Synced)));
    assert!(read(&mut world, &mut kernel, file, 0, bytes.len()) == bytes, "what was written differs from what was read");
    // Reading beyond the end gives what there is, then nothing.
    let tail = read(&mut world, &mut kernel, file, (bytes.len() - align) as u64, 4 * 4096);
    assert!(tail == bytes[bytes.len() - align..], "the end of the file is not where it was written");
    assert!(read(&mut world, &mut kernel, file, bytes.len() as u64, 4096).is_empty());
    // A second name for the same file, past the cache and through it, sees the same.
    for direct in [true, false] {
        let (again, traits) = open(&mut world, &mut kernel, &path, direct);
        assert_eq!(traits.bytes, bytes.len() as u64);
        assert!(read(&mut world, &mut kernel, again, 4096, 8192) == bytes[4096..12_288]);
        assert!(matches!(ask(&mut world, &mut kernel, FileRequest::Sync { file: again }), Ok(FileDone::Synced)));
    }
    // A size that is not aligned: the file ends inside what a read asks for.
    assert!(matches!(ask(&mut world, &mut kernel, FileRequest::Truncate { file, bytes: 5000 }), Ok(FileDone::Truncated)));
    assert!(read(&mut world, &mut kernel, file, 4096, 4096) == bytes[4096..5000]);
    // A large transfer leaves and returns whole.
    let large = pattern(8 << 20);
    write(&mut world, &mut kernel, file, 0, &large, true);
    assert!(read(&mut world, &mut kernel, file, 0, large.len()) == large);
}

pub(crate) fn a_file_is_made_once_and_found_again<W: World>(mut world: W) {
    let path = world.directory().join("data");
    let mut kernel = world.open(Options::default());
    let (file, traits) = create(&mut world, &mut kernel, &path, 100_000);
    assert_eq!(traits.bytes, 100_000, "the size that was asked for");
    assert!(read(&mut world, &mut kernel, file, 0, 102_400) == vec![0; 100_000], "room that was made reads as zeros");
    write(&mut world, &mut kernel, file, 8192, &[3; 4096], false);
    let refused = ask(&mut world, &mut kernel, FileRequest::Create { path: path.clone(), bytes: 0 }).unwrap_err();
    assert_eq!(refused.cause.kind(), io::ErrorKind::AlreadyExists);
    drop(kernel);
    let mut kernel = world.open(Options::default());
    let (file, traits) = open(&mut world, &mut kernel, &path, true);
    assert_eq!(traits.bytes, 100_000);
    let bytes = read(&mut world, &mut kernel, file, 4096, 3 * 4096);
    let expected: Vec<u8> = [[0; 4096], [3; 4096], [0; 4096]].concat();
    assert!(bytes == expected, "what a kernel wrote is there for the next one");
}

pub(crate) fn names_move_and_go<W: World>(mut world: W) {
    let directory = world.directory();
    let mut kernel = world.open(Options::default());
    let below = directory.join("below");
    for _ in 0..2 {
        let made = ask(&mut world, &mut kernel, FileRequest::MakeDirectory { path: below.clone() });
        assert!(matches!(made, Ok(FileDone::Made)), "a directory that is there is as good: {made:?}");
    }
    for (name, bytes) in [("b", 512), ("a", 1024), ("c", 0)] {
        create(&mut world, &mut kernel, &below.join(name), bytes);
    }
    let listed = |name: &str, bytes| Listed { name: name.to_owned(), bytes, is_directory: false };
    assert_eq!(list(&mut world, &mut kernel, &below), [listed("a", 1024), listed("b", 512), listed("c", 0)]);
    let outer = list(&mut world, &mut kernel, &directory);
    assert!(matches!(&outer[..], [Listed { name, is_directory: true, .. }] if name == "below"), "{outer:?}");
    let (file, _) = open(&mut world, &mut kernel, &below.join("b"), false);
    let renamed = ask(&mut world, &mut kernel, FileRequest::Rename { from: below.join("a"), to: below.join("b") });
    assert!(matches!(renamed, Ok(FileDone::Renamed)));
    assert_eq!(list(&mut world, &mut kernel, &below), [listed("b", 1024), listed("c", 0)]);
    assert_eq!(read(&mut world, &mut kernel, file, 0, 4096).len(), 512, "who opened the file before has it still");
    let synced = ask(&mut world, &mut kernel, FileRequest::SyncDirectory { path: below.clone() });
    assert!(matches!(synced, Ok(FileDone::DirectorySynced)));
    let full = ask(&mut world, &mut kernel, FileRequest::Unlink { path: below.clone() }).unwrap_err();
    assert_eq!(full.cause.kind(), io::ErrorKind::DirectoryNotEmpty);
    for path in [below.join("b"), below.join("c"), below.clone()] {
        assert!(matches!(ask(&mut world, &mut kernel, FileRequest::Unlink { path }), Ok(FileDone::Unlinked)));
    }
    assert_eq!(list(&mut world, &mut kernel, &directory), []);
    let space = ask(&mut world, &mut kernel, FileRequest::Space { path: directory });
    let Ok(FileDone::Space(Space { free_bytes, total_bytes })) = space else { panic!("unexpected {space:?}") };
    assert!(0 < free_bytes && free_bytes <= total_bytes);
}

pub(crate) fn failures_name_step_and_file<W: World>(mut world: W) {
    let directory = world.directory();
    let mut kernel = world.open(Options::default());
    let missing = directory.join("missing");
    let within = missing.join("within");
    let requests: [(FileRequest, &PathBuf); 8] = [
        (FileRequest::OpenRead { path: missing.clone(), direct: true }, &missing),
        (FileRequest::Create { path: within.clone(), bytes: 0 }, &within),
        (FileRequest::Rename { from: missing.clone(), to: directory.join("other") }, &missing),
        (FileRequest::Unlink { path: missing.clone() }, &missing),
        (FileRequest::MakeDirectory { path: within.clone() }, &within),
        (FileRequest::SyncDirectory { path: missing.clone() }, &missing),
        (FileRequest::List { path: missing.clone() }, &missing),
        (FileRequest::Lock { path: within.clone() }, &within),
    ];
    for (request, path) in requests {
        let what = format!("{request:?}");
        let failure = ask(&mut world, &mut kernel, request).expect_err(&what);
        assert_eq!(failure.cause.kind(), io::ErrorKind::NotFound, "{what}: {failure}");
        assert_eq!(failure.path.as_ref(), Some(path), "{what}");
        assert!(failure.to_string().starts_with(&format!("cannot {} {}: ", failure.step, path.display())), "{failure}");
    }
    // More room than there is: nothing is left behind.
    let vast = directory.join("vast");
    let failure = ask(&mut world, &mut kernel, FileRequest::Create { path: vast, bytes: 1 << 60 }).unwrap_err();
    assert_eq!(failure.step, "make room for", "{failure}");
    assert_eq!(list(&mut world, &mut kernel, &directory), [], "a file that could not be made is not there");
    // A file opened for reading is not written, and the buffer is not lost.
    let path = directory.join("data");
    create(&mut world, &mut kernel, &path, 4096);
    let (file, _) = open(&mut world, &mut kernel, &path, false);
    let mut buffer = Aligned::with_capacity(4096);
    buffer.extend_from_slice(&[1; 4096]);
    let failure = ask(&mut world, &mut kernel, FileRequest::Write { file, at: 0, buffer, sync: true }).unwrap_err();
    assert_eq!((failure.step, failure.path.as_ref()), ("write", Some(&path)), "{failure}");
    assert_eq!(&failure.buffer.expect("it comes back")[..], &[1; 4096]);
    assert_eq!(read(&mut world, &mut kernel, file, 0, 4096), [0; 4096]);
}

pub(crate) fn a_lock_excludes_until_its_kernel_is_gone<W: World>(mut world: W) {
    let path = world.directory().join("lock");
    let mut first = world.open(Options::default());
    let mut second = world.open(Options::default());
    let lock = || FileRequest::Lock { path: path.clone() };
    assert!(matches!(ask(&mut world, &mut first, lock()), Ok(FileDone::Locked)));
    let refused = ask(&mut world, &mut second, lock()).unwrap_err();
    assert_eq!(refused.cause.kind(), io::ErrorKind::WouldBlock);
    drop(first);
    assert!(matches!(ask(&mut world, &mut second, lock()), Ok(FileDone::Locked)));
}

pub(crate) fn closed_names_are_dead_and_their_requests_finish<W: World>(mut world: W) {
    let path = world.directory().join("data");
    let mut kernel = world.open(Options::default());
    let (file, _) = create(&mut world, &mut kernel, &path, 0);
    let empty_bytes = kernel.memory_bytes();
    let mut buffer = Aligned::with_capacity(1 << 20);
    buffer.extend_from_slice(&pattern(1 << 20));
    kernel.file(1, FileRequest::Write { file, at: 0, buffer, sync: true });
    assert!(kernel.memory_bytes() >= empty_bytes + (1 << 20), "buffers under way are counted");
    kernel.file(2, FileRequest::Close { file });
    kernel.file(3, FileRequest::Sync { file });
    let (mut wrote, mut closed, mut refused) = (false, false, false);
    turn_until(&mut world, &mut kernel, "three answers", |_, _, event| {
        match event {
            Some(Event::File { token: 1, outcome: Ok(FileDone::Wrote { .. }) }) => wrote = true,
            Some(Event::File { token: 2, outcome: Ok(FileDone::Closed) }) => closed = true,
            Some(Event::File { token: 3, outcome: Err(failure) }) => {
                assert_eq!(failure.cause.raw_os_error(), Some(9), "{failure}");
                refused = true;
            }
            None | Some(Event::Woken) => {}
            other => panic!("unexpected {other:?}"),
        }
        wrote && closed && refused
    });
    let (next, _) = create(&mut world, &mut kernel, &path.with_extension("next"), 0);
    assert_ne!(next, file, "a name is never used again");
    let (file, traits) = open(&mut world, &mut kernel, &path, true);
    assert_eq!(traits.bytes, 1 << 20);
    assert!(read(&mut world, &mut kernel, file, 0, 1 << 20) == pattern(1 << 20));
    assert!(kernel.memory_bytes() < empty_bytes + (1 << 20), "buffers that came back are not counted");
}

pub(crate) fn many_requests_are_all_answered_once<W: World>(mut world: W) {
    let directory = world.directory();
    let mut kernel = world.open(Options { events_per_turn_max: 8, ..Options::default() });
    let (file, traits) = create(&mut world, &mut kernel, &directory.join("data"), 0);
    let align = traits.align_bytes as usize;
    let requests = FILE_REQUESTS_MAX as u64;
    for token in 0..requests {
        let mut buffer = Aligned::with_capacity(align);
        buffer.resize(align);
        buffer.fill(token as u8);
        kernel.file(token, FileRequest::Write { file, at: token * align as u64, buffer, sync: token % 16 == 0 });
    }
    let mut answered = BTreeSet::new();
    turn_until(&mut world, &mut kernel, "all answers", |_, _, event| {
        match event {
            Some(Event::File { token, outcome: Ok(FileDone::Wrote { buffer }) }) => {
                assert!(buffer.iter().all(|byte| *byte == token as u8), "another one's buffer");
                assert!(answered.insert(token), "{token} was answered twice");
            }
            None | Some(Event::Woken) => {}
            other => panic!("unexpected {other:?}"),
        }
        answered.len() as u64 == requests
    });
    let bytes = read(&mut world, &mut kernel, file, 0, align * FILE_REQUESTS_MAX);
    assert!(bytes.chunks(align).enumerate().all(|(token, chunk)| chunk.iter().all(|byte| *byte == token as u8)));
}

//! Streams that something happened to: what is taken is what was written, and how the end is judged follows from which
//! frames are still whole.

use super::*;
use crate::log::{FrameFlags, FrameSpec, Generation, NodeId, StreamId, frame_at, frame_header};
use proptest::prelude::*;

/// A frame as it was written: where, which Lsns, what it says was durable.
#[derive(Clone, Debug)]
struct Written {
    segment: usize,
    at: usize,
    bytes: usize,
    first: u64,
    count: u32,
    synced: u64,
}

/// A stream's files, and what was written to them.
#[derive(Clone, Debug, Default)]
struct Stream {
    files: Vec<Vec<u8>>,
    frames: Vec<Written>,
}

fn header(seq: u64) -> SegmentHeader {
    SegmentHeader {
        kind: SegmentKind::Log,
        node: NodeId([7; 16]),
        stream: StreamId { generation: Generation(1), core: 0 },
        core_count: 1,
        partitions: 0..256,
        seq,
        created_ms: 5,
        align_bytes: 512,
        key_number: 0,
        nonce_prefix: 0,
        room_bytes: 0,
    }
}

/// What a frame of these Lsns holds, so that a taken one can be compared.
fn payload(first: u64, bytes: usize) -> Vec<u8> {
    (0..bytes).map(|index| (first as usize * 31 + index * 7) as u8).collect()
}

/// `shape`: per frame its entries (0: a mark), its payload's length, whether everything before it was durable, whether a
/// segment begins with it. `spare` blocks of zeros end each file.
fn stream(shape: &[(u32, usize, bool, bool)], spare: usize) -> Stream {
    let mut stream = Stream { files: vec![header(0).to_bytes().to_vec()], ..Stream::default() };
    let (mut next, mut synced) = (1, 0);
    for (count, bytes, is_synced, begins_segment) in shape {
        if *begins_segment {
            let seq = stream.files.len();
            stream.files.last_mut().unwrap().resize_with_zeros(spare);
            stream.files.push(header(seq as u64).to_bytes().to_vec());
        }
        let segment = stream.files.len() - 1;
        let at = stream.files[segment].len();
        if *is_synced {
            synced = next - 1;
        }
        let payload = if *count == 0 { Vec::new() } else { payload(next, *bytes) };
        let spec = FrameSpec {
            at: at as u64,
            first_lsn: Lsn(next),
            synced_lsn: Lsn(synced),
            clock_ms: 9,
            entry_count: *count,
            raw_bytes: payload.len() as u32,
            flags: if *count == 0 { FrameFlags::MARK } else { FrameFlags::ENTRIES },
            key_number: 0,
        };
        let file = &mut stream.files[segment];
        file.extend(frame_header(&spec, &payload, header(segment as u64).seed()));
        file.extend(&payload);
        file.resize(file.len().next_multiple_of(512), 0);
        stream.frames.push(Written { segment, at, bytes: FRAME_HEADER_BYTES_ALL + payload.len(), first: next, count: *count, synced });
        next += u64::from(*count);
    }
    stream.files.last_mut().unwrap().resize_with_zeros(spare);
    stream
}

const FRAME_HEADER_BYTES_ALL: usize = crate::log::FRAME_HEADER_BYTES;

trait Spare {
    fn resize_with_zeros(&mut self, blocks: usize);
}

impl Spare for Vec<u8> {
    fn resize_with_zeros(&mut self, blocks: usize) {
        self.resize(self.len() + 512 * blocks, 0);
    }
}

/// Scans it, fed in chunks of so many blocks; what was taken as (first, payload), and the tail.
fn scan(files: &[Vec<u8>], chunk_blocks: usize, expected: Lsn, durable: Lsn) -> (Vec<(u64, Vec<u8>)>, Tail) {
    let (first, seed) = SegmentHeader::read(&files[0]).unwrap();
    let mut scan = Scan::begin(&first, seed, expected);
    scan.note_durable(durable);
    let mut taken = Vec::new();
    let mut take = |header: &FrameHeader, payload: &[u8]| taken.push((header.first_lsn.0, payload.to_vec()));
    for (index, file) in files.iter().enumerate() {
        if index > 0 {
            let (header, seed) = SegmentHeader::read(file).unwrap();
            scan.next_segment(&header, seed, &mut take).unwrap();
        }
        for chunk in file[SEGMENT_HEADER_BYTES..].chunks(512 * chunk_blocks) {
            scan.feed(chunk, &mut take).unwrap();
        }
    }
    let tail = scan.finish(&mut take).unwrap();
    (taken, tail)
}

/// What must come out, from which frames are still what they were.
fn check(before: &Stream, files: &[Vec<u8>], chunk_blocks: usize, witness: u64) {
    let is_whole = |frame: &Written| {
        let place = frame.at..frame.at + frame.bytes;
        files[frame.segment].get(place.clone()) == Some(&before.files[frame.segment][place])
    };
    let (mut next, mut known, mut expected) = (1, witness, Vec::new());
    for frame in before.frames.iter().filter(|frame| is_whole(frame)) {
        known = known.max(frame.synced);
        if frame.first == next {
            next += u64::from(frame.count);
            expected.push((frame.first, if frame.count == 0 { 0 } else { frame.bytes - FRAME_HEADER_BYTES_ALL }));
        }
    }
    let (taken, tail) = scan(files, chunk_blocks, Lsn(1), Lsn(0));
    assert_eq!(taken.iter().map(|(first, payload)| (*first, payload.len())).collect::<Vec<_>>(), expected);
    assert!(taken.iter().all(|(first, bytes)| *bytes == payload(*first, bytes.len())));
    assert_eq!(tail.end(), Lsn(next));
    assert_eq!(matches!(tail, Tail::Damaged { .. }), known >= next, "{tail:?}, known {known}");
    if let Tail::Damaged { known: said, .. } = tail {
        assert_eq!(said, Lsn(known));
    }
}

fn shape() -> impl Strategy<Value = Vec<(u32, usize, bool, bool)>> {
    let frame =
        (prop_oneof![1 => Just(0u32), 5 => 1..5u32], prop_oneof![1..200usize, 400..3000usize], any::<bool>(), prop::bool::weighted(0.2));
    prop::collection::vec(frame, 0..12)
}

#[derive(Clone, Debug)]
enum Fault {
    Flip { at: usize, bit: u32 },
    Zero { at: usize, blocks: usize },
    Garbage { at: usize, blocks: usize },
    Cut { at: usize },
    Misdirect { frame: usize, to: usize },
}

fn fault() -> impl Strategy<Value = Fault> {
    let at = 0usize..1 << 24;
    prop_oneof![
        (at.clone(), 0..8u32).prop_map(|(at, bit)| Fault::Flip { at, bit }),
        (at.clone(), 1..6usize).prop_map(|(at, blocks)| Fault::Zero { at, blocks }),
        (at.clone(), 1..6usize).prop_map(|(at, blocks)| Fault::Garbage { at, blocks }),
        at.clone().prop_map(|at| Fault::Cut { at }),
        (0usize..1 << 20, at).prop_map(|(frame, to)| Fault::Misdirect { frame, to }),
    ]
}

/// Does it to the last file that has frames for most faults. What a frame that went astray still says was durable.
fn inflict(stream: &Stream, files: &mut [Vec<u8>], fault: &Fault) -> u64 {
    let total: usize = files.iter().map(|file| file.len() - SEGMENT_HEADER_BYTES).sum();
    let place = |at: usize| {
        let mut at = at % total.max(1);
        for (segment, file) in stream.files.iter().enumerate() {
            if at < file.len() - SEGMENT_HEADER_BYTES {
                return Some((segment, at + SEGMENT_HEADER_BYTES));
            }
            at -= file.len() - SEGMENT_HEADER_BYTES;
        }
        None
    };
    let fill = |files: &mut [Vec<u8>], at: usize, blocks: usize, byte: &dyn Fn(usize) -> u8| {
        let Some((segment, at)) = place(at) else { return };
        let at = at / 512 * 512;
        let len = files[segment].len();
        for (index, target) in files[segment][at..len.min(at + 512 * blocks)].iter_mut().enumerate() {
            *target = byte(index);
        }
    };
    match *fault {
        Fault::Flip { at, bit } => {
            if let Some((segment, at)) = place(at) {
                files[segment][at] ^= 1 << bit;
            }
        }
        Fault::Zero { at, blocks } => fill(files, at, blocks, &|_| 0),
        Fault::Garbage { at, blocks } => fill(files, at, blocks, &|index| (index * 37 + at) as u8 | 1),
        Fault::Cut { at } => {
            if let Some((segment, at)) = place(at) {
                files[segment].truncate(at / 512 * 512);
            }
        }
        Fault::Misdirect { frame, to } => {
            let Some(frame) = stream.frames.get(frame % stream.frames.len().max(1)) else { return 0 };
            let Some((segment, to)) = place(to) else { return 0 };
            let source = stream.files[frame.segment][frame.at..(frame.at + frame.bytes).next_multiple_of(512)].to_vec();
            let to = to / 512 * 512;
            if (segment, to) == (frame.segment, frame.at) || to + source.len() > files[segment].len() {
                return 0;
            }
            files[frame.segment][frame.at..frame.at + source.len()].fill(0);
            files[segment][to..to + source.len()].copy_from_slice(&source);
            // In another file its checksum does not hold, and so it says nothing.
            return if segment == frame.segment { frame.synced } else { 0 };
        }
    }
    0
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1500))]

    #[test]
    fn whatever_happens_nothing_wrong_is_taken_and_the_end_is_judged_by_what_was_durable(
        shape in shape(), spare in 0..4usize, chunk_blocks in 1..20usize, fault in prop::option::weighted(0.9, fault())
    ) {
        let stream = stream(&shape, spare);
        let mut files = stream.files.clone();
        let witness = fault.as_ref().map_or(0, |fault| inflict(&stream, &mut files, fault));
        check(&stream, &files, chunk_blocks, witness);
        if fault.is_none() {
            let (taken, tail) = scan(&files, chunk_blocks, Lsn(1), Lsn(0));
            prop_assert_eq!(taken.len(), shape.len());
            let is_clean = matches!(tail, Tail::Clean { .. });
            prop_assert!(is_clean);
        }
    }
}

/// Every byte of a small stream flipped, and every length it can be cut to.
#[test]
fn every_flip_and_every_cut() {
    let before = stream(&[(2, 100, true, false), (1, 600, true, false), (0, 0, true, false), (3, 10, false, true), (1, 5, true, false)], 2);
    for segment in 0..before.files.len() {
        for at in SEGMENT_HEADER_BYTES..before.files[segment].len() {
            let mut files = before.files.clone();
            files[segment][at] ^= 1 << (at % 8);
            check(&before, &files, 3, 0);
            if at % 64 == 0 {
                let mut files = before.files.clone();
                files[segment].truncate(at);
                check(&before, &files, 3, 0);
            }
        }
    }
}

#[test]
fn tails_say_where_they_begin() {
    let at = SEGMENT_HEADER_BYTES;
    let before = stream(&[(2, 100, true, false), (1, 100, true, false), (1, 100, true, true), (1, 100, true, false)], 4);
    let (_, tail) = scan(&before.files, 2, Lsn(1), Lsn(0));
    assert_eq!(tail, Tail::Clean { end: Lsn(6), segment: 1, at: at as u64 + 1024 });
    assert_eq!(tail.decided(Lsn(4)), Tail::Clean { end: Lsn(4), segment: 1, at: at as u64 + 1024 });
    assert_eq!(tail.decided(Lsn(8)), Tail::Damaged { end: Lsn(6), segment: 1, at: at as u64 + 1024, known: Lsn(7) });

    let mut torn = before.files.clone();
    torn[1][at + 512 + 70] ^= 1;
    assert_eq!(scan(&torn, 2, Lsn(1), Lsn(0)).1, Tail::Torn { end: Lsn(5), segment: 1, at: at as u64 + 512, bytes: 512 });
    assert_eq!(scan(&torn, 2, Lsn(1), Lsn(5)).1, Tail::Damaged { end: Lsn(5), segment: 1, at: at as u64 + 512, known: Lsn(5) });

    let mut damaged = before.files.clone();
    damaged[0][at + 512] ^= 1;
    assert_eq!(scan(&damaged, 2, Lsn(1), Lsn(0)).1, Tail::Damaged { end: Lsn(3), segment: 0, at: at as u64 + 512, known: Lsn(4) });
}

#[test]
fn what_is_missing_at_a_segment_s_end_is_missing_there() {
    // Four frames, two in each segment; the first segment loses its last one to the byte.
    let before = stream(&[(2, 100, true, false), (2, 100, true, false), (2, 100, true, true), (2, 100, true, false)], 0);
    let mut files = before.files.clone();
    let cut = before.frames[1].at;
    files[0].truncate(cut);
    let (taken, tail) = scan(&files, 8, Lsn(1), Lsn(0));
    assert_eq!(taken.len(), 1);
    assert_eq!(tail, Tail::Damaged { end: Lsn(3), segment: 0, at: cut as u64, known: Lsn(6) });
}

#[test]
fn what_a_snapshot_has_is_not_missed() {
    let before = stream(&[(2, 100, true, false), (1, 100, true, false), (1, 100, true, true), (1, 100, true, false)], 4);
    // From 4 on everything is needed: the second segment alone will do, and so will a first one with a hole.
    let (taken, tail) = scan(&before.files[1..], 2, Lsn(4), Lsn(0));
    assert_eq!((taken[0].0, tail.end()), (4, Lsn(6)));
    assert!(matches!(tail, Tail::Clean { .. }));
    let mut holed = before.files.clone();
    holed[0][SEGMENT_HEADER_BYTES + 70] ^= 1;
    assert!(matches!(scan(&holed, 2, Lsn(3), Lsn(0)).1, Tail::Clean { end: Lsn(6), .. }));
    // From 2 on it will not.
    assert!(matches!(scan(&holed, 2, Lsn(2), Lsn(0)).1, Tail::Damaged { end: Lsn(2), known: Lsn(4), .. }));
    assert!(matches!(scan(&before.files[1..], 2, Lsn(3), Lsn(0)).1, Tail::Damaged { end: Lsn(3), known: Lsn(4), .. }));
    // An empty segment ends where it is expected to begin.
    let empty = [header(3).to_bytes().to_vec()];
    assert!(matches!(scan(&empty, 2, Lsn(7), Lsn(6)).1, Tail::Clean { end: Lsn(7), .. }));
    assert!(matches!(scan(&empty, 2, Lsn(7), Lsn(7)).1, Tail::Damaged { end: Lsn(7), known: Lsn(7), .. }));
}

#[test]
fn a_missing_segment_is_an_error_and_a_newer_frame_is_no_damage() {
    let before = stream(&[(2, 100, true, false), (1, 100, true, true), (1, 100, true, true)], 0);
    let (first, seed) = SegmentHeader::read(&before.files[0]).unwrap();
    let (third, third_seed) = SegmentHeader::read(&before.files[2]).unwrap();
    let mut scan = Scan::begin(&first, seed, Lsn(1));
    let refused = scan.next_segment(&third, third_seed, &mut |_, _| {}).unwrap_err();
    assert_eq!(refused.why, "segment 1 of the stream is missing: found 2 instead");

    let mut file = before.files[0].clone();
    let place = SEGMENT_HEADER_BYTES;
    file[place + 52] |= 0x80;
    let crc = crc32c::crc32c_append(seed, &file[place + 8..place + 164]).to_le_bytes();
    file[place + 4..place + 8].copy_from_slice(&crc);
    let mut scan = Scan::begin(&first, seed, Lsn(1));
    assert_eq!(scan.feed(&file[place..], &mut |_, _| {}).unwrap_err().place, place as u64);
}

#[test]
fn a_lost_mark_loses_nothing_but_is_noticed() {
    // Of the second, the length is lost: it seems to be a frame longer than the rest of the file.
    for (at, bit) in [(9, 4), (11, 64)] {
        let mut before = stream(&[(2, 100, true, false), (0, 0, true, false), (1, 100, true, false)], 1);
        before.files[0][SEGMENT_HEADER_BYTES + 512 + at] ^= bit;
        let (first, seed) = SegmentHeader::read(&before.files[0]).unwrap();
        let mut scan = Scan::begin(&first, seed, Lsn(1));
        let mut count = 0;
        let mut take = |_: &FrameHeader, _: &[u8]| count += 1;
        for chunk in before.files[0][SEGMENT_HEADER_BYTES..].chunks(1024) {
            scan.feed(chunk, &mut take).unwrap();
        }
        scan.end_segment(&mut take).unwrap();
        assert_eq!((scan.stray_bytes(), scan.is_closed()), (512, false));
        assert!(matches!(scan.finish(&mut take), Ok(Tail::Clean { end: Lsn(4), .. })));
        assert_eq!(count, 2);
    }
    let before = stream(&[(2, 100, true, false), (0, 0, true, false), (1, 100, true, false), (0, 0, true, false)], 1);
    let mut long = before.files.clone();
    long[0][SEGMENT_HEADER_BYTES + 512 + 11] ^= 64;
    check(&before, &long, 2, 0);
}

/// A stream whose files were made with so much room: full ones are cut to what is in them, the last one is not.
fn roomy(shape: &[(u32, usize, bool, bool)], room_bytes: usize) -> Stream {
    let mut stream = Stream::default();
    let mut place = (0, 0);
    let plain = self::stream(shape, 0);
    for (seq, file) in plain.files.iter().enumerate() {
        let header = SegmentHeader { room_bytes: room_bytes as u64, ..header(seq as u64) };
        let mut bytes = header.to_bytes().to_vec();
        for frame in plain.frames.iter().filter(|frame| frame.segment == seq) {
            let (found, stored) = frame_at(&file[frame.at..], frame.at as u64, self::header(seq as u64).seed()).unwrap();
            let spec = FrameSpec {
                at: bytes.len() as u64,
                first_lsn: found.first_lsn,
                synced_lsn: found.synced_lsn,
                clock_ms: found.clock_ms,
                entry_count: found.entry_count,
                raw_bytes: stored.len() as u32,
                flags: FrameFlags::ENTRIES,
                key_number: 0,
            };
            bytes.extend(frame_header(&spec, stored, header.seed()));
            bytes.extend(stored);
            bytes.resize(bytes.len().next_multiple_of(512), 0);
            place = (seq, bytes.len());
            stream.frames.push(Written { segment: seq, ..frame.clone() });
        }
        stream.files.push(bytes);
    }
    let last = stream.files.len() - 1;
    stream.files[last].resize(room_bytes, 0);
    assert_eq!(place.0, last);
    stream
}

#[test]
fn a_file_that_became_shorter_was_cut_unless_the_stream_goes_on_behind_it() {
    let room = SEGMENT_HEADER_BYTES + 8 * 512;
    let before = roomy(&[(1, 100, true, false), (1, 100, true, false), (1, 100, true, true), (1, 100, true, false)], room);
    let clean = |files: &[Vec<u8>]| matches!(scan(files, 2, Lsn(1), Lsn(0)).1, Tail::Clean { .. });
    assert!(before.files[0].len() < room && clean(&before.files), "the first file is over");
    // Between two frames, where nothing else tells that there was more; or where only zeros were.
    for blocks in 0..8 {
        let mut files = before.files.clone();
        files[1].truncate(SEGMENT_HEADER_BYTES + blocks * 512);
        let at = (SEGMENT_HEADER_BYTES + blocks * 512) as u64;
        let end = Lsn(3 + blocks.min(2) as u64);
        assert_eq!(scan(&files, 2, Lsn(1), Lsn(0)).1, Tail::Cut { end, segment: 1, at, room_bytes: room as u64 });
        assert!(matches!(scan(&files, 2, Lsn(1), Lsn(0)).1.decided(end), Tail::Clean { .. }), "what a person decided counts");
    }
    // The file behind the first one is gone, or holds nothing.
    let (_, tail) = scan(&before.files[..1], 2, Lsn(1), Lsn(0));
    assert_eq!(tail, Tail::Cut { end: Lsn(3), segment: 0, at: before.files[0].len() as u64, room_bytes: room as u64 });
    let mut files = before.files.clone();
    files[1][SEGMENT_HEADER_BYTES..].fill(0);
    assert!(matches!(scan(&files, 2, Lsn(1), Lsn(0)).1, Tail::Cut { segment: 0, .. }));
    // One that was not full yet when the next was made ready has its room, and so has that.
    files[0].resize(room, 0);
    assert!(clean(&files) && clean(&files[..1]));
    files[1].truncate(SEGMENT_HEADER_BYTES);
    assert!(matches!(scan(&files, 2, Lsn(1), Lsn(0)).1, Tail::Cut { segment: 1, .. }));
}

#[test]
fn a_full_file_tells_that_another_follows_it() {
    let room = SEGMENT_HEADER_BYTES + 2 * 512;
    let mut before = roomy(&[(1, 100, true, false), (1, 100, true, false), (1, 100, true, true)], room);
    let at = retired_bytes(before.files[0].len() as u64, room as u64, 512);
    assert_eq!((before.files[0].len(), at), (room, room as u64 + 512));
    assert!(matches!(scan(&before.files[..1], 2, Lsn(1), Lsn(0)).1, Tail::Clean { .. }), "it was not over yet");
    before.files[0].resize(at as usize, 0);
    assert!(matches!(scan(&before.files, 2, Lsn(1), Lsn(0)).1, Tail::Clean { .. }));
    let (_, tail) = scan(&before.files[..1], 2, Lsn(1), Lsn(0));
    assert_eq!(tail, Tail::Cut { end: Lsn(3), segment: 0, at, room_bytes: room as u64 });
    // A frame larger than the room that a crash tore is no sign of anything.
    let mut torn = before.files[0][..SEGMENT_HEADER_BYTES].to_vec();
    torn.resize(at as usize, 0);
    assert!(matches!(scan(&[torn], 2, Lsn(1), Lsn(0)).1, Tail::Clean { .. }));
}

#[test]
fn a_stream_that_ended_in_order_may_be_as_short_as_it_is() {
    let room = SEGMENT_HEADER_BYTES + 8 * 512;
    let mut before = roomy(&[(1, 100, true, false)], room);
    let header = SegmentHeader { room_bytes: room as u64, ..header(0) };
    before.files[0].truncate(SEGMENT_HEADER_BYTES + 512);
    let cut = |files: &[Vec<u8>]| matches!(scan(files, 2, Lsn(1), Lsn(0)).1, Tail::Cut { .. });
    assert!(cut(&before.files));
    let spec = FrameSpec {
        at: before.files[0].len() as u64,
        first_lsn: Lsn(2),
        synced_lsn: Lsn(1),
        clock_ms: 9,
        entry_count: 0,
        raw_bytes: 0,
        flags: FrameFlags::END,
        key_number: 0,
    };
    before.files[0].extend(frame_header(&spec, b"", header.seed()));
    before.files[0].resize(SEGMENT_HEADER_BYTES + 1024, 0);
    assert!(!cut(&before.files));
}

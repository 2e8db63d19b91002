//! What is sealed comes out again, and nothing else does.

use super::*;
use proptest::prelude::*;
use shards::log::{
    FRAME_HEADER_BYTES, FrameKind, Generation, Lsn, NodeId, SEGMENT_HEADER_BYTES, Scan, SegmentKind, StreamId, frame_header,
};

const ALIGN_BYTES: u32 = 512;

fn keys() -> Keys {
    Keys::parse(&format!("1 {}\n2 {}", "0f".repeat(32), "a5".repeat(32))).expect("two keys")
}

fn file(key_number: u32) -> SegmentHeader {
    SegmentHeader {
        kind: SegmentKind::Log,
        node: NodeId([3; 16]),
        stream: StreamId { generation: Generation(1), core: 0 },
        core_count: 1,
        partitions: 0..256,
        seq: 0,
        created_ms: 1_700_000_000_000,
        align_bytes: ALIGN_BYTES,
        key_number,
        nonce_prefix: 0x0102_0304,
        room_bytes: 0,
    }
}

fn spec(at: u64, raw: &[u8]) -> FrameSpec {
    FrameSpec {
        at,
        first_lsn: Lsn(1),
        synced_lsn: Lsn(0),
        clock_ms: 1_700_000_000_000,
        entry_count: 1,
        raw_bytes: raw.len() as u32,
        flags: FrameFlags::ENTRIES,
        key_number: 0,
    }
}

/// A whole frame at the beginning of a file's frames, sealed.
fn framed(header: &SegmentHeader, compression: Compression, raw: &[u8]) -> Vec<u8> {
    let mut seal = Seal::of(header, &keys()).expect("the key is there");
    let mut spec = spec(SEGMENT_HEADER_BYTES as u64, raw);
    let stored = seal.seal(compression, &mut spec, raw);
    assert!(stored.len() <= raw.len() + SEAL_BYTES_MAX);
    [&frame_header(&spec, stored, header.seed())[..], stored].concat()
}

/// What a scan finds in these bytes, if it is a frame whose checksum holds.
fn found(header: &SegmentHeader, bytes: &[u8]) -> Option<(FrameHeader, Vec<u8>)> {
    let mut frames = Vec::new();
    let mut scan = Scan::begin(header, header.seed(), Lsn(1));
    scan.feed(bytes, &mut |header, stored| frames.push((*header, stored.to_vec()))).ok()?;
    scan.finish(&mut |header, stored| frames.push((*header, stored.to_vec()))).ok()?;
    frames.pop()
}

/// Sets a frame's checksum to what it would be if its other bytes were meant.
fn make_checksum_hold(header: &SegmentHeader, frame: &mut [u8]) {
    let crc = crc32c::crc32c_append(header.seed(), &frame[8..]);
    frame[4..8].copy_from_slice(&crc.to_le_bytes());
}

/// Something between noise and one byte over and over.
fn payload() -> impl Strategy<Value = Vec<u8>> {
    (prop::collection::vec(any::<u8>(), 1..200), 1usize..400).prop_map(|(piece, times)| piece.repeat(times))
}

fn compression() -> impl Strategy<Value = Compression> {
    prop_oneof![Just(Compression::None), Just(Compression::Lz4), Just(Compression::Zstd)]
}

proptest! {
    #[test]
    fn what_was_sealed_is_opened_again(raws in prop::collection::vec((payload(), compression()), 1..5), key_number in 0u32..3) {
        let header = file(key_number);
        let mut seal = Seal::of(&header, &keys()).expect("the key is there");
        let mut unseal = Unseal::of(&header, &keys()).expect("the key is there");
        let mut at = SEGMENT_HEADER_BYTES as u64;
        let mut bytes = Vec::new();
        for (lsn, (raw, compression)) in (1..).zip(&raws) {
            let mut spec = FrameSpec { first_lsn: Lsn(lsn), ..spec(at, raw) };
            let stored = seal.seal(*compression, &mut spec, raw);
            bytes.extend_from_slice(&frame_header(&spec, stored, header.seed()));
            bytes.extend_from_slice(stored);
            bytes.resize(bytes.len().next_multiple_of(ALIGN_BYTES as usize), 0);
            at = (SEGMENT_HEADER_BYTES + bytes.len()) as u64;
        }
        let mut opened = Vec::new();
        Scan::begin(&header, header.seed(), Lsn(1))
            .feed(&bytes, &mut |header, stored| opened.push(unseal.open(header, stored).expect("just sealed").to_vec()))
            .expect("frames of this version");
        prop_assert_eq!(opened, raws.into_iter().map(|(raw, _)| raw).collect::<Vec<_>>());
    }

    #[test]
    fn one_flip_is_refused_even_where_the_checksum_was_made_to_hold(
        raw in payload(), compression in compression(), at in 8usize..1 << 20, bit in 0u32..8
    ) {
        let header = file(2);
        let mut frame = framed(&header, compression, &raw);
        let at = at % frame.len();
        prop_assume!(at >= 8);
        frame[at] ^= 1 << bit;
        prop_assert!(found(&header, &frame).is_none(), "the checksum sees it");
        make_checksum_hold(&header, &mut frame);
        // What is not even taken for a frame, or is one that says it lies elsewhere, comes to nothing; the rest does not open.
        if let Some((found, stored)) = found(&header, &frame) {
            let mut unseal = Unseal::of(&header, &keys()).expect("the key is there");
            prop_assert!(unseal.open(&found, &stored).is_err());
        }
    }

    #[test]
    fn a_compressed_frame_that_lies_is_refused_and_breaks_nothing(
        raw in payload(), lz4: bool, at in FRAME_HEADER_BYTES..1 << 20, byte: u8, raw_bytes: u32
    ) {
        let header = file(0);
        let compression = if lz4 { Compression::Lz4 } else { Compression::Zstd };
        let mut frame = framed(&header, compression, &[&raw[..], &[7; 4096]].concat());
        let at = FRAME_HEADER_BYTES + at % (frame.len() - FRAME_HEADER_BYTES);
        frame[at] = byte;
        make_checksum_hold(&header, &mut frame);
        let (mut found, stored) = found(&header, &frame).expect("the checksum holds");
        let mut unseal = Unseal::of(&header, &keys()).expect("no key is needed");
        if let Ok(opened) = unseal.open(&found, &stored) {
            prop_assert_eq!(opened.len(), found.raw_bytes as usize);
        }
        prop_assume!(raw_bytes != found.raw_bytes);
        found.raw_bytes = raw_bytes;
        prop_assert!(unseal.open(&found, &stored).is_err());
    }
}

#[test]
fn every_flip_of_one_frame_is_refused() {
    let header = file(1);
    let whole = framed(&header, Compression::Zstd, &b"what nobody else may read ".repeat(60));
    for at in 8..whole.len() {
        for bit in 0..8 {
            let mut frame = whole.clone();
            frame[at] ^= 1 << bit;
            make_checksum_hold(&header, &mut frame);
            if let Some((found, stored)) = found(&header, &frame) {
                let opened = Unseal::of(&header, &keys()).expect("the key is there").open(&found, &stored).map(<[u8]>::to_vec);
                assert!(opened.is_err(), "byte {at} bit {bit}");
            }
        }
    }
}

#[test]
fn compression_happens_where_it_saves_room() {
    let long = b"SET key:000000000001 value ".repeat(200);
    let noise: Vec<u8> = (0u64..5000)
        .map(|n| {
            let mixed = (n ^ n << 31).wrapping_mul(0x9e37_79b9_7f4a_7c15);
            ((mixed ^ mixed >> 29).wrapping_mul(0xbf58_476d_1ce4_e5b9) >> 56) as u8
        })
        .collect();
    for (compression, raw, how) in [
        (Compression::None, &long[..], FrameFlags::ENTRIES),
        (Compression::Lz4, &long, FrameFlags::ENTRIES.with(FrameFlags::LZ4)),
        (Compression::Zstd, &long, FrameFlags::ENTRIES.with(FrameFlags::ZSTD)),
        // Two blocks would not become one, or one none.
        (Compression::Zstd, &long[..511], FrameFlags::ENTRIES),
        (Compression::Lz4, &noise, FrameFlags::ENTRIES),
        (Compression::Zstd, &noise, FrameFlags::ENTRIES),
    ] {
        let header = file(0);
        let (found, stored) = found(&header, &framed(&header, compression, raw)).expect("a frame");
        assert_eq!((found.flags, found.kind()), (how, Ok(FrameKind::Entries)), "{compression} of {}", raw.len());
        assert_eq!(stored.len() < raw.len(), how != FrameFlags::ENTRIES);
    }
}

#[test]
fn frames_of_one_file_under_one_key_have_different_nonces() {
    let header = file(1);
    let lock = Lock::of(&header, keys().of_file(&header).expect("the key is there"));
    let nonces = [4096, 4608, 1 << 40].map(|at| *lock.nonce(at).as_ref());
    assert_eq!(nonces[0], [4, 3, 2, 1, 0, 16, 0, 0, 0, 0, 0, 0]);
    assert!(nonces[0] != nonces[1] && nonces[1] != nonces[2]);
}

#[test]
#[should_panic(expected = "sealed twice")]
fn one_place_is_never_sealed_twice() {
    let mut seal = Seal::of(&file(1), &keys()).expect("the key is there");
    seal.seal(Compression::None, &mut spec(8192, b"one"), b"one");
    seal.seal(Compression::None, &mut spec(8192, b"two"), b"two");
}

#[test]
fn files_have_keys_of_their_own() {
    let raw = b"the same in every file";
    let one = framed(&file(1), Compression::None, raw);
    for other in [
        SegmentHeader { seq: 1, ..file(1) },
        SegmentHeader { created_ms: 5, ..file(1) },
        SegmentHeader { nonce_prefix: 5, ..file(1) },
        SegmentHeader { node: NodeId([4; 16]), ..file(1) },
        SegmentHeader { kind: SegmentKind::Snapshot, ..file(1) },
        file(2),
    ] {
        assert_ne!(framed(&other, Compression::None, raw)[FRAME_HEADER_BYTES..], one[FRAME_HEADER_BYTES..]);
        let (found, stored) = found(&file(1), &one).expect("a frame");
        assert!(Unseal::of(&other, &keys()).expect("the key is there").open(&found, &stored).is_err());
    }
    assert!(!one.windows(8).any(|bytes| raw.windows(8).any(|plain| plain == bytes)), "nothing of it is to be seen");
}

#[test]
fn a_wrong_key_a_missing_key_and_damage_are_told_apart() {
    let header = file(1);
    let (found, stored) = found(&header, &framed(&header, Compression::Lz4, &[b'x'; 2000])).expect("a frame");
    let other = Keys::parse(&format!("1 {}", "11".repeat(32))).expect("a key");
    assert_eq!(Unseal::of(&header, &other).expect("a key 1").open(&found, &stored), Err(Unopened::WrongKey(1)));
    assert!(Unseal::of(&header, &Keys::default()).is_none() && Seal::of(&header, &Keys::default()).is_none());
    // A frame that is not encrypted in a file that is: somebody put it there.
    let plain = FrameHeader { flags: FrameFlags::ENTRIES, key_number: 0, ..found };
    for (file, frame) in [(file(1), plain), (file(0), found), (file(2), found)] {
        let opened = Unseal::of(&file, &keys()).expect("the key is there").open(&frame, &stored).map(<[u8]>::to_vec);
        assert!(matches!(opened, Err(Unopened::Damaged(_))), "{opened:?}");
    }
}

#[test]
fn ways_to_compress_have_names() {
    for (compression, name) in Compression::ALL {
        assert_eq!((name.parse(), compression.to_string().as_str()), (Ok(compression), name));
    }
    assert_eq!("ZSTD".parse(), Ok(Compression::Zstd));
    assert!("gzip".parse::<Compression>().unwrap_err().contains("none, lz4, zstd"));
}

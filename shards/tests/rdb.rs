//! RDB files: those of Redis, those that no server here writes, those that were cut or damaged, and our own.

use proptest::prelude::*;
use shards::Kind;
use shards::rdb::{Collection, Entry, Item, OtherKind, Position, ReadError, Reader, Value, Writer, crc64};
use std::collections::BTreeMap;
use std::io::{BufReader, Read};

/// Every kind of value that Redis 7.0.15 writes, in three databases, with an eviction policy that notes how often keys are used.
const REDIS_7_0: &[u8] = include_bytes!("dumps/redis-7.0.15.rdb");

/// Version 11, with streams and sets as they have been written since Redis 7.2: a build of Valkey between 8.0 and 8.1.
const VALKEY_8: &[u8] = include_bytes!("dumps/valkey-8.rdb");

/// A key as it was read: database, key, value or kind, deadline.
type Read1 = (u32, Vec<u8>, Result<Vec<u8>, OtherKind>, Option<u64>);

#[derive(Debug, Default, PartialEq, Eq)]
struct Contents {
    keys: Vec<Read1>,
    about: Vec<(Vec<u8>, Vec<u8>)>,
    functions: usize,
    module_data: usize,
}

impl Contents {
    fn take(&mut self, item: Item<'_>) -> bool {
        match item {
            Item::About { name, value } => self.about.push((name.to_vec(), value.to_vec())),
            Item::Sizes { .. } => {}
            Item::Key(Entry { db, key, value, expires_at_ms }) => {
                let value = match value {
                    Value::String(text) => Ok(text.to_vec()),
                    Value::Collection(collection) => Ok(shown(collection)),
                    Value::Other(kind) => Err(kind),
                };
                self.keys.push((db, key.to_vec(), value, expires_at_ms));
            }
            Item::Functions => self.functions += 1,
            Item::ModuleData => self.module_data += 1,
            Item::End => return false,
        }
        true
    }
}

/// A collection in one line: kind, count, elements; those without an order of their own are sorted.
fn shown(collection: Collection<'_>) -> Vec<u8> {
    let mut elements: Vec<Vec<u8>> = match collection.kind() {
        Kind::SortedSet => collection.scored().map(|(member, score)| [member, format!("={score}").as_bytes()].concat()).collect(),
        Kind::Hash => collection.pairs().map(|(field, value)| [field, b"=", value].concat()).collect(),
        _ => collection.elements().map(<[u8]>::to_vec).collect(),
    };
    assert_eq!(elements.len(), collection.len());
    if matches!(collection.kind(), Kind::Set | Kind::Hash) {
        elements.sort();
    }
    [format!("{:?} {}: ", collection.kind(), collection.len()).into_bytes(), elements.join(&b' ')].concat()
}

fn read(bytes: &[u8]) -> Result<Contents, ReadError> {
    let mut reader = Reader::begin(bytes)?;
    let mut contents = Contents::default();
    while contents.take(reader.next()?) {}
    assert!(reader.has_ended());
    assert_eq!(reader.next()?, Item::End);
    assert!(reader.into_input().is_empty(), "the reader stops behind the last byte of what was given");
    Ok(contents)
}

fn file(magic: &str, body: &[u8]) -> Vec<u8> {
    let mut bytes = [magic.as_bytes(), body, &[255]].concat();
    let checksum = crc64(&bytes);
    bytes.extend_from_slice(&checksum.to_le_bytes());
    bytes
}

#[test]
fn every_kind_of_redis_7_is_read() {
    let contents = read(REDIS_7_0).unwrap();
    let by_name: BTreeMap<&[u8], &Read1> = contents.keys.iter().map(|found| (found.1.as_slice(), found)).collect();
    assert_eq!(by_name.len(), 21);
    let is = |name: &[u8], db: u32, value: Result<&[u8], OtherKind>, expires_at_ms: Option<u64>| {
        let found = by_name[name];
        assert_eq!((found.0, found.2.as_ref().map(Vec::as_slice).map_err(|kind| *kind), found.3), (db, value, expires_at_ms));
    };
    is(b"greeting", 0, Ok(b"hello"), None);
    is(b"number", 0, Ok(b"42"), None);
    is(b"negative", 0, Ok(b"-70000"), None);
    is(b"binary", 0, Ok(b"a\nb\x01c"), None);
    is(b"packed", 0, Ok("abc".repeat(100).as_bytes()), None);
    is(b"lasting", 0, Ok(b"v"), Some(4_102_444_800_000));
    is(b"third", 3, Ok(b"3"), None);
    is(b"l", 15, Ok(b"List 1: x"), None);
    is(b"stream", 0, Err(OtherKind::Stream), Some(4_102_444_800_000));
    for (name, value) in [
        ("smalllist", "List 3: a b 3"),
        ("tinylist", "List 9: 1 2 3 4 5 6 7 8 9"),
        ("plainlist", &format!("List 1: {}", "y".repeat(20_000))),
        ("intset", "Set 3: 1 2 300"),
        ("textset", "Set 3: a b c"),
        ("packedzset", "SortedSet 3: a=1 b=2.5 c=inf"),
        ("bigzset", "SortedSet 4: d=-inf a=1 b=2.5 c=inf"),
        ("packedhash", "Hash 2: a=1 b=2"),
        ("bighash", "Hash 3: a=1 b=2 c=3"),
    ] {
        is(name.as_bytes(), 0, Ok(value.as_bytes()), None);
    }
    let long = by_name[&b"biglist"[..]].2.as_ref().unwrap();
    assert!(long.starts_with(b"List 4040: 1 ") && long.ends_with(&b"x".repeat(80)), "{}", long[..100].escape_ascii());
    assert_eq!((contents.functions, contents.module_data), (1, 0));
    assert!(contents.about.contains(&(b"redis-ver".to_vec(), b"7.0.15".to_vec())));
}

#[test]
fn version_11_of_valkey_is_read() {
    let contents = read(VALKEY_8).unwrap();
    let others = contents.keys.iter().filter(|found| found.2.is_err()).count();
    assert_eq!((contents.keys.len(), others, contents.functions), (11, 1, 1));
    let holds = |db, key: &[u8], value: Result<&[u8], OtherKind>, expires_at_ms| {
        assert!(contents.keys.contains(&(db, key.to_vec(), value.map(<[u8]>::to_vec), expires_at_ms)), "{}", key.escape_ascii());
    };
    holds(0, b"lasting", Ok(b"v"), Some(4_102_444_800_000));
    holds(7, b"seventh", Ok(b"7"), None);
    holds(0, b"stream", Err(OtherKind::Stream), None);
    holds(0, b"packedset", Ok(b"Set 2: a b"), None);
}

#[test]
fn kinds_of_other_versions_are_passed_over() {
    const TIME: &[u8] = &[1, 2, 3, 4, 5, 6, 7, 8];
    let stream_7_2 = [
        // One node, three numbers, five numbers, one group with one entry and one consumer.
        &b"\x01\x02id\x04node\x01\x02\x03\x00\x00\x00\x00\x05"[..],
        b"\x01\x05group\x01\x02\x03\x01",
        &[9; 16],
        TIME,
        b"\x01\x01\x05alice",
        TIME,
        TIME,
        b"\x01",
        &[9; 16],
    ]
    .concat();
    let stream_5 = [&b"\x00\x00\x00\x00\x01\x01g\x00\x00\x01"[..], &[9; 16], TIME, b"\x01\x01\x01c", TIME, b"\x01", &[9; 16]].concat();
    let cases: Vec<(&str, u8, Vec<u8>, OtherKind)> = vec![
        ("REDIS0009", 15, stream_5, OtherKind::Stream),
        ("REDIS0009", 1, b"\x00".to_vec(), OtherKind::EmptyCollection),
        ("REDIS0009", 16, b"\x07\x07\0\0\0\0\0\xff".to_vec(), OtherKind::EmptyCollection),
        (
            "REDIS0009",
            7,
            b"\x81\x00\x01\x02\x03\x04\x05\x06\x07\x01\x05\x02\x41\x01\x03....\x04........\x05\x03abc\x00".to_vec(),
            OtherKind::Module,
        ),
        ("REDIS0011", 21, stream_7_2.clone(), OtherKind::Stream),
        ("REDIS0012", 22, b"\x01\x00\x01f\x01v".to_vec(), OtherKind::HashWithDeadlines),
        ("REDIS0012", 23, b"\x03lp.".to_vec(), OtherKind::HashWithDeadlines),
        ("REDIS0012", 24, [TIME, b"\x02\x00\x01f\x01v\x05\x01g\x01w"].concat(), OtherKind::HashWithDeadlines),
        ("REDIS0012", 25, [TIME, b"\x03lp."].concat(), OtherKind::HashWithDeadlines),
        ("VALKEY080", 21, stream_7_2, OtherKind::Stream),
        ("VALKEY080", 22, [b"\x02\x01f\x01v", TIME, b"\x01g\x01w", TIME].concat(), OtherKind::HashWithDeadlines),
    ];
    for (magic, number, value, kind) in cases {
        // A key behind it is found, so it was passed over to its last byte and no further.
        let body = [&[number, 1, b'k'][..], &value, b"\x00\x05after\x01!"].concat();
        let contents = read(&file(magic, &body)).unwrap_or_else(|error| panic!("{magic} {number}: {error}"));
        assert_eq!(
            contents.keys,
            [(0, b"k".to_vec(), Err(kind), None), (0, b"after".to_vec(), Ok(b"!".to_vec()), None)],
            "{magic} {number}"
        );
    }
}

#[test]
fn collections_of_other_versions_are_read() {
    let cases: [(&str, u8, &[u8], &str); 11] = [
        ("REDIS0005", 1, b"\x02\x01a\xc0\x05", "List 2: a 5"),
        ("REDIS0009", 10, b"\x0d\x0d\0\0\0\x0a\0\0\0\x01\0\0\xf2\xff", "List 1: 1"),
        ("REDIS0009", 14, b"\x02\x0d\x0d\0\0\0\x0a\0\0\0\x01\0\0\xf2\xff\x0e\x0e\0\0\0\x0a\0\0\0\x01\0\0\x01b\xff", "List 2: 1 b"),
        ("REDIS0005", 2, b"\x02\x01a\xc0\x05", "Set 2: 5 a"),
        ("REDIS0006", 3, b"\x03\x01a\x031.5\x01c\xfe\x01d\xff", "SortedSet 3: d=-inf a=1.5 c=inf"),
        ("REDIS0008", 5, b"\x01\x01a\0\0\0\0\0\0\xf8\x3f", "SortedSet 1: a=1.5"),
        ("REDIS0009", 12, b"\x10\x10\0\0\0\x0d\0\0\0\x02\0\0\x01a\x03\xf2\xff", "SortedSet 1: a=1"),
        ("REDIS0006", 9, b"\x08\x01\x01f\x01\x01v\0\xff", "Hash 1: f=v"),
        ("REDIS0006", 4, b"\x01\x01f\x01v", "Hash 1: f=v"),
        ("REDIS0009", 13, b"\x10\x10\0\0\0\x0d\0\0\0\x02\0\0\x01a\x03\xf2\xff", "Hash 1: a=1"),
        ("VALKEY080", 20, b"\x0c\x0c\0\0\0\x02\0\x81a\x02\x07\x01\xff", "Set 2: 7 a"),
    ];
    for (magic, number, value, expected) in cases {
        let body = [&[number, 1, b'k'][..], value, b"\x00\x05after\x01!"].concat();
        let contents = read(&file(magic, &body)).unwrap_or_else(|error| panic!("{magic} {number}: {error}"));
        assert_eq!(
            contents.keys,
            [(0, b"k".to_vec(), Ok(expected.as_bytes().to_vec()), None), (0, b"after".to_vec(), Ok(b"!".to_vec()), None)],
            "{magic} {number}"
        );
        // Not without its last byte: what follows is not a part of it.
        let short = [&[number, 1, b'k'][..], &value[..value.len() - 1]].concat();
        assert!(matches!(read(&file(magic, &short)), Err(ReadError::Ended { .. } | ReadError::Damaged { .. })), "{magic} {number}");
    }
}

#[test]
fn what_stands_beside_keys_is_passed_over() {
    let body = [
        &b"\xfa\x04name\x05value"[..],
        b"\xf7\x81\x00\x01\x02\x03\x04\x05\x06\x07\x02\x02\x05\x01x\x00",
        b"\xf5\x03lua",
        b"\xf3\x03job\x02\x00\x05\x06\x07",
        b"\xfe\x03\xfb\x01\x01\xf4\x40\x64\x01\x00",
        b"\xfd\x01\x00\x00\x00\xf9\xff\x00\x01a\x01b",
        b"\xfc\xe8\x03\x00\x00\x00\x00\x00\x00\xf8\x05\x00\x01c\x01d",
        b"\xfc\xff\xff\xff\xff\xff\xff\xff\xff\x00\x01e\x01f",
        b"\x00\x01g\x01h",
    ]
    .concat();
    let contents = read(&file("VALKEY080", &body)).unwrap();
    let key = |key: &[u8], value: &[u8], expires_at_ms| (3, key.to_vec(), Ok(value.to_vec()), expires_at_ms);
    // A deadline is one key's alone; one before 1970 is long past.
    assert_eq!(contents.keys, [key(b"a", b"b", Some(1000)), key(b"c", b"d", Some(1000)), key(b"e", b"f", Some(0)), key(b"g", b"h", None)]);
    assert_eq!((contents.about.len(), contents.functions, contents.module_data), (1, 1, 1));
    // Slots on their way are Valkey's alone.
    assert!(matches!(read(&file("REDIS0012", &body)), Err(ReadError::Damaged { .. })));
}

#[test]
fn what_is_not_a_file_is_refused_with_its_place() {
    for bytes in [&b""[..], b"REDIS", b"*1\r\n$4\r\nPING\r\n", b"REDIS00x1 ", b"MEMCACHED"] {
        assert!(matches!(read(bytes), Err(ReadError::NotRdb)));
    }
    for magic in ["REDIS0004", "REDIS0013", "REDIS0080", "VALKEY011", "VALKEY081"] {
        assert!(matches!(read(&file(magic, b"")), Err(ReadError::Version { .. })), "{magic}");
    }
    let damaged_at = |body: &[u8], place: u64| match read(&file("REDIS0011", body)) {
        Err(ReadError::Damaged { at, .. }) => assert_eq!(at, place, "{}", body.escape_ascii()),
        other => panic!("{}: {other:?}", body.escape_ascii()),
    };
    damaged_at(b"\x06\x01k", 12);
    damaged_at(b"\x08\x01k", 12);
    damaged_at(b"\x7f\x01k", 12);
    damaged_at(b"\xf6", 10);
    damaged_at(b"\xfe\x81\x00\x00\x00\x01\x00\x00\x00\x00", 19);
    damaged_at(b"\x00\xc4", 11);
    damaged_at(b"\x00\x82", 11);
    damaged_at(b"\x00\x01k\xc3\x02\x09\x00a", 17);
    damaged_at(b"\x07\x01k\x00\x06", 14);
    damaged_at(b"\x0a\x01k\x03zip", 16);
    damaged_at(b"\x02\x01k\x02\x01a\x01a", 17);
    // Lengths that nothing stands behind.
    for body in
        [&b"\x00\x81\xff\xff\xff\xff\xff\xff\xff\xff"[..], b"\x01\x81\x7f\xff\xff\xff\xff\xff\xff\xff", b"\x00\x01k\x80\x1f\xff\xff\xff"]
    {
        assert!(matches!(read(&file("REDIS0011", body)), Err(ReadError::Ended { .. })), "{}", body.escape_ascii());
    }
}

#[test]
fn a_checksum_may_be_left_out_and_may_not_be_wrong() {
    let good = file("REDIS0011", b"\x00\x01k\x01v");
    let (body, _) = good.split_last_chunk::<8>().unwrap();
    assert_eq!(read(&[body, &[0; 8]].concat()).unwrap(), read(&good).unwrap());
    assert!(matches!(read(&[body, &[1; 8]].concat()), Err(ReadError::Damaged { .. })));
}

#[test]
fn a_cut_file_is_never_whole() {
    for length in 0..REDIS_7_0.len() {
        assert!(read(&REDIS_7_0[..length]).is_err(), "{length}");
    }
}

#[test]
fn a_flipped_bit_is_noticed() {
    for bit in (0..REDIS_7_0.len() * 8).step_by(3) {
        let mut damaged = REDIS_7_0.to_vec();
        damaged[bit / 8] ^= 1 << (bit % 8);
        assert!(read(&damaged).is_err(), "bit {bit}");
    }
}

#[test]
fn reading_goes_on_where_it_was_left() {
    let whole = read(REDIS_7_0).unwrap();
    let mut positions = Vec::new();
    let mut reader = Reader::begin(REDIS_7_0).unwrap();
    loop {
        positions.push(reader.position());
        if reader.next().unwrap() == Item::End {
            break;
        }
    }
    for position in positions {
        let Position { at, .. } = position;
        let (mut first, mut second) = (Reader::begin(REDIS_7_0).unwrap(), Reader::resume(&REDIS_7_0[at as usize..], position));
        let mut contents = Contents::default();
        while first.position().at < at {
            contents.take(first.next().unwrap());
        }
        while contents.take(second.next().unwrap()) {}
        assert_eq!(contents, whole, "from {at}");
    }
}

/// Gives at most so many bytes at a time.
struct Drip<'a>(&'a [u8], usize);

impl Read for Drip<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let count = self.1.min(buffer.len()).min(self.0.len());
        buffer[..count].copy_from_slice(&self.0[..count]);
        self.0 = &self.0[count..];
        Ok(count)
    }
}

#[test]
fn it_does_not_matter_in_which_pieces_a_file_comes() {
    let whole = read(REDIS_7_0).unwrap();
    for piece in [1, 2, 7, 100] {
        let mut reader = Reader::begin(BufReader::with_capacity(piece, Drip(REDIS_7_0, piece))).unwrap();
        let mut contents = Contents::default();
        while contents.take(reader.next().unwrap()) {}
        assert_eq!(contents, whole);
    }
}

#[test]
fn what_stands_behind_the_file_stays_there() {
    let bytes = [REDIS_7_0, b"*1\r\n$4\r\nPING\r\n"].concat();
    let mut reader = Reader::begin(&bytes[..]).unwrap();
    while reader.next().unwrap() != Item::End {}
    assert_eq!(reader.into_input(), b"*1\r\n$4\r\nPING\r\n");
}

proptest! {
    #[test]
    fn what_is_written_is_read(
        databases in prop::collection::vec(
            (0u32..20, prop::collection::vec((any::<Vec<u8>>(), value(), prop::option::of(0u64..=i64::MAX as u64)), 0..20)), 0..5),
    ) {
        let mut writer = Writer::begin(Vec::new());
        writer.about("name", "value").unwrap();
        let mut expected = Vec::new();
        let mut payload = b"\x04\x02\x01f\x01v\x01g\xc0\x05\x09\x00".to_vec();
        payload.extend_from_slice(&crc64(&payload).to_le_bytes());
        let hash = shards::rdb::decode(&payload).unwrap();
        for (db, keys) in &databases {
            writer.database(*db, keys.len() as u64, 0).unwrap();
            for (key, value, expires_at_ms) in keys {
                writer.string(key, value, *expires_at_ms).unwrap();
                expected.push((*db, key.clone(), Ok(value.clone()), *expires_at_ms));
                writer.collection(key, &hash.collection().unwrap(), *expires_at_ms).unwrap();
                expected.push((*db, key.clone(), Ok(b"Hash 2: f=v g=5".to_vec()), *expires_at_ms));
            }
        }
        let bytes = writer.end().unwrap();
        let contents = read(&bytes).unwrap();
        prop_assert_eq!(contents.keys, expected);
        prop_assert_eq!(contents.about, [(b"name".to_vec(), b"value".to_vec())]);
        prop_assert!(bytes.starts_with(b"REDIS0009"));
    }

    #[test]
    fn no_bytes_panic(body: Vec<u8>, kind in 0u8..30, valkey: bool) {
        let magic = if valkey { "VALKEY080" } else { "REDIS0012" };
        let _ = read(&body);
        let _ = read(&[magic.as_bytes(), &body].concat());
        let _ = read(&file(magic, &[&[kind, 1, b'k'], &body[..]].concat()));
    }

    #[test]
    fn damage_is_an_error(position in 0..REDIS_7_0.len(), new: u8, count in 1usize..9) {
        let mut bytes = REDIS_7_0.to_vec();
        let end = (position + count).min(bytes.len());
        bytes[position..end].fill(new);
        prop_assert_eq!(read(&bytes).is_ok(), bytes == REDIS_7_0);
    }
}

fn value() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        any::<Vec<u8>>(),
        "[ab]{0,300}".prop_map(String::into_bytes),
        any::<i64>().prop_map(|number| number.to_string().into_bytes())
    ]
}

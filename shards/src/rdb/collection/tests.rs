//! Collections in every encoding there has been, whole and damaged.

use super::*;
use crate::rdb::{Decoded, RdbError, crc64, decode, encode_length, encode_text};
use proptest::prelude::*;
use std::collections::BTreeMap;

/// DUMPs of redis-server 7.0.15 in hexadecimal, and what was dumped.
const REDIS_DUMPS: &[(&str, &str)] = &[
    (
        "120102c3405d40a01fa000000013008161020101dfff027f01c08002cfff02d00002f1001003f100801003f1ff7f03f2ffff7f04f200008004f3ff200a0105f32034028005f4200b4000027f09f4200f40000b800980018330303704e04678e03c000148ff0a00c503cb1d6f88f9fa",
        "list: a 1 -1 127 128 4095 -4096 4096 -32768 32767 8388607 -8388608 2147483647 -2147483648 9223372036854775807 -9223372036854775808  007 xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx",
    ),
    (
        "1203020d0d0000000200816102816202ff020d0d0000000200816302816402ff020d0d0000000200816502c12c02ff0a0047b4eb3a6a90f1e0",
        "list: a b c d e 300",
    ),
    (
        "1203020a0a0000000100816102ff01c3124384017171e0ff00e0ff00e0ff00e05f00017171020a0a0000000100816202ff0a00688f4ef0af4f9739",
        "list: a qqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqq b",
    ),
    ("0b0e02000000030000000100020003000a00a5025ce26d6e4d1b", "set: 1 2 3"),
    ("0b14040000000300000090eefeff01000000701101000a0059e54d711e7bff74", "set: -70000 1 70000"),
    ("0b200800000003000000000efad5feffffff070000000000000000f2052a010000000a0013254eb47a0dced4", "set: -5000000000 7 5000000000"),
    ("0202c008c0070a00fef143f4e4c2b726", "set: 8 7"),
    (
        "0206c00c01620161c314230c6c6f6e67206d656d626572206ce00b0b0165720163c12c010a005c2124e6d3b3c28d",
        "set: 12 b a long member long member long member c 300",
    ),
    (
        "11c34043404b1f4b0000000e00816302842d696e6605816102010182616103010181620283312e0c35040c01030181650297312e30e005000a31652b3330301881640283203a0104ff0a0042f52ad3659d1574",
        "zset: c=-inf a=1 aa=1 b=1.5 12=3 e=1e+300 d=inf",
    ),
    (
        "05070164000000000000f07f01659c7500883ce4377ec00c00000000000008400162000000000000f83f026161000000000000f03f0161000000000000f03f0163000000000000f0ff0a0078920fd718960060",
        "zset: c=-inf a=1 aa=1 b=1.5 12=3 e=1e+300 d=inf",
    ),
    (
        "10c32c405f1f5f0000000a008166028176028167020101c12c02f178ec03816802800181650203bc616263e03002013dff0a00bcc558681fe1ff36",
        "hash: f v g 1 300 -5000 h  e abcabcabcabcabcabcabcabcabcabcabcabcabcabcabcabcabcabcabcabc",
    ),
    (
        "0405c12c01c178ec0167c001016601760168000165c30b3c0361626361e02d020162630a00c19afced166cbe78",
        "hash: 300 -5000 g 1 f v h  e abcabcabcabcabcabcabcabcabcabcabcabcabcabcabcabcabcabcabcabc",
    ),
];

/// Forms of before Redis 7, made by hand; redis-server 7.0.15 restores them, and with `sanitize-dump-payload`, to the same.
const OLD_FORMS: &[(&str, &str)] = &[
    (
        "0a41d7d7010000cb010000130000016103f102fd02fe0d03feff03fe8003c0800004c0008004f000800005f000008005d00000800006d00000008006e000000080000000000ae000000000000000800a0002033030370540467979797979797979797979797979797979797979797979797979797979797979797979797979797979797979797979797979797979797979797979797979797979797979797949412c7a7a7a7a7a7a7a7a7a7a7a7a7a7a7a7a7a7a7a7a7a7a7a7a7a7a7a7a7a7a7a7a7a7a7a7a7a7a7a7a7a7a7a7a7a7a7a7a7a7a7a7a7a7a7a7a7a7a7a7a7a7a7a7a7a7a7a7a7a7a7a7a7a7a7a7a7a7a7a7a7a7a7a7a7a7a7a7a7a7a7a7a7a7a7a7a7a7a7a7a7a7a7a7a7a7a7a7a7a7a7a7a7a7a7a7a7a7a7a7a7a7a7a7a7a7a7a7a7a7a7a7a7a7a7a7a7a7a7a7a7a7a7a7a7a7a7a7a7a7a7a7a7a7a7a7a7a7a7a7a7a7a7a7a7a7a7a7a7a7a7a7a7a7a7a7a7a7a7a7a7a7a7a7a7a7a7a7a7a7a7a7a7a7a7a7a7a7a7a7a7a7a7a7a7a7a7a7a7a7a7a7a7a7a7a7a7a7a7a7a7a7a7a7a7a7a7a7a7a7a7a7a7a7a7a7a7a7a7a7a7a7a7a7a7a7a7a7a7a7a7a7a7a7a7a7a7a7a7a7a7a7a7a7a7a7a7a7a7a7a7a7a7a7a7a7a7a7a7a7a7a7a7a7a7a7a7a7a7a7a7a7a7a7a7a7a7a7a7a7afe2f010000056166746572ff090082b9975887c1c6e8",
        "list: a 0 12 13 -1 -128 128 -32768 32768 -8388608 8388608 -2147483648 2147483648 -9223372036854775808  007 yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy zzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzz after",
    ),
    ("0c1f1f00000019000000060000016103f20201620303312e3505f40203696e66ff0900e786bc54d31f28ad", "zset: a=1 b=1.5 3=inf"),
    ("0d1d1d0000001a000000060000016603017603c02c0104fefb0301670300ff09000117be85142a5f90", "hash: f v 300 -5 g "),
    ("0e0210100000000d000000020000016103f2ff0e0e0000000a0000000100000162ff0900b391888cc94e4065", "list: a 1 b"),
    (
        "0941420301660100760167fe2c0100000177777777777777777777777777777777777777777777777777777777777777777777777777777777777777777777777777777777777777777777777777777777777777777777777777777777777777777777777777777777777777777777777777777777777777777777777777777777777777777777777777777777777777777777777777777777777777777777777777777777777777777777777777777777777777777777777777777777777777777777777777777777777777777777777777777777777777777777777777777777777777777777777777777777777777777777777777777777777777777777777777777777777777777777777777777777777777777777777777777777777777777777777777777777777777777777777777777777777777777777777700016800020000ff090081cbe3150775ca4f",
        "hash: f v g wwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwwww h ",
    ),
    ("0304016103312e350162fe0163ff0164162d302e3130303030303030303030303030303031653109009f17864c2f567086", "zset: c=-inf d=-1 a=1.5 b=inf"),
];

fn hex(text: &str) -> Vec<u8> {
    (0..text.len() / 2).map(|index| u8::from_str_radix(&text[2 * index..2 * index + 2], 16).unwrap()).collect()
}

fn payload(body: &[u8]) -> Vec<u8> {
    let mut payload = [body, &12u16.to_le_bytes()].concat();
    let checksum = crc64(&payload);
    payload.extend_from_slice(&checksum.to_le_bytes());
    payload
}

/// Everything in a collection, for people.
fn shown(decoded: &Decoded<'_>) -> String {
    let collection = decoded.collection().expect("no string");
    let name = ["string", "list", "set", "zset", "hash"][collection.kind() as usize];
    let elements: Vec<String> = match collection.kind() {
        Kind::SortedSet => collection
            .scored()
            .map(|(member, score)| {
                let mut text = member.to_vec();
                text.push(b'=');
                number::write_f64(&mut text, score);
                text.escape_ascii().to_string()
            })
            .collect(),
        _ => collection.elements().map(|element| element.escape_ascii().to_string()).collect(),
    };
    format!("{name}: {}", elements.join(" "))
}

#[test]
fn every_form_is_read() {
    for (dumped, expected) in REDIS_DUMPS.iter().chain(OLD_FORMS) {
        let dumped = hex(dumped);
        let decoded = decode(&dumped).unwrap_or_else(|error| panic!("{expected}: {error:?}"));
        assert_eq!(shown(&decoded), *expected);
        let Decoded::Collection { kind, packed } = decoded else { unreachable!("it was shown") };
        assert!(Pack::check(kind, &packed), "{expected}");
    }
}

#[test]
fn what_was_cut_or_is_longer_is_refused() {
    for (dumped, expected) in REDIS_DUMPS.iter().chain(OLD_FORMS) {
        let dumped = hex(dumped);
        let body = &dumped[..dumped.len() - 10];
        assert!(decode(&payload(body)).is_ok());
        for length in 0..body.len() {
            assert_eq!(decode(&payload(&body[..length])), Err(RdbError::Format), "{length} bytes of {expected}");
        }
        assert_eq!(decode(&payload(&[body, b"\0"].concat())), Err(RdbError::Format), "{expected} and more");
    }
}

#[test]
fn what_contradicts_itself_is_refused() {
    let cases: &[(&[u8], &str)] = &[
        (b"\x01\x00", "an empty list"),
        (b"\x12\x00", "an empty list of nodes"),
        (b"\x0e\x01\x0b\x0b\0\0\0\x0a\0\0\0\0\0\xff", "an empty node alone"),
        (b"\x10\x07\x07\0\0\0\0\0\xff", "an empty hash"),
        (b"\x0b\x08\x02\0\0\0\0\0\0\0", "an empty set"),
        (b"\x02\x02\x01a\x01a", "a member twice"),
        (b"\x02\x02\x011\xc0\x01", "a member twice, as text and as a number"),
        (b"\x04\x02\x01a\x01x\x01a\x01y", "a field twice"),
        (b"\x05\x02\x01a\0\0\0\0\0\0\xf0\x3f\x01a\0\0\0\0\0\0\0\0", "a member with two scores"),
        (b"\x05\x01\x01a\0\0\0\0\0\0\xf8\x7f", "a score that is not a number"),
        (b"\x03\x01\x01a\xfd", "the same in text"),
        (b"\x03\x01\x01a\x03nan", "the same spelt out"),
        (b"\x03\x01\x01a\x00", "a score without digits"),
        (b"\x11\x0d\x0d\0\0\0\x02\0\x81a\x02\x81x\x02\xff", "a score that is a letter"),
        (b"\x10\x0a\x0a\0\0\0\x01\0\x81a\x02\xff", "a field without a value"),
        (b"\x14\x0a\x0a\0\0\0\x02\0\x81a\x02\xff", "a listpack of fewer entries than it says"),
        (b"\x14\x0a\x0b\0\0\0\x01\0\x81a\x02\xff", "a listpack shorter than it says"),
        (b"\x14\x0a\x0a\0\0\0\x01\0\x81a\x03\xff", "a listpack whose entry was longer backwards"),
        (b"\x14\x0a\x0a\0\0\0\x01\0\xf5a\x02\xff", "a listpack with an entry of no kind"),
        (b"\x0a\x0d\x0d\0\0\0\x0a\0\0\0\x02\0\0\xf2\xff", "a ziplist of fewer entries than it says"),
        (b"\x0a\x0d\x0d\0\0\0\x0b\0\0\0\x01\0\0\xf2\xff", "a ziplist whose last entry is elsewhere"),
        (b"\x0a\x0d\x0d\0\0\0\x0a\0\0\0\x01\0\x01\xf2\xff", "a ziplist with something before its first entry"),
        (b"\x0b\x0c\x02\0\0\0\x02\0\0\0\x02\0\x01\0", "an intset out of order"),
        (b"\x0b\x0c\x02\0\0\0\x02\0\0\0\x01\0\x01\0", "an intset with a number twice"),
        (b"\x0b\x0b\x03\0\0\0\x01\0\0\0\x01\0\0", "an intset of numbers of three bytes"),
        (b"\x09\x07\x02\x01f\x01\0v\xff", "a zipmap of fewer fields than it says"),
        (b"\x09\x07\x01\x01f\x01\x01v\xff", "a zipmap whose unused byte is its end"),
        (b"\x12\x01\x03\x01a", "a node of no kind"),
        (b"\x16\x01\x00\x01f\x01v", "a hash with deadlines of fields"),
    ];
    for (body, why) in cases {
        assert_eq!(decode(&payload(body)), Err(RdbError::Format), "{why}");
    }
    // What the cases differ from is well.
    let good: &[&[u8]] = &[
        b"\x14\x0a\x0a\0\0\0\x01\0\x81a\x02\xff",
        b"\x0a\x0d\x0d\0\0\0\x0a\0\0\0\x01\0\0\xf2\xff",
        b"\x0b\x0c\x02\0\0\0\x02\0\0\0\x01\0\x02\0",
        b"\x09\x07\x01\x01f\x01\0v\xff",
        b"\x09\x08\x01\x01f\x01\x01v\0\xff",
        b"\x11\x0c\x0c\0\0\0\x02\0\x81a\x02\x07\x01\xff",
        b"\x12\x01\x01\x01a",
    ];
    for body in good {
        assert!(decode(&payload(body)).is_ok(), "{}", body.escape_ascii());
    }
}

#[test]
fn what_is_too_long_is_passed_over() {
    let mut gathered = Gathered::new(Kind::List);
    gathered.bytes = STRING_BYTES_MAX - 2 * ELEMENT_BYTES;
    gathered.add(b"").unwrap();
    assert!(!gathered.is_too_long);
    gathered.add(b"a").unwrap();
    assert!(gathered.is_too_long && gathered.packer.len() == 0);
    gathered.add(b"b").unwrap();
    assert_eq!(gathered.finish(), Ok(Read::TooLong));
}

/// One element of a packed form and the digits that stand for it.
fn put_listpack_entry(element: &[u8], out: &mut Vec<u8>) {
    let from = out.len();
    match number::parse_i64(element) {
        Some(small @ 0..=127) => out.push(small as u8),
        Some(small @ -4096..=4095) => out.extend_from_slice(&[0xC0 | (small >> 8) as u8 & 0x1F, small as u8]),
        Some(number) => {
            let (mark, width) = match number {
                -0x8000..=0x7FFF => (0xF1, 2),
                -0x80_0000..=0x7F_FFFF => (0xF2, 3),
                -0x8000_0000..=0x7FFF_FFFF => (0xF3, 4),
                _ => (0xF4, 8),
            };
            out.push(mark);
            out.extend_from_slice(&number.to_le_bytes()[..width]);
        }
        None => {
            match element.len() {
                length @ 0..64 => out.push(0x80 | length as u8),
                length @ 64..4096 => out.extend_from_slice(&[0xE0 | (length >> 8) as u8, length as u8]),
                length => {
                    out.push(0xF0);
                    out.extend_from_slice(&(length as u32).to_le_bytes());
                }
            }
            out.extend_from_slice(element);
        }
    }
    match out.len() - from {
        length @ 0..128 => out.push(length as u8),
        length @ 128..16_383 => out.extend_from_slice(&[(length >> 7) as u8, 0x80 | length as u8]),
        length => out.extend_from_slice(&[(length >> 14) as u8, 0x80 | (length >> 7) as u8, 0x80 | length as u8]),
    }
}

fn listpack_of(elements: &[Vec<u8>]) -> Vec<u8> {
    let mut entries = Vec::new();
    elements.iter().for_each(|element| put_listpack_entry(element, &mut entries));
    let mut bytes = (entries.len() as u32 + 7).to_le_bytes().to_vec();
    bytes.extend_from_slice(&(elements.len() as u16).to_le_bytes());
    [bytes, entries, vec![0xFF]].concat()
}

fn ziplist_of(elements: &[Vec<u8>]) -> Vec<u8> {
    let (mut entries, mut last, mut before) = (Vec::new(), 0, 0usize);
    for element in elements {
        last = entries.len();
        match before {
            0..254 => entries.push(before as u8),
            _ => {
                entries.push(0xFE);
                entries.extend_from_slice(&(before as u32).to_le_bytes());
            }
        }
        match number::parse_i64(element) {
            Some(small @ 0..=12) => entries.push(0xF1 + small as u8),
            Some(number) => {
                let (mark, width) = match number {
                    -0x80..=0x7F => (0xFE, 1),
                    -0x8000..=0x7FFF => (0xC0, 2),
                    -0x80_0000..=0x7F_FFFF => (0xF0, 3),
                    -0x8000_0000..=0x7FFF_FFFF => (0xD0, 4),
                    _ => (0xE0, 8),
                };
                entries.push(mark);
                entries.extend_from_slice(&number.to_le_bytes()[..width]);
            }
            None => {
                match element.len() {
                    length @ 0..64 => entries.push(length as u8),
                    length @ 64..16_384 => entries.extend_from_slice(&[0x40 | (length >> 8) as u8, length as u8]),
                    length => {
                        entries.push(0x80);
                        entries.extend_from_slice(&(length as u32).to_be_bytes());
                    }
                }
                entries.extend_from_slice(element);
            }
        }
        before = entries.len() - last;
    }
    let mut bytes = (entries.len() as u32 + 11).to_le_bytes().to_vec();
    bytes.extend_from_slice(&(last as u32 + 10).to_le_bytes());
    bytes.extend_from_slice(&(elements.len() as u16).to_le_bytes());
    [bytes, entries, vec![0xFF]].concat()
}

/// Elements in one string of a form of its own.
fn one_of(number: u8, form: &[u8]) -> Vec<u8> {
    let mut body = vec![number];
    encode_text(form, &mut body);
    payload(&body)
}

/// Elements in nodes of three.
fn nodes_of(number: u8, elements: &[Vec<u8>]) -> Vec<u8> {
    let mut body = vec![number];
    encode_length(elements.len().div_ceil(3), &mut body);
    for node in elements.chunks(3) {
        match (number, node) {
            (18, [element]) => {
                body.push(NODE_PLAIN as u8);
                encode_text(element, &mut body);
            }
            (18, _) => {
                body.push(NODE_PACKED as u8);
                encode_text(&listpack_of(node), &mut body);
            }
            _ => encode_text(&ziplist_of(node), &mut body),
        }
    }
    payload(&body)
}

fn element() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        10 => prop::collection::vec(any::<u8>(), 0..300),
        10 => "[ab]{0,300}".prop_map(String::into_bytes),
        20 => (any::<i64>(), 0u32..64).prop_map(|(number, shift)| (number >> shift).to_string().into_bytes()),
        1 => (any::<u8>(), 16_000usize..17_000).prop_map(|(byte, length)| vec![byte; length]),
    ]
}

fn packed_of(kind: Kind, push: impl FnOnce(&mut Packer)) -> Result<Decoded<'static>, RdbError> {
    let mut packer = Packer::default();
    push(&mut packer);
    Ok(Decoded::Collection { kind, packed: packer.finish() })
}

proptest! {
    #[test]
    fn lists_come_back(elements in prop::collection::vec(element(), 1..40)) {
        let expected = packed_of(Kind::List, |packer| elements.iter().for_each(|element| packer.push(element)));
        for payload in [one_of(10, &ziplist_of(&elements)), nodes_of(14, &elements), nodes_of(18, &elements)] {
            prop_assert_eq!(decode(&payload), expected.clone());
        }
    }

    #[test]
    fn sets_come_back(members in prop::collection::btree_set(element(), 1..40), numbers in prop::collection::btree_set(any::<i64>(), 1..40)) {
        let members: Vec<Vec<u8>> = members.into_iter().collect();
        let expected = packed_of(Kind::Set, |packer| members.iter().for_each(|member| packer.push(member)));
        let payload = one_of(20, &listpack_of(&members));
        prop_assert_eq!(decode(&payload), expected);
        for width in [2, 4, 8] {
            let fitting: Vec<i64> = numbers.iter().map(|number| number >> (64 - 8 * width)).collect::<std::collections::BTreeSet<i64>>().into_iter().collect();
            let mut intset = (width as u32).to_le_bytes().to_vec();
            intset.extend_from_slice(&(fitting.len() as u32).to_le_bytes());
            fitting.iter().for_each(|number| intset.extend_from_slice(&number.to_le_bytes()[..width]));
            let expected = packed_of(Kind::Set, |packer| fitting.iter().for_each(|number| packer.push(number.to_string().as_bytes())));
            let payload = one_of(11, &intset);
            prop_assert_eq!(decode(&payload), expected);
        }
    }

    #[test]
    fn hashes_come_back(pairs in prop::collection::btree_map(element(), element(), 1..30)) {
        let expected = packed_of(Kind::Hash, |packer| pairs.iter().for_each(|(field, value)| packer.push_pair(field, value)));
        let elements: Vec<Vec<u8>> = pairs.iter().flat_map(|(field, value)| [field.clone(), value.clone()]).collect();
        let mut zipmap = vec![pairs.len() as u8];
        for (index, element) in elements.iter().enumerate() {
            match element.len() {
                length @ 0..254 => zipmap.push(length as u8),
                length => {
                    zipmap.push(0xFE);
                    zipmap.extend_from_slice(&(length as u32).to_le_bytes());
                }
            }
            let unused = index % 5;
            if index % 2 == 1 {
                zipmap.push(unused as u8);
            }
            zipmap.extend_from_slice(element);
            if index % 2 == 1 {
                zipmap.extend_from_slice(&b"\xff\xff\xff\xff"[..unused]);
            }
        }
        zipmap.push(0xFF);
        for payload in [one_of(9, &zipmap), one_of(13, &ziplist_of(&elements)), one_of(16, &listpack_of(&elements))] {
            prop_assert_eq!(decode(&payload), expected.clone());
        }
    }

    #[test]
    fn sorted_sets_come_back_in_order(members in prop::collection::btree_map(element(), -3i8..4, 1..30), scale in prop_oneof![Just(1.0), Just(0.1), Just(1e300)]) {
        let members: BTreeMap<Vec<u8>, f64> = members.into_iter().map(|(member, score)| (member, f64::from(score) * scale)).collect();
        let mut ordered: Vec<(&Vec<u8>, f64)> = members.iter().map(|(member, score)| (member, *score)).collect();
        ordered.sort_by(|a, b| a.1.total_cmp(&b.1).then(a.0.cmp(b.0)));
        let expected = packed_of(Kind::SortedSet, |packer| ordered.iter().for_each(|(member, score)| packer.push_scored(member, *score)));
        let text_of = |score: f64| {
            let mut text = Vec::new();
            number::write_f64(&mut text, score);
            text
        };
        let elements: Vec<Vec<u8>> = members.iter().flat_map(|(member, score)| [member.clone(), text_of(*score)]).collect();
        let (mut in_text, mut in_doubles) = (vec![3], vec![5]);
        for body in [&mut in_text, &mut in_doubles] {
            encode_length(members.len(), body);
        }
        for (member, score) in &members {
            encode_text(member, &mut in_text);
            encode_text(member, &mut in_doubles);
            let text = text_of(*score);
            in_text.push(text.len() as u8);
            in_text.extend_from_slice(&text);
            in_doubles.extend_from_slice(&score.to_le_bytes());
        }
        for payload in [one_of(12, &ziplist_of(&elements)), one_of(17, &listpack_of(&elements)), payload(&in_text), payload(&in_doubles)] {
            prop_assert_eq!(decode(&payload), expected.clone());
        }
    }

    #[test]
    fn what_is_written_is_read(elements in prop::collection::btree_map(element(), (element(), -5i8..5), 1..30)) {
        for kind in [Kind::List, Kind::Set, Kind::SortedSet, Kind::Hash] {
            let mut packer = Packer::default();
            let mut ordered: Vec<_> = elements.iter().collect();
            if kind == Kind::SortedSet {
                ordered.sort_by_key(|(_, (_, score))| *score);
            }
            for (element, (value, score)) in ordered {
                match kind {
                    Kind::Hash => packer.push_pair(element, value),
                    Kind::SortedSet => packer.push_scored(element, f64::from(*score) / 4.0),
                    _ => packer.push(element),
                }
            }
            let packed = packer.finish();
            let mut payload = Vec::new();
            encode(kind, &packed, &mut payload);
            prop_assert_eq!(decode(&payload), Ok(Decoded::Collection { kind, packed }));
        }
    }

    #[test]
    fn no_bytes_panic(number in 0u8..26, bytes: Vec<u8>, in_one: bool) {
        let payload = if in_one { one_of(number, &bytes) } else { payload(&[&[number], &bytes[..]].concat()) };
        if let Ok(Decoded::Collection { kind, packed }) = decode(&payload) {
            prop_assert!(Pack::check(kind, &packed));
        }
    }

    #[test]
    fn no_bytes_in_a_right_frame_panic(middle in prop::collection::vec(prop_oneof![any::<u8>(), 0u8..4, 0xF0u8..=0xFF], 0..60), tail in 0u8..40) {
        // Only what the head says is right, so that the entries themselves are looked at.
        let frame = |head_bytes: usize, rest: &[&[u8]]| {
            let total = (head_bytes + middle.len() + 1) as u32;
            [&total.to_le_bytes()[..], &rest.concat(), &middle, &[0xFF]].concat()
        };
        let forms = [
            (ziplist::visit as Visit, frame(10, &[&[tail, 0, 0, 0], &[0xFF, 0xFF]])),
            (listpack::visit, frame(6, &[&[0xFF, 0xFF]])),
            (zipmap::visit, [&[0xFE], &middle[..], &[0xFF]].concat()),
            (intset::visit, [&[2, 0, 0, 0, (middle.len() / 2) as u8, 0, 0, 0], &middle[..middle.len() / 2 * 2]].concat()),
        ];
        for (visit, form) in forms {
            let mut bytes = 0;
            let whole = visit(&form, &mut |element| {
                bytes += element.len();
                Some(())
            });
            prop_assert!(bytes <= 20 * form.len());
            // Whoever takes them may stop at any element.
            let stopped = visit(&form, &mut |_| None);
            prop_assert!(stopped.is_none() || (bytes == 0 && whole.is_some()));
        }
    }

    #[test]
    fn damaged_forms_are_refused_or_well(which in 0..REDIS_DUMPS.len() + OLD_FORMS.len(), place: prop::sample::Index, new: u8) {
        let (dumped, _) = REDIS_DUMPS.iter().chain(OLD_FORMS).nth(which).unwrap();
        let mut body = hex(dumped);
        body.truncate(body.len() - 10);
        let place = place.index(body.len());
        body[place] = new;
        if let Ok(Decoded::Collection { kind, packed }) = decode(&payload(&body)) {
            prop_assert!(Pack::check(kind, &packed));
        }
    }
}

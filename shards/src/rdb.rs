//! A value as the bytes that `DUMP` gives and `RESTORE` takes: Redis' RDB encoding with its footer. Whole files of it are read by
//! [`Reader`] and written by [`Writer`].
//!
//! Reads what Redis since 2.6 and Valkey write, for the kinds of value there are here; writes what both read, collections in their
//! plain forms. Bytes from
//! outside are refused, never trusted: no length in them reserves memory, and none of them makes this panic.

mod collection;
mod crc64;
mod intset;
mod listpack;
mod lzf;
mod pieces;
mod reader;
mod source;
mod structure;
mod writer;
mod ziplist;
mod zipmap;

use crate::collection::pack::Pack;
use crate::number::{self, Digits};
use crate::record::Kind;
use std::borrow::Cow;

pub use collection::Collection;
pub use crc64::{crc64, crc64_append};
pub use pieces::{Binding, Leaf};
pub use reader::{Entry, Item, Position, Reader, Value};
pub use source::ReadError;
pub use structure::OtherKind;
pub use writer::Writer;

/// What a payload held.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decoded<'a> {
    /// A string. Borrowed from the payload where it lies there as it is.
    String(Cow<'a, [u8]>),
    /// A list, a set, a sorted set or a hash.
    Collection {
        /// Which of them.
        kind: Kind,
        /// Its elements in the form in which a record holds them.
        packed: Vec<u8>,
    },
}

impl Decoded<'_> {
    /// The same as a file's reader gives it.
    pub fn value(&self) -> Value<'_> {
        match self {
            Decoded::String(text) => Value::String(text),
            Decoded::Collection { kind, packed } => Value::Collection(Collection::trusted(*kind, packed)),
        }
    }

    /// The elements, if it is a collection.
    pub fn collection(&self) -> Option<Collection<'_>> {
        match self.value() {
            Value::Collection(collection) => Some(collection),
            Value::String(_) | Value::Other(_) => None,
        }
    }
}

/// Why bytes are not a payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RdbError {
    /// Too short for a footer, a version from the future, or damaged on the way.
    Footer,
    /// A kind of value there is none of here, or an encoding that contradicts itself.
    Format,
}

impl RdbError {
    /// What `RESTORE` answers.
    pub fn text(self) -> &'static str {
        match self {
            RdbError::Footer => "ERR DUMP payload version or checksum are wrong",
            RdbError::Format => "ERR Bad data format",
        }
    }
}

/// The version in the footer of what is written here. Strings have been encoded alike since then, so that even old
/// servers restore them.
const VERSION_WRITTEN: u16 = 9;
/// The newest version of Redis 7.4.
const VERSION_REDIS_MAX: u16 = 12;
/// The version of Valkey 9, which chose a number of its own when the two parted.
const VERSION_VALKEY: u16 = 80;
/// A version and a checksum.
const FOOTER_BYTES: usize = 2 + 8;

/// What surrounds every encoded value in a payload: the type before it, the footer behind it.
pub const FRAME_BYTES: usize = 1 + FOOTER_BYTES;

const TYPE_STRING: u8 = 0;
// The plain forms: every version reads them.
const TYPE_LIST: u8 = 1;
const TYPE_SET: u8 = 2;
const TYPE_HASH: u8 = 4;
const TYPE_SORTED_SET: u8 = 5;

// The first two bits of a length, and what the other six mean.
const LEN_6_BIT: u8 = 0;
const LEN_14_BIT: u8 = 1;
const LEN_32_OR_64_BIT: u8 = 2;
const ENCODED: u8 = 3;
const LEN_32_BIT: u8 = 0x80;
const LEN_64_BIT: u8 = 0x81;
const ENCODED_I8: u8 = 0xC0;
const ENCODED_I16: u8 = 0xC1;
const ENCODED_I32: u8 = 0xC2;
const ENCODED_LZF: u8 = 0xC3;

/// Longest string that is unpacked, as long as the longest that a client may send.
pub const STRING_BYTES_MAX: usize = crate::wire::Limits::OPEN.bulk_bytes_max;
/// Shorter strings are not worth packing. As in Redis.
const PACKED_BYTES_MIN: usize = 21;

/// The number of a kind of value in the form that is written.
fn type_of(kind: Kind) -> u8 {
    match kind {
        Kind::String => TYPE_STRING,
        Kind::List => TYPE_LIST,
        Kind::Set => TYPE_SET,
        Kind::SortedSet => TYPE_SORTED_SET,
        Kind::Hash => TYPE_HASH,
    }
}

/// Appends a value: a string's bytes, or a collection's packed elements.
fn encode_value(kind: Kind, value: &[u8], text: fn(&[u8], &mut Vec<u8>), out: &mut Vec<u8>) {
    if kind == Kind::String {
        return text(value, out);
    }
    let pack = Pack::trusted(value);
    encode_length(pack.len(), out);
    match kind {
        Kind::SortedSet => pack.scored().for_each(|(member, score)| {
            text(member, out);
            out.extend_from_slice(&score.to_le_bytes());
        }),
        _ => pack.iter().for_each(|element| text(element, out)),
    }
}

/// Appends the payload of a string.
pub fn encode_string(value: &[u8], out: &mut Vec<u8>) {
    encode(Kind::String, value, out);
}

/// Appends the payload of a value, a string's bytes or a collection's packed elements: its encoding, the version, the checksum.
pub(crate) fn encode(kind: Kind, value: &[u8], out: &mut Vec<u8>) {
    let from = out.len();
    out.reserve(value.len() + 16 + FOOTER_BYTES);
    out.push(type_of(kind));
    encode_value(kind, value, encode_text, out);
    out.extend_from_slice(&VERSION_WRITTEN.to_le_bytes());
    let checksum = crc64(&out[from..]);
    out.extend_from_slice(&checksum.to_le_bytes());
}

/// Reads a payload.
pub fn decode(payload: &[u8]) -> Result<Decoded<'_>, RdbError> {
    let (body, footer) = payload.split_last_chunk::<FOOTER_BYTES>().ok_or(RdbError::Footer)?;
    let (version, checksum) = footer.split_first_chunk::<2>().expect("a footer is longer");
    let version = u16::from_le_bytes(*version);
    if version > VERSION_REDIS_MAX && version != VERSION_VALKEY {
        return Err(RdbError::Footer);
    }
    if crc64(&payload[..body.len() + 2]).to_le_bytes() != *checksum {
        return Err(RdbError::Footer);
    }
    let (kind, encoded) = body.split_first().ok_or(RdbError::Format)?;
    match *kind {
        TYPE_STRING => Ok(Decoded::String(decode_text(encoded)?)),
        number => decode_collection(number, encoded),
    }
}

/// A collection that takes up all of `encoded`.
fn decode_collection(number: u8, encoded: &[u8]) -> Result<Decoded<'static>, RdbError> {
    let (kind, form) = collection::form_of(number).ok_or(RdbError::Format)?;
    let mut source = source::Source::new(encoded, 0, 0);
    match collection::read(&mut source, kind, form, &mut Vec::new()) {
        Ok(collection::Read::Packed(packed)) if source.input.is_empty() => Ok(Decoded::Collection { kind, packed }),
        _ => Err(RdbError::Format),
    }
}

fn encode_text(value: &[u8], out: &mut Vec<u8>) {
    if encode_whole_number(value, out) {
        return;
    }
    if value.len() >= PACKED_BYTES_MIN
        && let Some(packed) = lzf::pack(value)
    {
        out.push(ENCODED_LZF);
        encode_length(packed.len(), out);
        encode_length(value.len(), out);
        return out.extend_from_slice(&packed);
    }
    encode_length(value.len(), out);
    out.extend_from_slice(value);
}

/// The same without packing, which costs more than a network does.
fn encode_text_plain(value: &[u8], out: &mut Vec<u8>) {
    if !encode_whole_number(value, out) {
        encode_length(value.len(), out);
        out.extend_from_slice(value);
    }
}

/// Whether the text was a number that has a short form.
fn encode_whole_number(value: &[u8], out: &mut Vec<u8>) -> bool {
    let Some(number) = number::parse_i64(value) else { return false };
    if let Ok(small) = i8::try_from(number) {
        out.extend_from_slice(&[ENCODED_I8, small as u8]);
    } else if let Ok(small) = i16::try_from(number) {
        out.push(ENCODED_I16);
        out.extend_from_slice(&small.to_le_bytes());
    } else if let Ok(small) = i32::try_from(number) {
        out.push(ENCODED_I32);
        out.extend_from_slice(&small.to_le_bytes());
    } else {
        return false;
    }
    true
}

fn encode_length(length: usize, out: &mut Vec<u8>) {
    match length {
        0..0x40 => out.push(length as u8),
        0x40..0x4000 => out.extend_from_slice(&[LEN_14_BIT << 6 | (length >> 8) as u8, length as u8]),
        0x4000..=0xFFFF_FFFF => {
            out.push(LEN_32_BIT);
            out.extend_from_slice(&(length as u32).to_be_bytes());
        }
        _ => {
            out.push(LEN_64_BIT);
            out.extend_from_slice(&(length as u64).to_be_bytes());
        }
    }
}

/// A string that takes up all of `encoded`.
fn decode_text(encoded: &[u8]) -> Result<Cow<'_, [u8]>, RdbError> {
    let mut rest = encoded;
    let whole = |number: i64| Cow::Owned(Digits::of_i64(number).as_bytes().to_vec());
    let text = match *rest.first().ok_or(RdbError::Format)? {
        ENCODED_I8 => whole(i64::from(i8::from_le_bytes(take(&mut rest, 1)?))),
        ENCODED_I16 => whole(i64::from(i16::from_le_bytes(take(&mut rest, 1)?))),
        ENCODED_I32 => whole(i64::from(i32::from_le_bytes(take(&mut rest, 1)?))),
        ENCODED_LZF => {
            rest = &rest[1..];
            let packed_bytes = decode_length(&mut rest)?;
            let value_bytes = decode_length(&mut rest)?;
            if packed_bytes != rest.len() || value_bytes > STRING_BYTES_MAX {
                return Err(RdbError::Format);
            }
            let value = lzf::unpack(rest, value_bytes).ok_or(RdbError::Format)?;
            rest = &[];
            Cow::Owned(value)
        }
        _ => {
            let length = decode_length(&mut rest)?;
            let value = rest.get(..length).ok_or(RdbError::Format)?;
            rest = &rest[length..];
            Cow::Borrowed(value)
        }
    };
    if rest.is_empty() { Ok(text) } else { Err(RdbError::Format) }
}

fn decode_length(rest: &mut &[u8]) -> Result<usize, RdbError> {
    let first = *rest.first().ok_or(RdbError::Format)?;
    let low = usize::from(first & 0x3F);
    match first >> 6 {
        LEN_6_BIT => take::<0>(rest, 1).map(|_| low),
        LEN_14_BIT => take(rest, 1).map(|[next]| low << 8 | usize::from(next)),
        LEN_32_OR_64_BIT if first == LEN_32_BIT => take(rest, 1).map(|bytes| u32::from_be_bytes(bytes) as usize),
        LEN_32_OR_64_BIT if first == LEN_64_BIT => usize::try_from(u64::from_be_bytes(take(rest, 1)?)).map_err(|_| RdbError::Format),
        LEN_32_OR_64_BIT | ENCODED.. => Err(RdbError::Format),
    }
}

/// Skips some bytes and takes the next `N`.
fn take<const N: usize>(rest: &mut &[u8], skipped: usize) -> Result<[u8; N], RdbError> {
    let (taken, after) = rest.get(skipped..).and_then(<[u8]>::split_first_chunk::<N>).ok_or(RdbError::Format)?;
    *rest = after;
    Ok(*taken)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn payload(body: &[u8], version: u16) -> Vec<u8> {
        let mut payload = [body, &version.to_le_bytes()].concat();
        let checksum = crc64(&payload);
        payload.extend_from_slice(&checksum.to_le_bytes());
        payload
    }

    fn hex(text: &str) -> Vec<u8> {
        (0..text.len() / 2).map(|index| u8::from_str_radix(&text[2 * index..2 * index + 2], 16).unwrap()).collect()
    }

    /// DUMPs of redis-server 7.0.15 in hexadecimal, and what was dumped.
    const REDIS_DUMPS: &[(&str, &[u8])] = &[
        ("00000a005d9b5c400f7fa2da", b""),
        ("0001610a00bffeef9b8f367db4", b"a"),
        ("000b68656c6c6f20776f726c640a000bfc49b9a6c7a034", b"hello world"),
        ("00c0000a009840a778f8500308", b"0"),
        ("00c0ff0a000c937e2485089dc5", b"-1"),
        ("00c07f0a000db5eb315254c514", b"127"),
        ("00c0800a009966326d2f0c5bd9", b"-128"),
        ("00c180000a00eb7ab3b510cf4b65", b"128"),
        ("00c1ff7f0a00495a37da17f4d52b", b"32767"),
        ("00c2ff7fffff0a00aee34c4d06c68536", b"-32769"),
        ("00c2ffffff7f0a002c74e59ee02eada1", b"2147483647"),
        ("000b2d323134373438333634390a00c261377908f2028c", b"-2147483649"),
        ("0013393232333337323033363835343737353830370a003a657e9481e85f22", b"9223372036854775807"),
        ("00033030370a007258e27b4c69bad9", b"007"),
        ("001478787878787878787878787878787878787878780a005b3c81eca58cc56b", b"xxxxxxxxxxxxxxxxxxxx"),
        ("00c30615017878e00a000a00941a83676017192f", b"xxxxxxxxxxxxxxxxxxxxx"),
        ("00c30b405a0361626361e04b020162630a00238036f9e2d0c780", &repeated::<90>(b"abc")),
        ("00c310425802616261e0ff01e0ff01e03a010161620a003897a9748ed12c00", &repeated::<600>(b"ab")),
        (
            "004040000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f202122232425262728292a2b2c2d2e2f303132333435363738393a3b3c3d3e3f0a008c0c07acf508b445",
            &repeated::<64>(&ASCENDING),
        ),
        ("00c31b4140103031323334353637383961626364656630e0ff0fe11c0f0165660a008b885a67d6b555f1", &repeated::<320>(b"0123456789abcdef")),
    ];

    const ASCENDING: [u8; 64] = {
        let mut bytes = [0; 64];
        let mut index = 0;
        while index < 64 {
            bytes[index] = index as u8;
            index += 1;
        }
        bytes
    };

    const fn repeated<const N: usize>(unit: &[u8]) -> [u8; N] {
        let mut bytes = [0; N];
        let mut index = 0;
        while index < N {
            bytes[index] = unit[index % unit.len()];
            index += 1;
        }
        bytes
    }

    #[test]
    fn what_redis_dumped_is_read() {
        for (dumped, value) in REDIS_DUMPS {
            assert_eq!(decode(&hex(dumped)), Ok(Decoded::String(value.to_vec().into())), "{}", value.escape_ascii());
        }
    }

    #[test]
    fn what_is_no_payload_is_refused() {
        let good = payload(b"\x00\x03abc", 11);
        assert_eq!(decode(&good), Ok(Decoded::String(b"abc".into())));
        for version in [0, 6, 12, 80] {
            assert!(decode(&payload(b"\x00\x03abc", version)).is_ok());
        }
        for version in [13, 79, 81, u16::MAX] {
            assert_eq!(decode(&payload(b"\x00\x03abc", version)), Err(RdbError::Footer));
        }
        for length in 0..good.len() {
            assert_eq!(decode(&good[..length]), Err(RdbError::Footer));
        }
        for bit in 0..good.len() * 8 {
            let mut damaged = good.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(decode(&damaged), Err(RdbError::Footer), "bit {bit}");
        }
        for body in [
            &b""[..],
            b"\x00",
            b"\x01\x00",
            b"\x00\x03ab",
            b"\x00\x03abcd",
            b"\x00\x40",
            b"\x00\x80\xff\xff\xff\xff",
            b"\x00\x81\xff\xff\xff\xff\xff\xff\xff\xff",
            b"\x00\x81\x00",
            b"\x00\x82\x00\x00\x00\x00",
            b"\x00\xc0",
            b"\x00\xc0\x01\x02",
            b"\x00\xc1\x01",
            b"\x00\xc2\x01\x02\x03",
            b"\x00\xc3",
            b"\x00\xc3\x05\x05\x00a",
            b"\x00\xc3\x02\x05\x00a",
            b"\x00\xc3\x02\x80\x20\x00\x00\x00\x00a",
            b"\x00\xc3\x02\x81\xff\xff\xff\xff\xff\xff\xff\xff\x00a",
            b"\x00\xc3\x03\x08\x20\x00\x00",
            b"\x00\xc4\x00",
            b"\x00\xff",
        ] {
            assert_eq!(decode(&payload(body, 11)), Err(RdbError::Format), "{}", body.escape_ascii());
        }
    }

    #[test]
    fn lengths_at_their_borders() {
        for length in [0, 1, 20, 21, 63, 64, 16_383, 16_384, 100_000] {
            // Half of it packs, half does not.
            let value: Vec<u8> =
                (0..length as u32).map(|index| if index % 2 == 0 { b'x' } else { (index.wrapping_mul(index) / 7) as u8 }).collect();
            let mut payload = Vec::new();
            encode_string(&value, &mut payload);
            assert_eq!(decode(&payload), Ok(Decoded::String(value.into())), "{length}");
        }
    }

    #[test]
    fn numbers_take_few_bytes() {
        for (value, bytes) in [
            ("0", 2),
            ("-1", 2),
            ("127", 2),
            ("128", 3),
            ("-32768", 3),
            ("32768", 5),
            ("-2147483648", 5),
            ("2147483648", 11),
            ("007", 4),
            ("+1", 3),
            ("", 1),
        ] {
            let mut payload = Vec::new();
            encode_string(value.as_bytes(), &mut payload);
            assert_eq!(payload.len(), 1 + bytes + FOOTER_BYTES, "{value}");
            assert_eq!(decode(&payload), Ok(Decoded::String(value.as_bytes().into())));
        }
    }

    proptest! {
        #[test]
        fn every_string_comes_back(value: Vec<u8>, repeated in "[ab]{0,400}", number: i64) {
            for value in [value, repeated.into_bytes(), number.to_string().into_bytes()] {
                let mut payload = b"kept".to_vec();
                encode_string(&value, &mut payload);
                prop_assert_eq!(&payload[..4], b"kept");
                prop_assert_eq!(decode(&payload[4..]), Ok(Decoded::String(value.into())));
            }
        }

        #[test]
        fn no_bytes_panic(bytes: Vec<u8>, kind in 0u8..2, encoding in 0xC0u8..0xC5) {
            let _ = decode(&bytes);
            let _ = decode(&payload(&bytes, 11));
            let _ = decode(&payload(&[&[kind, encoding], &bytes[..]].concat(), 11));
        }
    }
}

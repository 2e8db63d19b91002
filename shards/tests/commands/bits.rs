//! Bit commands and ranges on random strings, against models that look at one bit or byte at a time.

use super::script::Session;
use proptest::prelude::*;

fn bit(value: &[u8], index: usize) -> bool {
    value[index / 8] >> (7 - index % 8) & 1 == 1
}

/// What a pair of positions selects of `len` units, both ends included, spelled out as the manual does.
fn selected(start: i64, end: i64, len: usize) -> Vec<usize> {
    let from_left = |position: i64| if position < 0 { (len as i64 + position).max(0) } else { position };
    (0..len as i64).filter(|index| (from_left(start)..=from_left(end)).contains(index)).map(|index| index as usize).collect()
}

fn integer(reply: &[u8]) -> i64 {
    let text = reply.strip_prefix(b":").and_then(|rest| rest.strip_suffix(b"\r\n")).expect("an integer");
    std::str::from_utf8(text).expect("digits").parse().expect("digits")
}

fn bulk(bytes: &[u8]) -> Vec<u8> {
    [format!("${}\r\n", bytes.len()).as_bytes(), bytes, b"\r\n"].concat()
}

/// Strings with long runs, so that whole words and blocks are alike.
fn value() -> impl Strategy<Value = Vec<u8>> {
    let runs = prop::collection::vec((prop_oneof![Just(0x00u8), Just(0xFF), any::<u8>()], 0usize..90), 0..5);
    runs.prop_map(|runs| runs.into_iter().flat_map(|(byte, count)| std::iter::repeat_n(byte, count)).collect())
}

fn position() -> impl Strategy<Value = i64> {
    prop_oneof![-40i64..40, -400i64..400, -4000i64..4000, Just(i64::MIN), Just(i64::MAX)]
}

fn holding(value: &[u8]) -> Session {
    let mut session = Session::new();
    session.ask(&[b"SET".as_slice(), b"k", value]);
    session
}

proptest! {
    #[test]
    fn bitcount_counts(value in value(), start in position(), end in position(), by_bit in any::<bool>()) {
        let mut session = holding(&value);
        let units = if by_bit { value.len() * 8 } else { value.len() };
        let chosen = if start < 0 && end < 0 && start > end { vec![] } else { selected(start, end, units) };
        let ones: u32 = chosen.iter().map(|index| if by_bit { u32::from(bit(&value, *index)) } else { value[*index].count_ones() }).sum();
        let reply = session.ask(&["BITCOUNT", "k", &start.to_string(), &end.to_string(), if by_bit { "BIT" } else { "BYTE" }]);
        prop_assert_eq!(integer(&reply), i64::from(ones));
    }

    #[test]
    fn bitpos_finds(value in value(), wanted in any::<bool>(), start in position(), end in position(), by_bit in any::<bool>()) {
        let mut session = holding(&value);
        let units = if by_bit { value.len() * 8 } else { value.len() };
        let bits = selected(start, end, units).into_iter().flat_map(|index| if by_bit { index..index + 1 } else { index * 8..index * 8 + 8 });
        let found = bits.into_iter().find(|index| bit(&value, *index) == wanted).map_or(-1, |index| index as i64);
        let (wanted, start, end) = (u8::from(wanted).to_string(), start.to_string(), end.to_string());
        let reply = session.ask(&["BITPOS", "k", &wanted, &start, &end, if by_bit { "BIT" } else { "BYTE" }]);
        prop_assert_eq!(integer(&reply), found);
    }

    #[test]
    fn bitpos_without_an_end_goes_on_with_zeros(value in value(), wanted in any::<bool>(), start in position()) {
        let mut session = holding(&value);
        let bytes = selected(start, -1, value.len());
        let mut bits = bytes.iter().flat_map(|index| index * 8..index * 8 + 8);
        let beyond = if wanted || bytes.is_empty() { -1 } else { value.len() as i64 * 8 };
        let found = bits.find(|index| bit(&value, *index) == wanted).map_or(beyond, |index| index as i64);
        let reply = session.ask(&["BITPOS", "k", &u8::from(wanted).to_string(), &start.to_string()]);
        prop_assert_eq!(integer(&reply), found);
    }

    #[test]
    fn bitop_combines(sources in prop::collection::vec(value(), 1..4), operation in 0usize..4) {
        let name = ["AND", "OR", "XOR", "NOT"][operation];
        let sources = if name == "NOT" { &sources[..1] } else { &sources[..] };
        let mut session = Session::new();
        let mut request: Vec<Vec<u8>> = vec![b"BITOP".to_vec(), name.into(), b"d".to_vec()];
        for (index, source) in sources.iter().enumerate() {
            let key = vec![b'0' + index as u8];
            session.ask(&[b"SET".as_slice(), &key, source]);
            request.push(key);
        }
        let len = sources.iter().map(Vec::len).max().unwrap_or(0);
        let combined: Vec<u8> = (0..len).map(|index| {
            let bytes = sources.iter().map(|source| source.get(index).copied().unwrap_or(0));
            match name {
                "AND" => bytes.fold(0xFF, |left, right| left & right),
                "OR" => bytes.fold(0, |left, right| left | right),
                "XOR" => bytes.fold(0, |left, right| left ^ right),
                _ => !sources[0][index],
            }
        }).collect();
        prop_assert_eq!(integer(&session.ask(&request)), len as i64);
        prop_assert_eq!(session.ask(&["GET", "d"]), if len == 0 { b"$-1\r\n".to_vec() } else { bulk(&combined) });
    }

    #[test]
    fn setbit_and_getbit_agree(mut value in value(), offset in 0usize..3000, on in any::<bool>()) {
        let mut session = holding(&value);
        value.resize(value.len().max(offset / 8 + 1), 0);
        let was_on = bit(&value, offset);
        let (offset_text, on_text) = (offset.to_string(), u8::from(on).to_string());
        prop_assert_eq!(integer(&session.ask(&["SETBIT", "k", &offset_text, &on_text])), i64::from(was_on));
        prop_assert_eq!(integer(&session.ask(&["GETBIT", "k", &offset_text])), i64::from(on));
        let mask = 0x80 >> (offset % 8);
        value[offset / 8] = if on { value[offset / 8] | mask } else { value[offset / 8] & !mask };
        prop_assert_eq!(session.ask(&["GET", "k"]), bulk(&value));
    }

    #[test]
    fn a_field_is_its_bits(value in value(), offset in 0usize..600, bits in 1usize..64, number in any::<i64>()) {
        let mut session = holding(&value);
        let (kind, offset_text, number_text) = (format!("u{bits}"), offset.to_string(), number.to_string());
        let at = |value: &[u8]| {
            (offset..offset + bits).fold(0u64, |sum, index| sum << 1 | u64::from(index / 8 < value.len() && bit(value, index)))
        };
        let reply = session.ask(&["BITFIELD", "k", "GET", &kind, &offset_text, "SET", &kind, &offset_text, &number_text, "GET", &kind, &offset_text]);
        let kept = number as u64 & (u64::MAX >> (64 - bits));
        let wanted = format!("*3\r\n:{0}\r\n:{0}\r\n:{kept}\r\n", at(&value));
        prop_assert_eq!(String::from_utf8_lossy(&reply), wanted);
        // Nothing but the field changed.
        let mut model = value.clone();
        model.resize(model.len().max((offset + bits).div_ceil(8)), 0);
        for index in 0..bits {
            let (byte, mask) = ((offset + index) / 8, 0x80 >> ((offset + index) % 8));
            model[byte] = if kept >> (bits - 1 - index) & 1 == 1 { model[byte] | mask } else { model[byte] & !mask };
        }
        prop_assert_eq!(session.ask(&["GET", "k"]), bulk(&model));
    }

    #[test]
    fn getrange_cuts(value in value(), start in position(), end in position()) {
        let mut session = holding(&value);
        let chosen = if start < 0 && end < 0 && start > end { vec![] } else { selected(start, end, value.len()) };
        let piece: Vec<u8> = chosen.iter().map(|index| value[*index]).collect();
        prop_assert_eq!(session.ask(&["GETRANGE", "k", &start.to_string(), &end.to_string()]), bulk(&piece));
    }

    #[test]
    fn setrange_overwrites(mut value in value(), offset in 0usize..500, piece in value()) {
        let mut session = holding(&value);
        let reply = session.ask(&[b"SETRANGE".as_slice(), b"k", offset.to_string().as_bytes(), &piece]);
        if !piece.is_empty() {
            value.resize(value.len().max(offset + piece.len()), 0);
            value[offset..offset + piece.len()].copy_from_slice(&piece);
        }
        prop_assert_eq!(integer(&reply), value.len() as i64);
        prop_assert_eq!(session.ask(&["GET", "k"]), bulk(&value));
    }
}

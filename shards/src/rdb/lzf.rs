//! LZF, the packing of long strings in RDB: runs of literal bytes, and references to bytes that came before.
//!
//! A control byte below 32 announces so many literals plus one. Any other announces a reference: its upper three bits are
//! the length minus two (seven: the next byte is added), its lower five and the byte after them the distance minus one.

/// The longest run of literals.
const LITERALS_MAX: usize = 32;
/// The shortest reference that saves anything.
const LENGTH_MIN: usize = 3;
/// The longest reference.
const LENGTH_MAX: usize = 2 + 7 + 255;
/// How far back a reference reaches.
const DISTANCE_MAX: usize = 1 << 13;
/// Packing that saves less than this is not used. As in Redis.
const SAVED_BYTES_MIN: usize = 4;
/// Places that are remembered by the hash of the three bytes there.
const PLACES_BITS: u32 = 13;

/// `value` packed, or `None` if that would save less than four bytes.
pub(super) fn pack(value: &[u8]) -> Option<Vec<u8>> {
    let packed_bytes_max = value.len().checked_sub(SAVED_BYTES_MIN)?;
    // Positions plus one; zero is none. Boxed: a core's stack has better uses for 32 KiB.
    let mut places = vec![0u32; 1 << PLACES_BITS];
    let mut packed = Vec::new();
    let (mut at, mut literals_from) = (0, 0);
    while let Some(next) = value.get(at..at + LENGTH_MIN) {
        let place = &mut places[hash([next[0], next[1], next[2]])];
        let seen = (*place as usize).checked_sub(1);
        *place = at as u32 + 1;
        let Some(seen) = seen.filter(|seen| at - seen <= DISTANCE_MAX && value[*seen..][..LENGTH_MIN] == *next) else {
            at += 1;
            continue;
        };
        let longest = LENGTH_MAX.min(value.len() - at);
        let length = (LENGTH_MIN..longest).find(|index| value[seen + index] != value[at + index]).unwrap_or(longest);
        write_literals(&value[literals_from..at], &mut packed);
        write_reference(at - seen, length, &mut packed);
        if packed.len() > packed_bytes_max {
            return None;
        }
        // The places inside are skipped, except the last two: cheap, and enough to find what follows a repetition.
        at += length;
        literals_from = at;
        for inside in at - 2..at {
            if let Some(bytes) = value.get(inside..inside + LENGTH_MIN) {
                places[hash([bytes[0], bytes[1], bytes[2]])] = inside as u32 + 1;
            }
        }
    }
    write_literals(&value[literals_from..], &mut packed);
    (packed.len() <= packed_bytes_max).then_some(packed)
}

/// What `packed` unpacks to if that is exactly `value_bytes` long. Reserves nothing on the word of either.
pub(super) fn unpack(packed: &[u8], value_bytes: usize) -> Option<Vec<u8>> {
    let mut value = Vec::new();
    let mut rest = packed;
    while let [control, after @ ..] = rest {
        let control = usize::from(*control);
        if control < LITERALS_MAX {
            let literals = after.get(..control + 1)?;
            value.extend_from_slice(literals);
            rest = &after[control + 1..];
        } else {
            let (length, after) = match (control >> 5, after) {
                (7, [more, after @ ..]) => (7 + usize::from(*more), after),
                (length, after) => (length, after),
            };
            let [low, after @ ..] = after else { return None };
            let distance = ((control & 0x1F) << 8 | usize::from(*low)) + 1;
            let from = value.len().checked_sub(distance)?;
            let length = length + 2;
            if distance >= length {
                value.extend_from_within(from..from + length);
            } else {
                // The reference reads what it writes: a pattern repeated.
                for index in from..from + length {
                    value.push(value[index]);
                }
            }
            rest = after;
        }
        if value.len() > value_bytes {
            return None;
        }
    }
    (value.len() == value_bytes).then_some(value)
}

fn write_literals(literals: &[u8], packed: &mut Vec<u8>) {
    for run in literals.chunks(LITERALS_MAX) {
        packed.push(run.len() as u8 - 1);
        packed.extend_from_slice(run);
    }
}

fn write_reference(distance: usize, length: usize, packed: &mut Vec<u8>) {
    let (high, low) = (((distance - 1) >> 8) as u8, (distance - 1) as u8);
    let length = length - 2;
    if length < 7 {
        packed.extend_from_slice(&[(length as u8) << 5 | high, low]);
    } else {
        packed.extend_from_slice(&[7 << 5 | high, (length - 7) as u8, low]);
    }
}

#[inline]
fn hash(bytes: [u8; LENGTH_MIN]) -> usize {
    let word = u32::from_le_bytes([bytes[0], bytes[1], bytes[2], 0]);
    (word.wrapping_mul(0x9e37_79b1) >> (32 - PLACES_BITS)) as usize
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn repetition_packs_well() {
        for unit in ["a", "ab", "abc", "0123456789"] {
            let value = unit.repeat(10_000 / unit.len());
            let packed = pack(value.as_bytes()).unwrap();
            assert!(packed.len() < 150, "{unit}: {}", packed.len());
            assert_eq!(unpack(&packed, value.len()).unwrap(), value.as_bytes());
        }
        assert_eq!(pack(b""), None);
        assert_eq!(pack(&(0..=255).collect::<Vec<u8>>()), None);
    }

    #[test]
    fn far_repetitions_are_out_of_reach() {
        for gap in [DISTANCE_MAX - 8, DISTANCE_MAX - 7, DISTANCE_MAX + 1] {
            let noise = (0..gap as u32).map(|index| (index.wrapping_mul(2_654_435_761) >> 13) as u8);
            let value: Vec<u8> = b"SIGNAL!!".iter().copied().chain(noise).chain(*b"SIGNAL!!").chain([0; 64]).collect();
            let packed = pack(&value).unwrap();
            assert_eq!(unpack(&packed, value.len()).unwrap(), value);
        }
    }

    proptest! {
        #[test]
        fn what_is_packed_unpacks(units in prop::collection::vec(("[abc]{1,6}", 1usize..200), 0..20)) {
            let value: Vec<u8> = units.iter().flat_map(|(unit, times)| unit.repeat(*times).into_bytes()).collect();
            if let Some(packed) = pack(&value) {
                prop_assert!(packed.len() + SAVED_BYTES_MIN <= value.len());
                prop_assert_eq!(unpack(&packed, value.len()), Some(value));
            }
        }

        #[test]
        fn no_bytes_panic(packed: Vec<u8>, value_bytes in 0usize..2000) {
            if let Some(value) = unpack(&packed, value_bytes) {
                prop_assert_eq!(value.len(), value_bytes);
            }
        }
    }
}

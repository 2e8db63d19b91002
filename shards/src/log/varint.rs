//! Unsigned numbers in as few bytes as they need: seven bits each, lowest first, the top bit says that more follow (LEB128,
//! as in DWARF and WebAssembly). There is one form for each number; every other is refused.

/// Longest form: 64 bits.
pub(crate) const VARINT_BYTES_MAX: usize = 10;

/// How many bytes `number` takes.
#[inline]
pub(crate) fn len(number: u64) -> usize {
    // Each started seven bits are a byte, and zero takes one as well.
    (70 - (number | 1).leading_zeros() as usize) / 7
}

/// Appends `number`.
#[inline]
pub(crate) fn put(mut number: u64, out: &mut Vec<u8>) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

/// Takes a number from the front of `bytes`. `None`, and `bytes` as it was, if there is none in its one form.
#[inline]
pub(crate) fn take(bytes: &mut &[u8]) -> Option<u64> {
    let mut number = 0;
    for (index, byte) in bytes.iter().take(VARINT_BYTES_MAX).enumerate() {
        number |= u64::from(byte & 0x7F) << (7 * index);
        if byte & 0x80 == 0 {
            let is_overlong = *byte == 0 && index > 0;
            let is_too_large = index == VARINT_BYTES_MAX - 1 && *byte > 1;
            if is_overlong || is_too_large {
                return None;
            }
            *bytes = &bytes[index + 1..];
            return Some(number);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn written(number: u64) -> Vec<u8> {
        let mut out = Vec::new();
        put(number, &mut out);
        out
    }

    #[test]
    fn the_edges() {
        for (number, expected) in [
            (0, &[0][..]),
            (1, &[1]),
            (0x7F, &[0x7F]),
            (0x80, &[0x80, 1]),
            (300, &[0xAC, 2]),
            (0x3FFF, &[0xFF, 0x7F]),
            (0x4000, &[0x80, 0x80, 1]),
        ] {
            assert_eq!(written(number), expected, "{number}");
        }
        assert_eq!(written(u64::MAX), [0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 1]);
        for bad in [&[][..], &[0x80], &[0x80, 0], &[0xFF, 0x80, 0], &[0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 2], &[0x80; 11]]
        {
            let mut bytes = bad;
            assert_eq!(take(&mut bytes), None, "{bad:?}");
            assert_eq!(bytes, bad);
        }
    }

    proptest! {
        #[test]
        fn what_is_put_is_taken(number: u64, bits in 0u32..64, rest in prop::collection::vec(any::<u8>(), 0..4)) {
            let number = number >> bits;
            let mut bytes = written(number);
            prop_assert_eq!(bytes.len(), len(number));
            bytes.extend(&rest);
            let mut left = &bytes[..];
            prop_assert_eq!(take(&mut left), Some(number));
            prop_assert_eq!(left, &rest[..]);
        }

        #[test]
        fn any_bytes_have_one_meaning(bytes in prop::collection::vec(any::<u8>(), 0..14)) {
            let mut left = &bytes[..];
            if let Some(number) = take(&mut left) {
                prop_assert_eq!(&bytes[..bytes.len() - left.len()], &written(number)[..]);
            }
        }
    }
}

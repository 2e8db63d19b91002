//! Key to slot: the Redis Cluster rule, so that every cluster client can route.

/// How many slots there are.
pub const SLOT_COUNT: u16 = 16_384;

/// `CRC16(key or {hash tag}) mod 16384`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Slot(pub u16);

impl Slot {
    /// The slot of a key. Only the part between the first `{` and the next `}` counts, if that part is not empty.
    #[inline]
    pub fn of(key: &[u8]) -> Slot {
        Slot(crc16(hash_tag(key)) % SLOT_COUNT)
    }
}

#[inline]
fn hash_tag(key: &[u8]) -> &[u8] {
    if has_brace(key) { braced(key) } else { key }
}

/// Whether there is a `{`, eight bytes at a time: keys are short, and most have none.
#[inline]
fn has_brace(key: &[u8]) -> bool {
    const LOW: u64 = u64::from_ne_bytes([0x01; 8]);
    const HIGH: u64 = u64::from_ne_bytes([0x80; 8]);
    let (eights, rest) = key.as_chunks::<8>();
    let mut found = 0;
    for eight in eights {
        // A byte that is `{` becomes zero, and a zero byte borrows from its high bit. Bytes above it may seem to match
        // by that borrow, which is no harm: a match is looked at again.
        let word = u64::from_ne_bytes(*eight) ^ u64::from_ne_bytes([b'{'; 8]);
        found |= word.wrapping_sub(LOW) & !word & HIGH;
    }
    found != 0 || rest.contains(&b'{')
}

#[cold]
fn braced(key: &[u8]) -> &[u8] {
    let Some(open) = memchr::memchr(b'{', key) else { return key };
    let rest = &key[open + 1..];
    match memchr::memchr(b'}', rest) {
        None | Some(0) => key,
        Some(close) => &rest[..close],
    }
}

/// CRC-16/XMODEM (polynomial 0x1021, start 0, not reflected), eight bytes at a time.
fn crc16(bytes: &[u8]) -> u16 {
    let (eights, rest) = bytes.as_chunks::<8>();
    let mut crc = 0u16;
    for eight in eights {
        let [high, low] = crc.to_be_bytes();
        crc = CRC16_TABLES[7][usize::from(eight[0] ^ high)]
            ^ CRC16_TABLES[6][usize::from(eight[1] ^ low)]
            ^ CRC16_TABLES[5][usize::from(eight[2])]
            ^ CRC16_TABLES[4][usize::from(eight[3])]
            ^ CRC16_TABLES[3][usize::from(eight[4])]
            ^ CRC16_TABLES[2][usize::from(eight[5])]
            ^ CRC16_TABLES[1][usize::from(eight[6])]
            ^ CRC16_TABLES[0][usize::from(eight[7])];
    }
    for &byte in rest {
        crc = (crc << 8) ^ CRC16_TABLES[0][usize::from((crc >> 8) as u8 ^ byte)];
    }
    crc
}

/// `CRC16_TABLES[n][b]` is the checksum of byte `b` followed by `n` zeros: what it adds to the whole.
static CRC16_TABLES: [[u16; 256]; 8] = {
    let mut tables = [[0u16; 256]; 8];
    let mut index = 0;
    while index < 256 {
        let mut crc = (index as u16) << 8;
        let mut bit = 0;
        while bit < 64 {
            crc = if crc & 0x8000 != 0 { (crc << 1) ^ 0x1021 } else { crc << 1 };
            bit += 1;
            if bit % 8 == 0 {
                tables[bit / 8 - 1][index] = crc;
            }
        }
        index += 1;
    }
    tables
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_match_the_cluster_specification() {
        // "123456789" is the check value of CRC-16/XMODEM.
        assert_eq!(crc16(b"123456789"), 0x31C3);
        // Two of the eight-byte steps and a rest, against one byte at a time.
        let bytes = *b"corewheel turns on every core";
        for len in 0..bytes.len() {
            let slowly = bytes[..len].iter().fold(0u16, |crc, byte| {
                (0..8).fold(crc ^ u16::from(*byte) << 8, |crc, _| if crc & 0x8000 != 0 { crc << 1 ^ 0x1021 } else { crc << 1 })
            });
            assert_eq!(crc16(&bytes[..len]), slowly, "{len} bytes");
        }
        for (key, slot) in [("foo", 12182), ("{foo}bar", 12182), ("", 0), ("{}foo", Slot::of(b"{}foo").0), ("a{b}{c}", Slot::of(b"b").0)] {
            assert_eq!(Slot::of(key.as_bytes()), Slot(slot), "{key}");
        }
        assert_ne!(Slot::of(b"{}foo"), Slot::of(b"foo"), "an empty tag is no tag");
        for before in 0..20 {
            let key = [vec![b'|'; before], b"{tag}rest of it".to_vec()].concat();
            assert_eq!(Slot::of(&key), Slot::of(b"tag"), "{before} bytes before the tag");
        }
    }
}

//! The checksum of a payload: CRC-64 with the Jones polynomial, reflected, starting at zero.

/// The checksum of `bytes`, eight bytes a step.
pub fn crc64(bytes: &[u8]) -> u64 {
    crc64_append(0, bytes)
}

/// The checksum of what `crc` is the checksum of, and `bytes` behind it.
pub fn crc64_append(mut crc: u64, bytes: &[u8]) -> u64 {
    let (words, rest) = bytes.as_chunks::<8>();
    for word in words {
        let mixed = (crc ^ u64::from_le_bytes(*word)).to_le_bytes();
        crc = 0;
        for (index, byte) in mixed.into_iter().enumerate() {
            crc ^= TABLES[7 - index][usize::from(byte)];
        }
    }
    for byte in rest {
        crc = TABLES[0][usize::from(crc as u8 ^ byte)] ^ crc >> 8;
    }
    crc
}

/// The polynomial 0xad93d23594c935a9 with its bits reversed.
const POLYNOMIAL: u64 = 0xad93_d235_94c9_35a9u64.reverse_bits();

/// `TABLES[n][byte]`: what a byte contributes when `n` bytes follow it.
static TABLES: [[u64; 256]; 8] = {
    let mut tables = [[0; 256]; 8];
    let mut byte = 0;
    while byte < 256 {
        let mut crc = byte as u64;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc & 1 != 0 { crc >> 1 ^ POLYNOMIAL } else { crc >> 1 };
            bit += 1;
        }
        tables[0][byte] = crc;
        byte += 1;
    }
    let mut table = 1;
    while table < 8 {
        let mut byte = 0;
        while byte < 256 {
            let before = tables[table - 1][byte];
            tables[table][byte] = tables[0][(before & 0xFF) as usize] ^ before >> 8;
            byte += 1;
        }
        table += 1;
    }
    tables
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_check_value() {
        assert_eq!(crc64(b"123456789"), 0xe9c6_d914_c4b8_d9ca);
        assert_eq!(crc64(b""), 0);
    }

    #[test]
    fn eight_at_a_time_is_one_at_a_time() {
        let bytes: Vec<u8> = (0..100u32).map(|index| (index * 37) as u8).collect();
        for end in 0..bytes.len() {
            let slow = bytes[..end].iter().fold(0u64, |crc, byte| TABLES[0][usize::from(crc as u8 ^ byte)] ^ crc >> 8);
            assert_eq!(crc64(&bytes[..end]), slow);
            assert_eq!(crc64_append(crc64(&bytes[..end / 3]), &bytes[end / 3..end]), slow);
        }
    }
}

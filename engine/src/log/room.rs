//! Whether there is room for the log.

/// What is known of the disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Room {
    /// Nothing speaks against writing on.
    #[default]
    Enough,
    /// The next file could not be made; what is left of this one is used up.
    Low,
    /// Writes are refused. What is left is for what must be said without being asked: evictions, and the end.
    Full,
}

/// The reserve: bytes of the last file that only evictions and the end may use.
const RESERVE_BYTES: u64 = 8 * 1024 * 1024;

impl Room {
    /// What to think when the next file could not be made and so much is left of this one, of `segment_bytes` in all.
    pub(crate) fn without_next(rest_bytes: u64, segment_bytes: u64) -> Room {
        if rest_bytes < RESERVE_BYTES.min(segment_bytes / 2) { Room::Full } else { Room::Low }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reserve_is_kept() {
        const MIB: u64 = 1024 * 1024;
        assert_eq!(Room::without_next(9 * MIB, 64 * MIB), Room::Low);
        assert_eq!(Room::without_next(7 * MIB, 64 * MIB), Room::Full);
        assert_eq!(Room::without_next(40 * 1024, 64 * 1024), Room::Low);
        assert_eq!(Room::without_next(30 * 1024, 64 * 1024), Room::Full);
    }
}

//! Time and chance before the first kernel exists: for the process' name and start. Nothing on a turn may use this.

use netio::{MonotonicNs, Now, WallMs};
use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::time::{SystemTime, UNIX_EPOCH};

/// The wall clock. The monotonic one is zero: cores measure from their own start.
pub(crate) fn now() -> Now {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Now { monotonic: MonotonicNs(0), wall: WallMs(since.as_millis() as u64), wall_us_part: (since.subsec_micros() % 1000) as u16 }
}

/// Sixty-four bits from the operating system, by way of the standard library's seeded hasher.
pub(crate) fn entropy() -> u64 {
    let mut hasher = RandomState::new().build_hasher();
    hasher.write_u64(0);
    hasher.finish()
}

//! Two clocks that must never be mixed, so they are two types.

/// Nanoseconds since some moment before the process started. Never goes back. For measuring.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MonotonicNs(pub u64);

/// Milliseconds since 1970 in UTC. May jump. For deadlines that people and other machines see.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WallMs(pub u64);

/// Both clocks, read together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Now {
    /// For durations.
    pub monotonic: MonotonicNs,
    /// For dates.
    pub wall: WallMs,
    /// The wall clock's microseconds past its millisecond, for `TIME`.
    pub wall_us_part: u16,
}

impl MonotonicNs {
    /// Nanoseconds from `earlier` to here, zero if `earlier` is later.
    pub fn since(self, earlier: MonotonicNs) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

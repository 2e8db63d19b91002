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

impl Now {
    /// Reads the machine's clocks. Two vDSO calls, about 40 ns.
    pub(crate) fn of_machine() -> Now {
        let monotonic = read(libc::CLOCK_MONOTONIC);
        let wall = read(libc::CLOCK_REALTIME);
        Now {
            monotonic: MonotonicNs(monotonic.0 * 1_000_000_000 + monotonic.1),
            wall: WallMs(wall.0 * 1_000 + wall.1 / 1_000_000),
            wall_us_part: (wall.1 / 1_000 % 1_000) as u16,
        }
    }
}

/// Seconds and nanoseconds of one clock.
fn read(clock: libc::clockid_t) -> (u64, u64) {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is valid for writing for the duration of the call.
    let done = unsafe { libc::clock_gettime(clock, &mut time) };
    assert_eq!(done, 0, "the machine has no clock {clock}");
    (time.tv_sec as u64, time.tv_nsec as u64)
}

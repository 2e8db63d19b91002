//! The entry clock: the wall clock that a core lives by, which never goes back.
//!
//! Whether a key is there is a function of its record and this clock. A clock that went back would bring keys back whose time
//! had come. So when the machine's clock goes back, this one goes on by elapsed time until the other has caught up; and after a
//! restart it begins no earlier than the latest moment found on the disk.

use netio::{MonotonicNs, Now, WallMs};

/// One core's clock.
#[derive(Clone, Copy, Debug)]
pub struct EntryClock {
    /// What it said last, in microseconds since 1970.
    last_us: u64,
    /// Where it goes on from while it is ahead of the machine's: what it said, and when.
    ahead_from: Option<(u64, MonotonicNs)>,
    /// By how much it was ahead the last time it was asked.
    ahead_us: u64,
    last: MonotonicNs,
}

impl EntryClock {
    /// A clock that says what the machine says.
    pub fn new(now: Now) -> EntryClock {
        EntryClock { last_us: micros(now), ahead_from: None, ahead_us: 0, last: now.monotonic }
    }

    /// The machine's moment with this clock's wall time.
    #[inline]
    pub fn advance(&mut self, now: Now) -> Now {
        let wall_us = micros(now);
        if self.ahead_from.is_none() && wall_us >= self.last_us {
            self.last_us = wall_us;
            self.last = now.monotonic;
            return now;
        }
        self.advance_ahead(now, wall_us)
    }

    #[cold]
    fn advance_ahead(&mut self, now: Now, wall_us: u64) -> Now {
        let (from_us, since) = *self.ahead_from.get_or_insert((self.last_us, self.last));
        let us = from_us + now.monotonic.since(since) / 1000;
        self.last = now.monotonic;
        if wall_us >= us {
            (self.ahead_from, self.ahead_us, self.last_us) = (None, 0, wall_us);
            return now;
        }
        (self.ahead_us, self.last_us) = (us - wall_us, us);
        Now { wall: WallMs(us / 1000), wall_us_part: (us % 1000) as u16, ..now }
    }

    /// It says no less than this from now on.
    pub fn raise(&mut self, floor_ms: u64, now: Now) {
        if floor_ms * 1000 > self.last_us {
            self.last_us = floor_ms * 1000;
            self.last = now.monotonic;
            self.ahead_from = Some((self.last_us, now.monotonic));
        }
    }

    /// By how many milliseconds it is ahead of the machine's clock.
    pub fn ahead_ms(&self) -> u64 {
        self.ahead_us / 1000
    }
}

fn micros(now: Now) -> u64 {
    now.wall.0 * 1000 + u64::from(now.wall_us_part)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(monotonic_us: u64, wall_us: u64) -> Now {
        Now { monotonic: MonotonicNs(monotonic_us * 1000), wall: WallMs(wall_us / 1000), wall_us_part: (wall_us % 1000) as u16 }
    }

    #[test]
    fn it_says_what_the_machine_says_as_long_as_that_goes_forward() {
        let mut clock = EntryClock::new(at(0, 5_000_000));
        for (monotonic, wall) in [(300, 5_000_300), (400, 5_000_300), (500, 9_000_000)] {
            assert_eq!(clock.advance(at(monotonic, wall)), at(monotonic, wall));
            assert_eq!(clock.ahead_ms(), 0);
        }
    }

    #[test]
    fn it_goes_on_by_elapsed_time_when_the_machine_goes_back() {
        let mut clock = EntryClock::new(at(0, 50_000_000));
        // Turns far shorter than a millisecond must add up.
        for step in 1..=10_000 {
            let now = clock.advance(at(step * 100, 10_000_000 + step * 100));
            assert_eq!(micros(now), 50_000_000 + step * 100);
        }
        assert_eq!(clock.ahead_ms(), 40_000);
        // The other has caught up: from here on they agree again.
        assert_eq!(clock.advance(at(1_000_100, 60_000_000)), at(1_000_100, 60_000_000));
        assert_eq!(clock.ahead_ms(), 0);
    }

    #[test]
    fn it_begins_no_earlier_than_what_was_found() {
        let mut clock = EntryClock::new(at(0, 1_000_000));
        clock.raise(7_000, at(0, 1_000_000));
        assert_eq!(micros(clock.advance(at(2_000, 1_002_000))), 7_002_000);
        clock.raise(3_000, at(2_000, 1_002_000));
        assert_eq!(micros(clock.advance(at(3_000, 1_003_000))), 7_003_000, "a lower floor changes nothing");
    }
}

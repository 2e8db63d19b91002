//! When requests are meant to start: the schedule that knows nothing of the target.
//!
//! A schedule is decided by rate, shape and seed alone, so a stalled target cannot slow it down. Times are nanoseconds
//! since the pass began. Each thread owns an equal part of the rate; the parts interleave.

use crate::random::Random;

/// How arrivals are spaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Spacing {
    /// Evenly: the same gap every time.
    Fixed,
    /// Like many strangers: exponential gaps, so bursts happen.
    Poisson,
}

/// Rate over time, in batches per second over all threads.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Slope {
    /// Rate during the first `flat_s` seconds.
    pub(crate) from: f64,
    /// Rate at the end.
    pub(crate) to: f64,
    /// Warm-up at `from` before the slope begins.
    pub(crate) flat_s: f64,
    /// How long the slope takes from `from` to `to`. Afterwards `to` holds.
    pub(crate) slope_s: f64,
}

impl Slope {
    /// The same rate for ever.
    pub(crate) fn level(rate: f64) -> Slope {
        Slope { from: rate, to: rate, flat_s: 0.0, slope_s: 0.0 }
    }

    /// The second at which `events` have been due. The inverse of the integral of the rate.
    fn second_of(&self, events: f64) -> f64 {
        let flat = self.from * self.flat_s;
        if events <= flat || self.from == self.to {
            return events / self.from;
        }
        let left = events - flat;
        let steepness = (self.to - self.from) / self.slope_s.max(f64::MIN_POSITIVE);
        let slope = (self.from + self.to) / 2.0 * self.slope_s;
        if left <= slope {
            // from * t + steepness / 2 * t^2 = left, in the form that does not cancel.
            let root = (self.from * self.from + 2.0 * steepness * left).max(0.0).sqrt();
            return self.flat_s + 2.0 * left / (self.from + root);
        }
        self.flat_s + self.slope_s + (left - slope) / self.to
    }
}

/// One thread's schedule. Endless; who asks knows when to stop.
#[derive(Clone, Debug)]
pub(crate) struct Arrivals {
    slope: Slope,
    spacing: Spacing,
    random: Random,
    threads: f64,
    /// Events of all threads that are due before the next one of this thread.
    reached: f64,
    next_ns: u64,
}

impl Arrivals {
    /// # Panics
    /// If the rate is not above 0 or `thread` is not below `threads`.
    pub(crate) fn new(slope: Slope, spacing: Spacing, thread: u64, threads: u64, mut random: Random) -> Arrivals {
        assert!(slope.from > 0.0 && slope.to > 0.0);
        assert!(thread < threads);
        let threads = threads as f64;
        let reached = match spacing {
            Spacing::Fixed => thread as f64,
            Spacing::Poisson => random.exponential() * threads,
        };
        let mut arrivals = Arrivals { slope, spacing, random, threads, reached, next_ns: 0 };
        arrivals.next_ns = arrivals.nanos();
        arrivals
    }

    /// Intended start of the next batch.
    #[inline]
    pub(crate) fn next_ns(&self) -> u64 {
        self.next_ns
    }

    /// Takes the next batch off the schedule.
    #[inline]
    pub(crate) fn advance(&mut self) {
        self.reached += match self.spacing {
            Spacing::Fixed => self.threads,
            Spacing::Poisson => self.random.exponential() * self.threads,
        };
        self.next_ns = self.nanos();
    }

    fn nanos(&self) -> u64 {
        (self.slope.second_of(self.reached) * 1e9) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn take(mut arrivals: Arrivals, end_ns: u64) -> Vec<u64> {
        let mut times = Vec::new();
        while arrivals.next_ns() < end_ns {
            times.push(arrivals.next_ns());
            arrivals.advance();
        }
        times
    }

    fn all(slope: Slope, spacing: Spacing, threads: u64, end_s: f64) -> Vec<u64> {
        let mut times: Vec<u64> = (0..threads)
            .flat_map(|thread| take(Arrivals::new(slope, spacing, thread, threads, Random::new(9, thread)), (end_s * 1e9) as u64))
            .collect();
        times.sort_unstable();
        times
    }

    #[test]
    fn fixed_threads_interleave_evenly() {
        let times = all(Slope::level(1_000.0), Spacing::Fixed, 4, 1.0);
        assert_eq!(times.len(), 1_000);
        assert!(times.windows(2).all(|pair| (999_998..=1_000_002).contains(&(pair[1] - pair[0]))), "{times:?}");
    }

    #[test]
    fn a_long_fixed_schedule_does_not_drift() {
        let times = all(Slope::level(333_333.0), Spacing::Fixed, 1, 3.0);
        assert_eq!(times.len(), 999_999);
        let last = *times.last().unwrap() as f64;
        assert!((last - 999_998.0 / 333_333.0 * 1e9).abs() < 2.0);
    }

    #[test]
    fn poisson_keeps_the_rate_and_bunches() {
        let times = all(Slope::level(50_000.0), Spacing::Poisson, 3, 4.0);
        let expected = 200_000.0;
        assert!((times.len() as f64 - expected).abs() < 5.0 * f64::sqrt(expected), "{}", times.len());
        let gaps: Vec<f64> = times.windows(2).map(|pair| (pair[1] - pair[0]) as f64).collect();
        let mean = gaps.iter().sum::<f64>() / gaps.len() as f64;
        let short = gaps.iter().filter(|&&gap| gap < mean / 2.0).count() as f64 / gaps.len() as f64;
        // 1 - e^-0.5 of exponential gaps are below half the mean; of even gaps none is.
        assert!((short - 0.393).abs() < 0.02, "{short}");
    }

    #[test]
    fn a_ramp_offers_its_area() {
        let slope = Slope { from: 1_000.0, to: 9_000.0, flat_s: 1.0, slope_s: 4.0 };
        let times = all(slope, Spacing::Fixed, 2, 6.0);
        // 1 s at 1000, 4 s at 5000 on average, 1 s at 9000.
        assert!((times.len() as i64 - 30_000).abs() <= 2, "{}", times.len());
        let before = |s: f64| times.iter().filter(|&&t| (t as f64) < s * 1e9).count() as i64;
        assert!((before(1.0) - 1_000).abs() <= 2);
        // Half way up the slope: 1000 + 2 s at 3000 on average.
        assert!((before(3.0) - 7_000).abs() <= 2, "{}", before(3.0));
    }

    proptest! {
        #[test]
        fn time_never_goes_back(
            from in 1.0f64..1e6, to in 1.0f64..1e6, flat_s in 0.0f64..2.0, slope_s in 0.0f64..5.0,
            poisson: bool, seed: u64,
        ) {
            let spacing = if poisson { Spacing::Poisson } else { Spacing::Fixed };
            let mut arrivals = Arrivals::new(Slope { from, to, flat_s, slope_s }, spacing, 0, 1, Random::new(seed, 0));
            let mut before = arrivals.next_ns();
            for _ in 0..2_000 {
                arrivals.advance();
                prop_assert!(arrivals.next_ns() >= before);
                before = arrivals.next_ns();
            }
        }
    }
}

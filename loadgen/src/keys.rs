//! Which key comes next: uniform, zipf, sequential or latest, over key numbers `0..count`.
//!
//! Zipf ranks are drawn by rejection-inversion (Hörmann and Derflinger, 1996), exact for every θ > 0 without a table
//! and without YCSB's O(n) zeta sum, then scattered one to one over the key space, so that hot keys are not neighbours.

use crate::random::Random;

/// A distribution as asked for on the command line.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum KeyShape {
    /// Every key as likely as any other.
    Uniform,
    /// Rank r with a chance of r^-θ over the sum of all.
    Zipf {
        /// Skew: 0.99 is YCSB's, 1.4 a very hot cache.
        theta: f64,
    },
    /// One after another, each thread in its own share of the key space, around and around.
    Sequential,
    /// Zipf over age: the key inserted last is the most likely (YCSB D).
    Latest {
        /// Skew over age.
        theta: f64,
    },
}

impl KeyShape {
    /// Reads `uniform`, `sequential`, `zipf`, `zipf:0.8`, `latest`, `latest:0.99`.
    pub(crate) fn parse(text: &str) -> Result<KeyShape, String> {
        let (name, parameter) = match text.split_once(':') {
            Some((name, parameter)) => (name, Some(parameter)),
            None => (text, None),
        };
        let theta = || -> Result<f64, String> {
            let Some(text) = parameter else { return Ok(THETA_YCSB) };
            match crate::quantity::number(text) {
                Ok(theta) if theta > 0.0 && theta <= 10.0 => Ok(theta),
                _ => Err(format!("'{text}' is not a skew: write a number above 0 and at most 10, like zipf:0.99")),
            }
        };
        match name.to_ascii_lowercase().as_str() {
            "zipf" | "zipfian" => Ok(KeyShape::Zipf { theta: theta()? }),
            "latest" => Ok(KeyShape::Latest { theta: theta()? }),
            "uniform" | "random" if parameter.is_none() => Ok(KeyShape::Uniform),
            "sequential" | "seq" if parameter.is_none() => Ok(KeyShape::Sequential),
            "uniform" | "random" | "sequential" | "seq" => Err(format!("'{name}' takes no parameter")),
            _ => Err(format!("'{text}' is no key distribution; write uniform, zipf[:THETA], sequential or latest[:THETA]")),
        }
    }
}

impl std::fmt::Display for KeyShape {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            KeyShape::Uniform => write!(f, "uniform"),
            KeyShape::Zipf { theta } => write!(f, "zipf:{theta}"),
            KeyShape::Sequential => write!(f, "sequential"),
            KeyShape::Latest { theta } => write!(f, "latest:{theta}"),
        }
    }
}

/// The skew YCSB uses where none is given.
pub(crate) const THETA_YCSB: f64 = 0.99;

/// One thread's source of key numbers.
#[derive(Clone, Debug)]
pub(crate) struct KeySource {
    shape: Shape,
    random: Random,
}

#[derive(Clone, Debug)]
enum Shape {
    Uniform { count: u64 },
    Zipf { zipf: Zipf, scatter: Scatter },
    Sequential { next: u64, first: u64, end: u64 },
    Latest { zipf: Zipf },
}

impl KeySource {
    /// Thread `thread` of `threads`. Only `Sequential` splits the key space; the others draw from all of it.
    ///
    /// # Panics
    /// If `count` is 0 or `thread` is not below `threads`.
    pub(crate) fn new(shape: KeyShape, count: u64, thread: u64, threads: u64, random: Random) -> KeySource {
        assert!(count > 0);
        assert!(thread < threads);
        let shape = match shape {
            KeyShape::Uniform => Shape::Uniform { count },
            KeyShape::Zipf { theta } => Shape::Zipf { zipf: Zipf::new(count, theta), scatter: Scatter::new(count) },
            KeyShape::Latest { theta } => Shape::Latest { zipf: Zipf::new(count, theta) },
            KeyShape::Sequential => {
                let (first, end) = share_of(count, thread, threads);
                // More threads than keys: a thread without a share of its own walks them all.
                let (first, end) = if first == end { (0, count) } else { (first, end) };
                Shape::Sequential { next: first, first, end }
            }
        };
        KeySource { shape, random }
    }

    /// The next key number. `newest` is how many keys exist by now; only `Latest` looks at it.
    #[inline]
    pub(crate) fn next(&mut self, newest: u64) -> u64 {
        match &mut self.shape {
            Shape::Uniform { count } => self.random.below(*count),
            Shape::Zipf { zipf, scatter } => scatter.place(zipf.draw(&mut self.random)),
            Shape::Latest { zipf } => newest.saturating_sub(1 + zipf.draw(&mut self.random)),
            Shape::Sequential { next, first, end } => {
                let key = *next;
                *next = if key + 1 == *end { *first } else { key + 1 };
                key
            }
        }
    }
}

/// The part of `0..count` that belongs to `thread`: parts touch, cover all, and differ by at most one.
pub(crate) fn share_of(count: u64, thread: u64, threads: u64) -> (u64, u64) {
    let at = |n: u64| (u128::from(count) * u128::from(n) / u128::from(threads)) as u64;
    (at(thread), at(thread + 1))
}

/// Ranks `0..count`, rank 0 the most likely. About 40 ns a draw, whatever the count.
#[derive(Clone, Debug)]
pub(crate) struct Zipf {
    theta: f64,
    last: f64,
    integral_first: f64,
    integral_last: f64,
    accept: f64,
}

impl Zipf {
    /// # Panics
    /// If `count` is 0 or `theta` is not above 0.
    pub(crate) fn new(count: u64, theta: f64) -> Zipf {
        assert!(count > 0);
        assert!(theta > 0.0);
        let mut zipf = Zipf { theta, last: count as f64, integral_first: 0.0, integral_last: 0.0, accept: 0.0 };
        zipf.integral_first = zipf.integral(1.5) - 1.0;
        zipf.integral_last = zipf.integral(count as f64 + 0.5);
        zipf.accept = 2.0 - zipf.inverse(zipf.integral(2.5) - zipf.density(2.0));
        zipf
    }

    /// A rank, 0 first.
    #[inline]
    pub(crate) fn draw(&self, random: &mut Random) -> u64 {
        loop {
            let u = self.integral_last + random.unit() * (self.integral_first - self.integral_last);
            let x = self.inverse(u);
            let rank = x.round().clamp(1.0, self.last);
            if rank - x <= self.accept || u >= self.integral(rank + 0.5) - self.density(rank) {
                return rank as u64 - 1;
            }
        }
    }

    /// x^-θ.
    #[inline]
    fn density(&self, x: f64) -> f64 {
        (-self.theta * x.ln()).exp()
    }

    /// ∫ x^-θ, written so that θ = 1 (a logarithm) is no special case.
    #[inline]
    fn integral(&self, x: f64) -> f64 {
        let log = x.ln();
        expm1_over((1.0 - self.theta) * log) * log
    }

    #[inline]
    fn inverse(&self, x: f64) -> f64 {
        // Rounding may push the argument below -1, where the logarithm ends.
        let t = (x * (1.0 - self.theta)).max(-1.0);
        (ln1p_over(t) * x).exp()
    }
}

/// (e^x - 1) / x, also near 0.
#[inline]
fn expm1_over(x: f64) -> f64 {
    if x.abs() > 1e-8 { x.exp_m1() / x } else { 1.0 + x * 0.5 * (1.0 + x / 3.0) }
}

/// ln(1 + x) / x, also near 0.
#[inline]
fn ln1p_over(x: f64) -> f64 {
    if x.abs() > 1e-8 { x.ln_1p() / x } else { 1.0 - x * (0.5 - x / 3.0) }
}

/// A permutation of `0..count`: neighbours land far apart, nothing collides.
#[derive(Clone, Copy, Debug)]
struct Scatter {
    count: u64,
    step: u64,
}

impl Scatter {
    fn new(count: u64) -> Scatter {
        // Any step without a common divisor permutes; one near count / φ spreads neighbours evenly.
        let mut step = ((count as f64 * 0.618_033_988_749_895) as u64).max(1);
        while greatest_divisor(step, count) != 1 {
            step += 1;
        }
        Scatter { count, step: step % count.max(1) }
    }

    #[inline]
    fn place(&self, rank: u64) -> u64 {
        if self.count <= u64::from(u32::MAX) {
            (rank * self.step + self.count / 3) % self.count
        } else {
            ((u128::from(rank) * u128::from(self.step)) % u128::from(self.count)) as u64
        }
    }
}

fn greatest_divisor(mut a: u64, mut b: u64) -> u64 {
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn zipf_matches_theory_at_its_head() {
        for (count, theta) in [(1_000u64, 0.99), (1_000, 0.5), (1_000, 1.0), (100, 1.4), (100_000, 0.99), (2, 0.99)] {
            let zipf = Zipf::new(count, theta);
            let sum: f64 = (1..=count).map(|rank| (rank as f64).powf(-theta)).sum();
            let mut random = Random::new(11, 5);
            let draws = 400_000;
            let mut seen = vec![0u32; count as usize];
            for _ in 0..draws {
                seen[zipf.draw(&mut random) as usize] += 1;
            }
            for rank in [1u64, 2, 3, 10, 50] {
                if rank > count {
                    continue;
                }
                let chance = (rank as f64).powf(-theta) / sum;
                let found = f64::from(seen[rank as usize - 1]) / f64::from(draws);
                // Five standard deviations of a binomial: a wrong sampler is far outside, a right one never is.
                let slack = 5.0 * (chance * (1.0 - chance) / f64::from(draws)).sqrt() + 1e-6;
                assert!((found - chance).abs() <= slack, "n={count} θ={theta} rank {rank}: {found} for {chance}");
            }
        }
    }

    #[test]
    fn one_key_is_always_that_key() {
        for shape in ["uniform", "zipf:0.99", "zipf:1", "sequential", "latest"] {
            let mut keys = KeySource::new(KeyShape::parse(shape).unwrap(), 1, 0, 1, Random::new(1, 1));
            for _ in 0..100 {
                assert_eq!(keys.next(1), 0, "{shape}");
            }
        }
    }

    #[test]
    fn sequential_threads_visit_each_key_once_a_round() {
        let mut seen = [0u8; 10];
        for thread in 0..3 {
            let (first, end) = share_of(10, thread, 3);
            let mut keys = KeySource::new(KeyShape::Sequential, 10, thread, 3, Random::new(0, 0));
            for _ in first..end {
                seen[keys.next(0) as usize] += 1;
            }
            assert_eq!(keys.next(0), first, "and then starts again");
        }
        assert_eq!(seen, [1; 10]);
    }

    #[test]
    fn latest_prefers_the_newest_and_never_passes_it() {
        let mut keys = KeySource::new(KeyShape::Latest { theta: 0.99 }, 1_000, 0, 1, Random::new(2, 2));
        let newest = 5_000;
        let mut hits = 0;
        for _ in 0..10_000 {
            let key = keys.next(newest);
            assert!(key < newest);
            hits += u32::from(key >= newest - 10);
        }
        assert!(hits > 2_000, "{hits} of 10000 in the newest ten");
    }

    #[test]
    fn shapes_are_read_or_refused() {
        assert_eq!(KeyShape::parse("zipf"), Ok(KeyShape::Zipf { theta: 0.99 }));
        assert_eq!(KeyShape::parse("zipf:1.4"), Ok(KeyShape::Zipf { theta: 1.4 }));
        for wrong in ["zipf:0", "zipf:x", "zipf:-1", "uniform:3", "gauss"] {
            assert!(KeyShape::parse(wrong).is_err(), "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn scatter_is_one_to_one(count in 1u64..5_000) {
            let scatter = Scatter::new(count);
            let mut seen = vec![false; count as usize];
            for rank in 0..count {
                let place = scatter.place(rank) as usize;
                prop_assert!(!seen[place]);
                seen[place] = true;
            }
        }

        #[test]
        fn every_draw_is_a_key(count in 1u64..1_000_000, theta in 0.01f64..3.0, seed: u64) {
            let mut keys = KeySource::new(KeyShape::Zipf { theta }, count, 0, 1, Random::new(seed, 0));
            for _ in 0..200 {
                prop_assert!(keys.next(count) < count);
            }
        }
    }
}

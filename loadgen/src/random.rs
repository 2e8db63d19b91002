//! Chance from a seed: the same seed gives the same requests in the same order, on any machine.
//!
//! Never used for anything secret.

/// xoshiro256++: 1 ns a number, 2^256 long, good enough for every statistic taken here.
#[derive(Clone, Debug)]
pub(crate) struct Random {
    state: [u64; 4],
}

impl Random {
    /// A generator of its own for each (`seed`, `stream`): threads never share numbers.
    pub(crate) fn new(seed: u64, stream: u64) -> Random {
        let mut word = mix64(seed) ^ mix64(stream.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x5851_f42d_4c95_7f2d);
        let mut state = [0; 4];
        for slot in &mut state {
            word = word.wrapping_add(0x9e37_79b9_7f4a_7c15);
            *slot = mix64(word);
        }
        Random { state }
    }

    /// 64 even bits.
    #[inline]
    pub(crate) fn next(&mut self) -> u64 {
        let s = &mut self.state;
        let result = s[0].wrapping_add(s[3]).rotate_left(23).wrapping_add(s[0]);
        let t = s[1] << 17;
        s[2] ^= s[0];
        s[3] ^= s[1];
        s[1] ^= s[2];
        s[0] ^= s[3];
        s[2] ^= t;
        s[3] = s[3].rotate_left(45);
        result
    }

    /// Evenly from `0..bound`. The bias is below `bound / 2^64`.
    #[inline]
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        ((u128::from(self.next()) * u128::from(bound)) >> 64) as u64
    }

    /// Evenly from `[0, 1)`.
    #[inline]
    pub(crate) fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 * (1.0 / (1u64 << 53) as f64)
    }

    /// Exponential with mean 1: the gap between two arrivals that know nothing of each other.
    #[inline]
    pub(crate) fn exponential(&mut self) -> f64 {
        -(1.0 - self.unit()).ln()
    }
}

/// Spreads a number over all 64 bits, one to one.
#[inline]
pub(crate) fn mix64(mut x: u64) -> u64 {
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

/// Draws an index with given weights: one number and a short walk over cumulated weights.
#[derive(Clone, Debug)]
pub(crate) struct Weights {
    /// Upper bound of each index's share of `u32`-scaled chance; the last is `SCALE`.
    bounds: Vec<u32>,
}

const SCALE: u32 = 1 << 30;

impl Weights {
    /// # Panics
    /// If no weight is above 0. Parsers refuse that before.
    pub(crate) fn new(weights: &[f64]) -> Weights {
        let sum: f64 = weights.iter().sum();
        assert!(sum > 0.0, "some weight is above 0");
        let mut reached = 0.0;
        let mut bounds: Vec<u32> = weights
            .iter()
            .map(|weight| {
                reached += weight;
                (reached / sum * f64::from(SCALE)).round() as u32
            })
            .collect();
        // Rounding must not leave a gap at the top that no index owns: the last one with a weight owns the rest.
        let last = weights.iter().rposition(|&weight| weight > 0.0).expect("checked above");
        for bound in &mut bounds[last..] {
            *bound = SCALE;
        }
        Weights { bounds }
    }

    /// The index drawn.
    #[inline]
    pub(crate) fn draw(&self, random: &mut Random) -> usize {
        if self.bounds.len() == 1 {
            return 0;
        }
        let point = (random.next() >> 34) as u32;
        self.bounds.iter().position(|&bound| point < bound).expect("the last bound is above every point")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_gives_the_same_numbers_and_streams_differ() {
        let draw = |seed, stream| {
            let mut random = Random::new(seed, stream);
            [random.next(), random.next(), random.next()]
        };
        assert_eq!(draw(7, 1), draw(7, 1));
        assert_ne!(draw(7, 1), draw(7, 2));
        assert_ne!(draw(7, 1), draw(8, 1));
    }

    #[test]
    fn exponential_has_mean_and_deviation_one() {
        let mut random = Random::new(1, 1);
        let n = 200_000;
        let (mut sum, mut squares) = (0.0, 0.0);
        for _ in 0..n {
            let x = random.exponential();
            sum += x;
            squares += x * x;
        }
        let mean = sum / f64::from(n);
        let variance = squares / f64::from(n) - mean * mean;
        assert!((mean - 1.0).abs() < 0.02, "{mean}");
        assert!((variance - 1.0).abs() < 0.05, "{variance}");
    }

    #[test]
    fn weights_draw_their_shares_and_never_a_zero() {
        let weights = Weights::new(&[70.0, 0.0, 30.0, 0.0]);
        let mut random = Random::new(3, 3);
        let mut counts = [0u32; 4];
        for _ in 0..100_000 {
            counts[weights.draw(&mut random)] += 1;
        }
        assert_eq!((counts[1], counts[3]), (0, 0));
        assert!((f64::from(counts[0]) / 100_000.0 - 0.7).abs() < 0.01, "{counts:?}");
    }
}

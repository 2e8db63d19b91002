//! What happened: counts and latency histograms, one set per thread, merged afterwards, never averaged.

use hdrhistogram::Histogram;

use crate::workload::{KIND_COUNT, Kind};

/// Shortest latency told apart, in nanoseconds.
const LATENCY_NS_MIN: u64 = 8;
/// Longest latency told apart; longer ones are counted here (`saturating_record`).
const LATENCY_NS_MAX: u64 = 3_600_000_000_000;
/// Significant digits kept: an error below 0.1 %.
const DIGITS: u8 = 3;
/// Texts of errors kept per thread.
pub(crate) const SAMPLES_MAX: usize = 5;

/// An empty histogram of nanoseconds.
pub(crate) fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(LATENCY_NS_MIN, LATENCY_NS_MAX, DIGITS).expect("constant bounds are sound")
}

/// One kind of operation.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    /// Completion minus actual send, of completed operations.
    pub(crate) service: Histogram<u64>,
    /// Completion minus intended start, of completed operations, and of those that never completed up to where the wait
    /// was broken off.
    pub(crate) response: Histogram<u64>,
    /// Completed without error.
    pub(crate) ops: u64,
    /// Refused, or lost with their connection.
    pub(crate) errors: u64,
    /// Intended to start, but not completed when the run gave up waiting.
    pub(crate) unfinished: u64,
}

impl Row {
    pub(crate) fn new() -> Row {
        Row { service: histogram(), response: histogram(), ops: 0, errors: 0, unfinished: 0 }
    }

    pub(crate) fn add(&mut self, other: &Row) {
        self.service.add(&other.service).expect("same bounds");
        self.response.add(&other.response).expect("same bounds");
        self.ops += other.ops;
        self.errors += other.errors;
        self.unfinished += other.unfinished;
    }
}

/// The latencies of one second, for the interval log.
#[derive(Clone, Debug)]
pub(crate) struct Interval {
    pub(crate) service: Histogram<u64>,
    pub(crate) response: Histogram<u64>,
}

impl Interval {
    pub(crate) fn new() -> Interval {
        Interval { service: histogram(), response: histogram() }
    }

    pub(crate) fn add(&mut self, other: &Interval) {
        self.service.add(&other.service).expect("same bounds");
        self.response.add(&other.response).expect("same bounds");
    }
}

/// Everything one thread counted, or all of them together.
#[derive(Clone, Debug)]
pub(crate) struct Tally {
    rows: Vec<Option<Box<Row>>>,
    /// Reads that found something, and that did not.
    pub(crate) hits: u64,
    pub(crate) misses: u64,
    /// Payloads compared with what was written, and how many were something else.
    pub(crate) verified: u64,
    pub(crate) mismatched: u64,
    /// Requests sent again because a cluster node said so.
    pub(crate) redirected: u64,
    /// Connections that broke.
    pub(crate) broken: u64,
    /// The first few errors, as the target worded them.
    pub(crate) samples: Vec<String>,
    /// Completion of the last recorded operation.
    pub(crate) last_ns: u64,
}

impl Tally {
    pub(crate) fn new(kinds: &[Kind]) -> Tally {
        let mut rows = vec![None; KIND_COUNT];
        for &kind in kinds {
            rows[kind as usize] = Some(Box::new(Row::new()));
        }
        Tally { rows, hits: 0, misses: 0, verified: 0, mismatched: 0, redirected: 0, broken: 0, samples: Vec::new(), last_ns: 0 }
    }

    /// The row of a kind that is in the mix.
    #[inline]
    pub(crate) fn row(&mut self, kind: Kind) -> &mut Row {
        self.rows[kind as usize].get_or_insert_with(|| Box::new(Row::new()))
    }

    /// Rows of all kinds that were in the mix, in order.
    pub(crate) fn rows(&self) -> impl Iterator<Item = (Kind, &Row)> {
        Kind::ALL.iter().filter_map(|&kind| self.rows[kind as usize].as_deref().map(|row| (kind, row)))
    }

    /// All kinds together.
    pub(crate) fn total(&self) -> Row {
        let mut total = Row::new();
        for (_, row) in self.rows() {
            total.add(row);
        }
        total
    }

    /// Keeps the text of an error if it is one of the first few, and new.
    pub(crate) fn sample(&mut self, text: &str) {
        // Errors that differ in their numbers only (a slot, a port, a key) are one error.
        let letters = |text: &str| text.chars().filter(|c| !c.is_ascii_digit()).collect::<String>();
        if self.samples.len() < SAMPLES_MAX && !self.samples.iter().any(|known| letters(known) == letters(text)) {
            self.samples.push(text.to_string());
        }
    }

    pub(crate) fn add(&mut self, other: &Tally) {
        for (kind, row) in other.rows() {
            self.row(kind).add(row);
        }
        self.hits += other.hits;
        self.misses += other.misses;
        self.verified += other.verified;
        self.mismatched += other.mismatched;
        self.redirected += other.redirected;
        self.broken += other.broken;
        for sample in &other.samples {
            self.sample(sample);
        }
        self.last_ns = self.last_ns.max(other.last_ns);
    }
}

/// The value below which `quantile` of all are, in microseconds; 0 for an empty histogram.
pub(crate) fn quantile_us(histogram: &Histogram<u64>, quantile: f64) -> f64 {
    if histogram.is_empty() { 0.0 } else { histogram.value_at_quantile(quantile) as f64 / 1e3 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threads_merge_without_averaging() {
        let mut one = Tally::new(&[Kind::Get]);
        let mut two = Tally::new(&[Kind::Get, Kind::Set]);
        one.row(Kind::Get).response.saturating_record_n(1_000, 990);
        two.row(Kind::Get).response.saturating_record_n(1_000_000, 10);
        two.row(Kind::Set).ops = 3;
        two.sample("ERR x");
        one.sample("ERR x");
        one.add(&two);
        let total = one.total();
        assert_eq!(total.response.len(), 1_000);
        assert!((quantile_us(&total.response, 0.99) - 1.0).abs() < 0.01);
        assert!((quantile_us(&total.response, 0.999) - 1_000.0).abs() < 1.0);
        assert_eq!(total.ops, 3);
        assert_eq!(one.samples, ["ERR x"]);
        assert_eq!(one.rows().count(), 2);
    }

    #[test]
    fn too_long_is_counted_not_lost() {
        let mut histogram = histogram();
        histogram.saturating_record(u64::MAX);
        assert_eq!(histogram.len(), 1);
    }
}

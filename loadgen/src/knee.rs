//! The search for the knee: the highest rate at which the rules still hold.
//!
//! Rates rise by a constant factor until one fails, then the gap is halved (in the logarithm) until it is narrow. A rate that
//! fails is tried once more, so that one hiccup of the machine does not decide.

use crate::report::Step;

/// Stop when the lowest failing rate is within this factor of the highest that held.
const GAP: f64 = 1.05;
/// Never more tries than this.
const STEPS_MAX: usize = 40;
/// The climb takes about this many rates.
const CLIMB: f64 = 6.0;

/// What the search found.
pub(crate) struct Found<T> {
    /// Highest rate that held, and what its pass brought.
    pub(crate) best: Option<(f64, T)>,
    /// What the lowest rate's pass brought, for a report when nothing held.
    pub(crate) lowest: Option<T>,
    /// No rate of the ramp failed.
    pub(crate) beyond: bool,
    pub(crate) steps: Vec<Step>,
}

/// Searches `from..=to` with `try_rate`, which runs one pass and judges it.
pub(crate) fn find<T>(from: f64, to: f64, mut try_rate: impl FnMut(f64) -> Result<(Step, T), String>) -> Result<Found<T>, String> {
    let (from, to) = (from.min(to), from.max(to));
    let factor = (to / from).powf(1.0 / CLIMB).clamp(1.1, 2.0);
    let mut found = Found { best: None, lowest: None, beyond: false, steps: Vec::new() };
    let mut failed: Option<f64> = None;
    let mut rate = from;
    while found.steps.len() < STEPS_MAX {
        let mut outcome = try_rate(rate)?;
        if !outcome.0.met {
            found.steps.push(outcome.0);
            outcome = try_rate(rate)?;
        }
        let (step, result) = outcome;
        let met = step.met;
        found.steps.push(step);
        if met {
            found.best = Some((rate, result));
        } else {
            failed = Some(rate);
            if found.best.is_none() {
                found.lowest = Some(result);
            }
        }
        rate = match (&found.best, failed) {
            (None, _) => break,
            (Some((best, _)), None) if *best >= to => {
                found.beyond = true;
                break;
            }
            (Some((best, _)), None) => (best * factor).min(to),
            (Some((best, _)), Some(failed)) if failed / best <= GAP => break,
            (Some((best, _)), Some(failed)) => (best * failed).sqrt(),
        };
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(rate: f64, met: bool) -> Step {
        Step { rate_ops_s: rate, throughput_ops_s: rate, response_p50_us: 1.0, response_p99_us: 1.0, met, breaches: vec![] }
    }

    fn search(from: f64, to: f64, capacity: f64) -> Found<f64> {
        find(from, to, |rate| Ok((step(rate, rate <= capacity), rate))).unwrap()
    }

    #[test]
    fn the_knee_is_found_within_the_gap() {
        for capacity in [1_500.0, 12_345.0, 77_777.0, 999_000.0] {
            let found = search(1_000.0, 1_000_000.0, capacity);
            let (best, result) = found.best.unwrap();
            assert_eq!(best, result);
            assert!(best <= capacity && best * GAP >= capacity * 0.999, "{best} for {capacity}");
            assert!(!found.beyond);
            assert!(found.steps.len() <= 25, "{}", found.steps.len());
        }
    }

    #[test]
    fn the_ends_are_told() {
        let found = search(1_000.0, 10_000.0, 1e9);
        assert!(found.beyond);
        assert_eq!(found.best.unwrap().0, 10_000.0);
        let found = search(1_000.0, 10_000.0, 10.0);
        assert!(found.best.is_none() && found.lowest.is_some());
        assert_eq!(found.steps.len(), 2, "the lowest rate, twice");
    }

    #[test]
    fn one_hiccup_does_not_decide() {
        let mut tries = 0;
        let found = find(1_000.0, 10_000.0, |rate| {
            tries += 1;
            Ok((step(rate, tries != 3), ()))
        })
        .unwrap();
        assert!(found.beyond);
    }
}

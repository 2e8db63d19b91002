//! Slow moments, for `LATENCY`: by kind of event, the worst of each second that was over the threshold.
//!
//! Bounded: few kinds of event, and [`SAMPLES_MAX`] seconds of each.

use std::collections::VecDeque;

/// Seconds kept of one kind of event, as in Redis.
pub const SAMPLES_MAX: usize = 160;

/// What was slow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Moment {
    /// A command that may take time.
    Command,
    /// A command of constant or logarithmic cost.
    FastCommand,
    /// Removing what was due.
    ExpireCycle,
    /// Making room for a write.
    EvictionCycle,
}

impl Moment {
    /// As `LATENCY` names it.
    pub fn name(self) -> &'static str {
        match self {
            Moment::Command => "command",
            Moment::FastCommand => "fast-command",
            Moment::ExpireCycle => "expire-cycle",
            Moment::EvictionCycle => "eviction-cycle",
        }
    }
}

/// One second in which something was slow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sample {
    /// Seconds since 1970.
    pub at_s: u64,
    /// The worst of that second.
    pub ms: u64,
}

/// What is known of one kind of event.
#[derive(Clone, Debug)]
pub struct Event {
    /// What was slow.
    pub moment: Moment,
    /// The newest last.
    pub samples: VecDeque<Sample>,
    /// The worst ever.
    pub ms_max: u64,
}

impl Event {
    /// Puts another core's samples between its own; of one second the worst counts.
    pub fn merge(&mut self, other: &Event) {
        self.ms_max = self.ms_max.max(other.ms_max);
        let mut all: Vec<Sample> = self.samples.iter().chain(&other.samples).copied().collect();
        all.sort_by_key(|sample| (sample.at_s, std::cmp::Reverse(sample.ms)));
        all.dedup_by_key(|sample| sample.at_s);
        self.samples = all.split_off(all.len().saturating_sub(SAMPLES_MAX)).into();
    }
}

/// The slow moments of one core.
#[derive(Debug)]
pub struct LatencyMonitor {
    threshold_ns: u64,
    events: Vec<Event>,
}

impl Default for LatencyMonitor {
    fn default() -> LatencyMonitor {
        LatencyMonitor { threshold_ns: u64::MAX, events: Vec::new() }
    }
}

impl LatencyMonitor {
    /// Takes a new threshold; 0 keeps nothing more.
    pub fn configure(&mut self, threshold_ms: u64) {
        self.threshold_ns = if threshold_ms == 0 { u64::MAX } else { threshold_ms.saturating_mul(1_000_000) };
    }

    /// Whether anything is kept at all.
    pub fn is_on(&self) -> bool {
        self.threshold_ns != u64::MAX
    }

    /// From how many nanoseconds on something is kept.
    pub fn threshold_ns(&self) -> u64 {
        self.threshold_ns
    }

    /// Keeps a moment if it was slow.
    #[cold]
    pub fn note(&mut self, moment: Moment, ns: u64, at_ms: u64) {
        if ns < self.threshold_ns {
            return;
        }
        let sample = Sample { at_s: at_ms / 1000, ms: ns / 1_000_000 };
        let index = self.events.iter().position(|event| event.moment == moment).unwrap_or_else(|| {
            self.events.push(Event { moment, samples: VecDeque::new(), ms_max: 0 });
            self.events.len() - 1
        });
        let event = &mut self.events[index];
        event.ms_max = event.ms_max.max(sample.ms);
        match event.samples.back_mut() {
            Some(last) if last.at_s == sample.at_s => last.ms = last.ms.max(sample.ms),
            _ => {
                if event.samples.len() == SAMPLES_MAX {
                    event.samples.pop_front();
                }
                event.samples.push_back(sample);
            }
        }
    }

    /// Everything kept.
    pub fn events(&self) -> &[Event] {
        &self.events
    }

    /// Forgets the events of these names, all if none is given. How many were forgotten.
    pub fn reset(&mut self, names: &[String]) -> usize {
        let before = self.events.len();
        self.events.retain(|event| !names.is_empty() && !names.iter().any(|name| name == event.moment.name()));
        before - self.events.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_of_a_second_is_kept_and_seconds_are_bounded() {
        let mut monitor = LatencyMonitor::default();
        monitor.note(Moment::Command, u64::MAX - 1, 0);
        assert!(monitor.events().is_empty(), "off until configured");
        monitor.configure(10);
        monitor.note(Moment::Command, 9_999_999, 0);
        assert!(monitor.events().is_empty());
        for (ms, at_ms) in [(10, 1_000), (30, 1_500), (20, 1_999), (12, 2_000)] {
            monitor.note(Moment::Command, ms * 1_000_000, at_ms);
        }
        let samples: Vec<Sample> = monitor.events()[0].samples.iter().copied().collect();
        assert_eq!(samples, [Sample { at_s: 1, ms: 30 }, Sample { at_s: 2, ms: 12 }]);
        for second in 0..1000 {
            monitor.note(Moment::ExpireCycle, 10_000_000, second * 1000);
        }
        assert_eq!(monitor.events()[1].samples.len(), SAMPLES_MAX);
        assert_eq!(monitor.reset(&["expire-cycle".into(), "none".into()]), 1);
        assert_eq!(monitor.reset(&[]), 1);
    }

    #[test]
    fn cores_are_merged_second_by_second() {
        let event = |samples: &[(u64, u64)]| Event {
            moment: Moment::Command,
            samples: samples.iter().map(|(at_s, ms)| Sample { at_s: *at_s, ms: *ms }).collect(),
            ms_max: samples.iter().map(|(_, ms)| *ms).max().unwrap_or(0),
        };
        let mut merged = event(&[(1, 10), (3, 30)]);
        merged.merge(&event(&[(1, 50), (2, 20)]));
        assert_eq!(Vec::from(merged.samples), Vec::from(event(&[(1, 50), (2, 20), (3, 30)]).samples));
        assert_eq!(merged.ms_max, 50);
    }
}

//! What has to hold: `p99<1ms,p99.9<5ms,max<50ms,errors<0.1%,rate>100k`. Latencies are response times.

use hdrhistogram::Histogram;

use crate::quantity;
use crate::tally::quantile_us;

/// Rules that all have to hold.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Slo {
    rules: Vec<Rule>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Rule {
    /// Below this many microseconds at this quantile; 1 is the maximum.
    Latency { quantile: f64, below_us: f64 },
    /// Below this share of errors, lost and unfinished operations included.
    Errors { below: f64 },
    /// At least this many operations per second.
    Rate { above: f64 },
}

/// What is judged.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Outcome<'a> {
    pub(crate) response: &'a Histogram<u64>,
    pub(crate) ops: u64,
    pub(crate) failed: u64,
    pub(crate) throughput_ops_s: f64,
}

impl Slo {
    /// Reads the rules.
    pub(crate) fn parse(text: &str) -> Result<Slo, String> {
        let rules: Result<Vec<Rule>, String> = text.split(',').map(|rule| Rule::parse(rule.trim())).collect();
        Ok(Slo { rules: rules? })
    }

    /// Every rule that does not hold, in words. Empty if all do. A run in which nothing completed holds nothing.
    pub(crate) fn breaches(&self, outcome: Outcome<'_>) -> Vec<String> {
        if outcome.ops == 0 {
            return vec!["no operation completed".to_string()];
        }
        self.rules.iter().filter_map(|rule| rule.breach(outcome)).collect()
    }

    /// The first latency asked for, in microseconds: where a plot draws its line.
    pub(crate) fn latency_us(&self) -> Option<f64> {
        self.rules.iter().find_map(|rule| match rule {
            Rule::Latency { below_us, .. } => Some(*below_us),
            _ => None,
        })
    }
}

impl std::fmt::Display for Slo {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (index, rule) in self.rules.iter().enumerate() {
            let comma = if index == 0 { "" } else { "," };
            write!(f, "{comma}{rule}")?;
        }
        Ok(())
    }
}

impl Rule {
    fn parse(text: &str) -> Result<Rule, String> {
        const KNOWN: &str = "write p99<1ms, max<10ms, errors<0.1% or rate>100k";
        let wrong = |why: &str| format!("'{text}' is no rule: {why}; {KNOWN}");
        let Some(at) = text.find(['<', '>']) else { return Err(wrong("it compares nothing")) };
        let (name, sign, limit) = (text[..at].trim(), &text[at..=at], text[at + 1..].trim_start_matches('=').trim());
        let rule = match name {
            "errors" => Rule::Errors { below: quantity::share(limit)? },
            "rate" | "throughput" => Rule::Rate { above: quantity::rate(limit)? },
            _ => {
                let quantile = match name {
                    "max" => 1.0,
                    _ => {
                        let digits = name.strip_prefix('p').ok_or_else(|| wrong("it names nothing known"))?;
                        let percent = quantity::number(&digits.replace('_', ".")).map_err(|_| wrong("the percentile is none"))?;
                        if !(percent > 0.0 && percent <= 100.0) {
                            return Err(wrong("a percentile lies above 0 and up to 100"));
                        }
                        percent / 100.0
                    }
                };
                if limit.ends_with(|last: char| last.is_ascii_digit()) {
                    return Err(wrong("the limit needs a unit"));
                }
                let below_us = quantity::duration(limit)?.as_nanos() as f64 / 1e3;
                if below_us == 0.0 {
                    return Err(wrong("no latency is below 0"));
                }
                Rule::Latency { quantile, below_us }
            }
        };
        let wanted = if matches!(rule, Rule::Rate { .. }) { ">" } else { "<" };
        if sign != wanted {
            return Err(wrong(&format!("'{name}' is compared with {wanted}")));
        }
        Ok(rule)
    }

    fn breach(&self, outcome: Outcome<'_>) -> Option<String> {
        match *self {
            Rule::Latency { quantile, below_us } => {
                let found = quantile_us(outcome.response, quantile);
                (found >= below_us).then(|| format!("{self} does not hold: it is {}", quantity::micros_text(found)))
            }
            Rule::Errors { below } => {
                let share = outcome.failed as f64 / (outcome.ops + outcome.failed) as f64;
                (share > 0.0 && share >= below).then(|| format!("{self} does not hold: it is {:.4}%", share * 100.0))
            }
            Rule::Rate { above } => (outcome.throughput_ops_s < above)
                .then(|| format!("{self} does not hold: it is {}/s", quantity::count_text(outcome.throughput_ops_s))),
        }
    }
}

impl std::fmt::Display for Rule {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Rule::Latency { quantile: 1.0, below_us } => write!(f, "max<{}", quantity::micros_text(*below_us)),
            Rule::Latency { quantile, below_us } => {
                write!(f, "p{}<{}", (quantile * 1e6).round() / 1e4, quantity::micros_text(*below_us))
            }
            Rule::Errors { below } => write!(f, "errors<{}%", below * 100.0),
            Rule::Rate { above } => write!(f, "rate>{}", quantity::count_text(*above)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tally::histogram;

    #[test]
    fn rules_are_read() {
        let slo = Slo::parse("p99<1ms, p99.9<5ms,max<=50ms,errors<0.1%,rate>100k").unwrap();
        assert_eq!(slo.rules.len(), 5);
        assert_eq!(slo.rules[0], Rule::Latency { quantile: 0.99, below_us: 1_000.0 });
        assert_eq!(slo.rules[4], Rule::Rate { above: 100_000.0 });
        assert_eq!(slo.to_string(), "p99<1.00ms,p99.9<5.00ms,max<50.0ms,errors<0.1%,rate>100.0k");
        assert_eq!(Slo::parse("p99_9<1ms"), Slo::parse("p99.9<1ms"));
    }

    #[test]
    fn wrong_rules_are_refused() {
        for (text, reason) in [
            ("p99", "compares nothing"),
            ("p99>1ms", "compared with <"),
            ("rate<5", "compared with >"),
            ("p101<1ms", "up to 100"),
            ("q99<1ms", "nothing known"),
            ("p99<1", "unit"),
            ("p99<0ms", "below 0"),
            ("p99<fast", "start with a number"),
            ("errors<200%", "share"),
        ] {
            let error = Slo::parse(text).unwrap_err();
            assert!(error.contains(reason), "{text}: {error}");
        }
    }

    #[test]
    fn breaches_are_named() {
        let mut response = histogram();
        response.record_n(500_000, 990).unwrap();
        response.record_n(20_000_000, 10).unwrap();
        let outcome = Outcome { response: &response, ops: 1_000, failed: 10, throughput_ops_s: 5_000.0 };
        let breaches = |text: &str| Slo::parse(text).unwrap().breaches(outcome);
        assert!(breaches("p50<1ms,p99<1ms,max<1s,errors<2%,rate>4k").is_empty());
        assert_eq!(breaches("p99.5<1ms").len(), 1);
        assert_eq!(breaches("p50<1ms,max<10ms,errors<0.5%,rate>6k").len(), 3);
        let nothing = Outcome { ops: 0, ..outcome };
        assert_eq!(Slo::parse("p50<1h").unwrap().breaches(nothing).len(), 1);
    }
}

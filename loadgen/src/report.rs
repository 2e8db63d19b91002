//! A result in the form that is kept: what `--json` writes and `compare` reads.
//!
//! The shape is a promise to scripts. Fields are added, never renamed; `format` counts the promises.

use std::collections::BTreeMap;

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

use crate::environment::{Machine, Target, now_utc};
use crate::pass::Outcome;
use crate::plan::{Pace, PassPlan, Plan};
use crate::slo::{self, Slo};
use crate::tally::{Row, quantile_us};

/// Version of the shape.
pub(crate) const FORMAT: u32 = 1;

/// One result.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Report {
    pub(crate) tool: String,
    pub(crate) version: String,
    pub(crate) format: u32,
    pub(crate) started: String,
    pub(crate) settings: Settings,
    pub(crate) total: Line,
    pub(crate) operations: BTreeMap<String, Line>,
    pub(crate) reads: Reads,
    pub(crate) errors: Errors,
    #[serde(default)]
    pub(crate) slo: Option<Verdict>,
    #[serde(default)]
    pub(crate) knee: Option<Knee>,
    pub(crate) generator: Generator,
    pub(crate) environment: Environment,
    /// What a reader has to know before quoting a number.
    pub(crate) notes: Vec<String>,
}

/// One kind of operation, or all of them.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Line {
    pub(crate) ops: u64,
    pub(crate) throughput_ops_s: f64,
    pub(crate) errors: u64,
    pub(crate) unfinished: u64,
    /// From the intended start to the reply: what a user waits.
    pub(crate) response: Times,
    /// From the send to the reply: what the server and the path took once asked.
    pub(crate) service: Times,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Times {
    pub(crate) latency_us: Latency,
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Latency {
    pub(crate) p50: f64,
    pub(crate) p90: f64,
    pub(crate) p99: f64,
    pub(crate) p99_9: f64,
    pub(crate) p99_99: f64,
    pub(crate) max: f64,
}

/// What was asked for. Two results can be compared if these agree.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Settings {
    /// `open` or `closed`.
    pub(crate) loop_kind: String,
    /// Offered operations per second; none for a closed loop.
    pub(crate) rate_ops_s: Option<f64>,
    /// Offered at the end, when the rate rose.
    pub(crate) rate_end_ops_s: Option<f64>,
    pub(crate) arrivals: Option<String>,
    pub(crate) duration_s: Option<f64>,
    pub(crate) requests: Option<u64>,
    pub(crate) warmup_s: f64,
    pub(crate) connections: usize,
    pub(crate) pipeline: u32,
    pub(crate) in_flight: u32,
    pub(crate) threads: usize,
    pub(crate) cluster: bool,
    pub(crate) resp3: bool,
    pub(crate) mix: String,
    pub(crate) keys: u64,
    pub(crate) key_bytes: usize,
    pub(crate) key_distribution: String,
    pub(crate) value_size: String,
    pub(crate) ttl: String,
    pub(crate) seed: u64,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Reads {
    pub(crate) hits: u64,
    pub(crate) misses: u64,
    pub(crate) verified: u64,
    pub(crate) mismatched: u64,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Errors {
    pub(crate) count: u64,
    pub(crate) unfinished: u64,
    pub(crate) broken_connections: u64,
    pub(crate) redirected: u64,
    pub(crate) samples: Vec<String>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Verdict {
    pub(crate) rules: String,
    pub(crate) met: bool,
    pub(crate) breaches: Vec<String>,
}

/// The search for the highest rate that still meets the rules.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Knee {
    /// None if even the lowest rate did not.
    pub(crate) rate_ops_s: Option<f64>,
    /// Whether the highest rate asked about still met them: the knee lies beyond.
    pub(crate) beyond: bool,
    pub(crate) rules: String,
    pub(crate) steps: Vec<Step>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Step {
    pub(crate) rate_ops_s: f64,
    pub(crate) throughput_ops_s: f64,
    pub(crate) response_p50_us: f64,
    pub(crate) response_p99_us: f64,
    pub(crate) met: bool,
    pub(crate) breaches: Vec<String>,
}

/// How hard the generator itself worked, and whether it held the target back.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Generator {
    pub(crate) io: String,
    /// CPUs of its threads; empty where the kernel chose.
    pub(crate) cpus: String,
    /// Busiest thread: CPU time without spinning on the clock, per wall time.
    pub(crate) busy_share: f64,
    /// CPU time of all threads per completed operation, without spinning on the clock.
    pub(crate) cpu_us_per_op: f64,
    /// The same, spinning included.
    pub(crate) cpu_and_spin_us_per_op: f64,
    /// Sends later than intended although a connection was free: its own fault.
    pub(crate) late_us_p99: f64,
    pub(crate) late_us_max: f64,
    /// Share of the time in which something was due and every connection was taken: the target's doing.
    pub(crate) blocked_share: f64,
    pub(crate) offered_ops: u64,
    pub(crate) bottleneck: bool,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Environment {
    pub(crate) machine: Machine,
    pub(crate) target: Target,
}

/// A thread busier than this holds the target back.
const BUSY_SHARE_MAX: f64 = 0.9;
/// Blocked for longer than this, the target or the number of connections decided the result.
const BLOCKED_SHARE_MAX: f64 = 0.02;
/// More failures than this deserve a note.
const FAILED_SHARE_MAX: f64 = 0.001;
/// Lateness below this is not worth a word, whatever the latencies are.
const LATE_US_MIN: f64 = 100.0;

impl Report {
    pub(crate) fn new(plan: &Plan, pass: &PassPlan, outcome: &Outcome, machine: Machine, target: Target, slo: Option<&Slo>) -> Report {
        let seconds = outcome.measured.as_secs_f64();
        let row = outcome.tally.total();
        let total = Line::new(&row, seconds);
        let operations = outcome.tally.rows().map(|(kind, row)| (kind.name().to_string(), Line::new(row, seconds))).collect();
        let generator = Generator::new(plan, pass, outcome, &total);
        let breaches = slo.map(|slo| slo.breaches(judged(&row, seconds)));
        let mut report = Report {
            tool: "corewheel bench".to_string(),
            version: env!("CARGO_PKG_VERSION").to_string(),
            format: FORMAT,
            started: now_utc(),
            settings: settings(plan, pass),
            total,
            operations,
            reads: Reads {
                hits: outcome.tally.hits,
                misses: outcome.tally.misses,
                verified: outcome.tally.verified,
                mismatched: outcome.tally.mismatched,
            },
            errors: Errors {
                count: row.errors,
                unfinished: row.unfinished,
                broken_connections: outcome.tally.broken,
                redirected: outcome.tally.redirected,
                samples: outcome.tally.samples.clone(),
            },
            slo: slo.zip(breaches).map(|(slo, breaches)| Verdict { rules: slo.to_string(), met: breaches.is_empty(), breaches }),
            knee: None,
            generator,
            environment: Environment { machine, target },
            notes: Vec::new(),
        };
        report.notes = notes(pass, outcome, &report);
        report
    }
}

/// What rules look at.
pub(crate) fn judged(row: &Row, seconds: f64) -> slo::Outcome<'_> {
    slo::Outcome {
        response: &row.response,
        ops: row.ops,
        failed: row.errors + row.unfinished,
        throughput_ops_s: per_second(row.ops, seconds),
    }
}

impl Line {
    fn new(row: &Row, seconds: f64) -> Line {
        Line {
            ops: row.ops,
            throughput_ops_s: per_second(row.ops, seconds),
            errors: row.errors,
            unfinished: row.unfinished,
            response: Times { latency_us: Latency::new(&row.response) },
            service: Times { latency_us: Latency::new(&row.service) },
        }
    }
}

impl Latency {
    pub(crate) fn new(histogram: &Histogram<u64>) -> Latency {
        Latency {
            p50: quantile_us(histogram, 0.5),
            p90: quantile_us(histogram, 0.9),
            p99: quantile_us(histogram, 0.99),
            p99_9: quantile_us(histogram, 0.999),
            p99_99: quantile_us(histogram, 0.9999),
            max: quantile_us(histogram, 1.0),
        }
    }

    /// Names and values in order.
    pub(crate) fn columns(&self) -> [(&'static str, f64); 6] {
        [("p50", self.p50), ("p90", self.p90), ("p99", self.p99), ("p99.9", self.p99_9), ("p99.99", self.p99_99), ("max", self.max)]
    }
}

impl Generator {
    fn new(plan: &Plan, pass: &PassPlan, outcome: &Outcome, total: &Line) -> Generator {
        let cpus: Vec<usize> = plan.cpus.iter().flatten().copied().collect();
        let late_us_p99 = quantile_us(&outcome.late, 0.99);
        let late_matters = late_us_p99 > LATE_US_MIN.max(total.response.latency_us.p99 * 0.1);
        Generator {
            io: outcome.io.to_string(),
            cpus: cpu_list_text(&cpus),
            busy_share: outcome.busy_share,
            cpu_us_per_op: outcome.busy.as_secs_f64() * 1e6 / (total.ops.max(1) as f64),
            cpu_and_spin_us_per_op: outcome.cpu.as_secs_f64() * 1e6 / (total.ops.max(1) as f64),
            late_us_p99,
            late_us_max: quantile_us(&outcome.late, 1.0),
            blocked_share: outcome.blocked_share,
            offered_ops: outcome.offered,
            bottleneck: outcome.busy_share > BUSY_SHARE_MAX || (pass.pace != Pace::Closed && late_matters),
        }
    }
}

fn cpu_list_text(cpus: &[usize]) -> String {
    let mut sorted = cpus.to_vec();
    sorted.sort_unstable();
    sorted.dedup();
    crate::plan::cpu_text(&sorted)
}

fn settings(plan: &Plan, pass: &PassPlan) -> Settings {
    let (rate, rate_end, arrivals) = match pass.pace {
        Pace::Closed => (None, None, None),
        Pace::Open(slope, spacing) => {
            let ops = |batches: f64| (batches * f64::from(pass.pipeline) * 1e3).round() / 1e3;
            let end = (slope.to != slope.from).then(|| ops(slope.to));
            (Some(ops(slope.from)), end, Some(format!("{spacing:?}").to_lowercase()))
        }
    };
    Settings {
        loop_kind: if rate.is_some() { "open" } else { "closed" }.to_string(),
        rate_ops_s: rate,
        rate_end_ops_s: rate_end,
        arrivals,
        duration_s: pass.duration.map(|duration| duration.as_secs_f64()),
        requests: pass.requests,
        warmup_s: pass.warmup.as_secs_f64(),
        connections: plan.connections,
        pipeline: pass.pipeline,
        in_flight: pass.window,
        threads: plan.threads,
        cluster: plan.cluster.is_some(),
        resp3: plan.greeting.resp3,
        mix: plan.workload.mix.to_string(),
        keys: plan.workload.keys,
        key_bytes: plan.encoder.key_name().bytes(),
        key_distribution: plan.workload.shape.to_string(),
        value_size: plan.workload.sizes.to_string(),
        ttl: plan.workload.ttls.to_string(),
        seed: plan.workload.seed,
    }
}

fn notes(pass: &PassPlan, outcome: &Outcome, report: &Report) -> Vec<String> {
    let mut notes = outcome.failures.clone();
    let generator = &report.generator;
    let percent = |share: f64| format!("{:.0}%", share * 100.0);
    if generator.busy_share > BUSY_SHARE_MAX {
        notes.push(format!(
            "the generator was the bottleneck: its busiest thread worked {} of the time; the target can do more. Give it more --threads and --cpus, or a deeper --pipeline",
            percent(generator.busy_share)
        ));
    } else if generator.bottleneck {
        notes.push(format!(
            "the generator was late by its own fault (p99 {}); part of the response times is its doing. Give it CPUs of its own, or lower the rate",
            crate::quantity::micros_text(generator.late_us_p99)
        ));
    }
    if pass.pace != Pace::Closed && !generator.bottleneck && generator.blocked_share > BLOCKED_SHARE_MAX {
        notes.push(format!(
            "{} of the time something was due and all connections were waiting for the target: it stalled, or it is slower than the rate, or there are too few --connections",
            percent(generator.blocked_share)
        ));
    }
    let failed = report.errors.count as f64 / (report.total.ops + report.errors.count).max(1) as f64;
    if failed > FAILED_SHARE_MAX {
        let why = if !report.settings.cluster && report.errors.samples.iter().any(|sample| sample.starts_with("MOVED ")) {
            "; the target is a cluster, so say --cluster"
        } else {
            ""
        };
        notes.push(format!("{:.1}% of the operations failed; they count neither in throughput nor in latency{why}", failed * 100.0));
    }
    if report.errors.unfinished > 0 {
        notes.push(format!(
            "{} operations were still waiting when the run gave up; they count in response times up to that moment, not in throughput",
            report.errors.unfinished
        ));
    }
    let reads = &report.reads;
    if reads.hits == 0 && reads.misses > 0 {
        notes.push("every read missed: the keys are not there. Write them first with --load".to_string());
    } else if reads.misses > reads.hits {
        notes.push(format!("{} of the reads missed", percent(reads.misses as f64 / (reads.hits + reads.misses) as f64)));
    }
    if reads.mismatched > 0 {
        notes.push(format!("{} of {} values compared were not what was written", reads.mismatched, reads.verified));
    }
    if pass.pace == Pace::Closed {
        notes.push("closed loop: a stalled target is asked less, so response times equal service times and hide stalls".to_string());
    }
    notes
}

fn per_second(count: u64, seconds: f64) -> f64 {
    if seconds > 0.0 { (count as f64 / seconds * 1e3).round() / 1e3 } else { 0.0 }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A report as a run would make it, for tests of what reads it.
    pub(crate) fn example(p50_us: u64, ops: u64) -> Report {
        let mut row = Row::new();
        row.ops = ops;
        row.response.record_n(p50_us * 1_000, ops).unwrap();
        row.service.record_n(p50_us * 500, ops).unwrap();
        let total = Line::new(&row, 10.0);
        Report {
            tool: "corewheel bench".into(),
            version: "0.0.0".into(),
            format: FORMAT,
            started: "2026-11-21T13:04:05Z".into(),
            settings: Settings {
                loop_kind: "open".into(),
                rate_ops_s: Some(1_000.0),
                rate_end_ops_s: None,
                arrivals: Some("fixed".into()),
                duration_s: Some(10.0),
                requests: None,
                warmup_s: 1.0,
                connections: 50,
                pipeline: 1,
                in_flight: 1,
                threads: 1,
                cluster: false,
                resp3: false,
                mix: "get=100".into(),
                keys: 100,
                key_bytes: 16,
                key_distribution: "uniform".into(),
                value_size: "64".into(),
                ttl: "none".into(),
                seed: 1,
            },
            operations: BTreeMap::from([("get".to_string(), total.clone())]),
            total,
            reads: Reads { hits: ops, misses: 0, verified: 0, mismatched: 0 },
            errors: Errors { count: 0, unfinished: 0, broken_connections: 0, redirected: 0, samples: vec![] },
            slo: None,
            knee: None,
            generator: Generator {
                io: "io_uring".into(),
                cpus: "1".into(),
                busy_share: 0.3,
                cpu_us_per_op: 1.0,
                cpu_and_spin_us_per_op: 2.0,
                late_us_p99: 1.0,
                late_us_max: 2.0,
                blocked_share: 0.0,
                offered_ops: ops,
                bottleneck: false,
            },
            environment: Environment { machine: Machine::default(), target: Target::default() },
            notes: vec![],
        }
    }

    #[test]
    fn the_shape_is_the_one_promised() {
        let json = serde_json::to_value(example(100, 10_000)).unwrap();
        for line in [&json["total"], &json["operations"]["get"]] {
            assert_eq!(line["ops"], 10_000);
            assert_eq!(line["throughput_ops_s"], 1_000.0);
            for times in ["response", "service"] {
                let latency = line[times]["latency_us"].as_object().unwrap();
                let names: Vec<&str> = latency.keys().map(String::as_str).collect();
                let mut expected = ["p50", "p90", "p99", "p99_9", "p99_99", "max"];
                expected.sort_unstable();
                let mut names = names;
                names.sort_unstable();
                assert_eq!(names, expected);
                assert!(latency.values().all(serde_json::Value::is_f64));
            }
        }
        let p50 = json["total"]["response"]["latency_us"]["p50"].as_f64().unwrap();
        assert!((p50 - 100.0).abs() < 0.2, "{p50}");
        for field in ["settings", "generator", "environment", "errors", "reads", "notes"] {
            assert!(!json[field].is_null(), "{field}");
        }
        let again: Report = serde_json::from_value(json).unwrap();
        assert_eq!(again.total.ops, 10_000);
    }
}

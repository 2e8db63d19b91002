//! The whole life of one `bench`: check, connect, write keys, find a rate, measure, report, judge.

use std::io::Write;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use crate::arrivals::Slope;
use crate::cluster::Layout;
use crate::environment::{Machine, Target, Witness};
use crate::options::{Load, Options, Other};
use crate::pass::{self, Outcome};
use crate::plan::{Pace, PassPlan, Plan};
use crate::progress::Progress;
use crate::quantity::{count_text, micros_text};
use crate::report::{Knee, Report, Step, judged};
use crate::slo::Slo;
use crate::tally::quantile_us;
use crate::target::Endpoint;
use crate::{compare, interval_log, knee, machine, plot, table};

const EXIT_FAILED: u8 = 1;
const EXIT_USAGE: u8 = 2;
const EXIT_SLO: u8 = 3;
const EXIT_PAYLOAD: u8 = 4;

/// Measured for this long where neither a duration nor a number of requests is given.
const DURATION: Duration = Duration::from_secs(10);
/// The closed-loop pass that finds out what 100 % is.
const CALIBRATION: Duration = Duration::from_secs(2);
/// The share of the maximum that is offered where no rate is given.
const RATE_SHARE: f64 = 0.7;
/// Keys are written with at least this pipeline: nothing is measured then.
const FILL_PIPELINE: u32 = 64;
/// A step of the knee search warms up and drains no longer than this.
const STEP_WARMUP: Duration = Duration::from_millis(500);
const STEP_DRAIN: Duration = Duration::from_secs(1);
/// A step kept up with its rate if nothing was left over and it ended no later than this, as a share of its time and more.
const OVERTIME_SHARE: f64 = 0.03;
const OVERTIME: Duration = Duration::from_millis(20);
/// Without rules, the knee is where the p99 has grown by this factor over the first step's.
const KNEE_GROWTH: f64 = 10.0;

/// Does what `options` ask for. Everything that goes wrong is told on standard error; the exit status says how it went.
pub fn run(options: Options) -> ExitCode {
    if let Some(Other::Compare(options)) = &options.other {
        return match compare::run(options) {
            Ok(comparison) => {
                print!("{}", comparison.text);
                if comparison.worse && options.fail_on_worse { ExitCode::from(EXIT_SLO) } else { ExitCode::SUCCESS }
            }
            Err(error) => failed(EXIT_USAGE, &error),
        };
    }
    let plan = match Plan::new(&options.load) {
        Ok(plan) => plan,
        Err(error) => return failed(EXIT_USAGE, &error),
    };
    machine::watch_interrupt();
    match Session::open(plan, &options.load).and_then(Session::run) {
        Ok(status) => ExitCode::from(status),
        Err(error) => failed(EXIT_FAILED, &error),
    }
}

fn failed(status: u8, error: &str) -> ExitCode {
    eprintln!("error: {error}");
    ExitCode::from(status)
}

struct Session<'a> {
    load: &'a Load,
    plan: Arc<Plan>,
    machine: Machine,
    target: Target,
    witness: Witness,
    started: SystemTime,
}

/// A pass that was run, and the target's CPU time during it.
struct Measured {
    pass: PassPlan,
    outcome: Outcome,
    target_cpu: Option<Duration>,
}

impl<'a> Session<'a> {
    fn open(mut plan: Plan, load: &'a Load) -> Result<Session<'a>, String> {
        let machine = Machine::look();
        let mut witness = Witness::open(&plan)?;
        if load.cluster
            && let Endpoint::Tcp(home) = plan.endpoint
        {
            let layout = Layout::ask(witness.control(), home)?;
            for &node in &layout.nodes {
                Endpoint::Tcp(node).check_private(plan.own_target)?;
            }
            witness.join(&plan, &layout.nodes)?;
            plan.cluster = Some(layout);
        }
        let target = witness.target(&plan)?;
        Ok(Session { load, plan: Arc::new(plan), machine, target, witness, started: SystemTime::now() })
    }

    fn run(mut self) -> Result<u8, String> {
        if self.load.load || self.load.load_only {
            self.fill()?;
            if self.load.load_only || machine::interrupted() {
                return Ok(0);
            }
        }
        self.started = SystemTime::now();
        let (measured, found) = match (self.load.ramp, self.load.find_knee) {
            (Some((from, to)), true) => self.find_knee(from, to)?,
            _ => (self.measure_once()?, None),
        };
        let mut report =
            Report::new(&self.plan, &measured.pass, &measured.outcome, self.machine.clone(), self.target.clone(), self.load.slo.as_ref());
        if let (Some(cpu), true) = (measured.target_cpu, report.total.ops > 0) {
            report.environment.target.cpu_us_per_op = Some(cpu.as_secs_f64() * 1e6 / report.total.ops as f64);
        }
        report.knee = found;
        self.write(&report, &measured)?;
        Ok(status(&report, &measured.outcome))
    }

    /// Writes every key once, as fast as the target takes it.
    fn fill(&mut self) -> Result<(), String> {
        let pass = PassPlan {
            label: "load".to_string(),
            pace: Pace::Closed,
            fill: true,
            warmup: Duration::ZERO,
            duration: None,
            requests: None,
            pipeline: self.plan.pipeline.max(FILL_PIPELINE.min(fill_pipeline_max(&self.plan))),
            window: 1,
            stream: 0,
        };
        let measured = self.pass(pass)?;
        let mut tally = measured.outcome.tally;
        let row = tally.row(crate::workload::Kind::Set);
        let seconds = measured.outcome.measured.as_secs_f64();
        let (ops, errors) = (row.ops, row.errors);
        if errors > 0 {
            return Err(format!("{errors} of {} keys could not be written: {}", self.plan.workload.keys, tally.samples.join("; ")));
        }
        if !machine::interrupted() {
            self.say(&format!(
                "loaded {} keys in {seconds:.2} s ({}/s)",
                count_text(ops as f64),
                count_text(ops as f64 / seconds.max(1e-9))
            ));
        }
        Ok(())
    }

    fn measure_once(&mut self) -> Result<Measured, String> {
        let duration = match (self.load.duration, self.load.requests) {
            (None, None) => Some(DURATION),
            (duration, _) => duration,
        };
        let warmup = self.load.warmup;
        let pace = if self.load.closed {
            Pace::Closed
        } else if let Some((from, to)) = self.load.ramp {
            let slope_s = duration.unwrap_or(DURATION).as_secs_f64();
            let (from, to) = (self.plan.batches(from), self.plan.batches(to));
            Pace::Open(Slope { from, to, flat_s: warmup.as_secs_f64(), slope_s }, self.load.arrivals)
        } else {
            let rate = match self.load.rate {
                Some(rate) => rate,
                None => self.calibrate()?,
            };
            Pace::Open(Slope::level(self.plan.batches(rate)), self.load.arrivals)
        };
        self.pass(PassPlan {
            label: "bench".to_string(),
            pace,
            fill: false,
            warmup,
            duration,
            requests: self.load.requests,
            pipeline: self.plan.pipeline,
            window: self.plan.window,
            stream: 1,
        })
    }

    /// What the target reaches in a closed loop, and the share of it that is offered.
    fn calibrate(&mut self) -> Result<f64, String> {
        let pass = PassPlan {
            label: "find maximum".to_string(),
            pace: Pace::Closed,
            fill: false,
            warmup: STEP_WARMUP,
            duration: Some(CALIBRATION),
            requests: None,
            pipeline: self.plan.pipeline,
            window: self.plan.window,
            stream: 2,
        };
        let measured = self.pass(pass)?;
        let row = measured.outcome.tally.total();
        let seconds = measured.outcome.measured.as_secs_f64();
        if row.ops == 0 || seconds == 0.0 {
            return Err(format!("nothing came back: {}", measured.outcome.tally.samples.join("; ")));
        }
        let most = row.ops as f64 / seconds;
        let rate = (most * RATE_SHARE).max(1.0).round();
        self.say(&format!(
            "closed loop reaches {}/s; measuring an open loop at {:.0}% of it, {}/s (choose with --rate)",
            count_text(most),
            RATE_SHARE * 100.0,
            count_text(rate)
        ));
        Ok(rate)
    }

    fn find_knee(&mut self, from: f64, to: f64) -> Result<(Measured, Option<Knee>), String> {
        let mut plan = (*self.plan).clone();
        plan.drain = plan.drain.min(STEP_DRAIN);
        self.plan = Arc::new(plan);
        let slo = self.load.slo.clone();
        let mut stream = 16;
        let mut first_p99_us = None;
        let found = knee::find(from, to, |rate| {
            stream += 1;
            if machine::interrupted() {
                return Err("interrupted".to_string());
            }
            let measured = self.pass(PassPlan {
                label: format!("{:>6}/s", count_text(rate)),
                pace: Pace::Open(Slope::level(self.plan.batches(rate)), self.load.arrivals),
                fill: false,
                warmup: STEP_WARMUP,
                duration: Some(self.load.step),
                requests: None,
                pipeline: self.plan.pipeline,
                window: self.plan.window,
                stream,
            })?;
            let step = judge_step(rate, self.load.step, &measured.outcome, slo.as_ref(), &mut first_p99_us);
            self.say(&format!(
                "{:>8}/s offered  {:>8}/s done  response p50 {:>8}  p99 {:>8}  {}",
                count_text(rate),
                count_text(step.throughput_ops_s),
                micros_text(step.response_p50_us),
                micros_text(step.response_p99_us),
                if step.met { "holds".to_string() } else { step.breaches.join("; ") }
            ));
            Ok((step, measured))
        })?;
        let rules = match &self.load.slo {
            Some(slo) => format!("{slo} and keeps up"),
            None => format!("a p99 below {KNEE_GROWTH}x that of the lowest rate and keeps up"),
        };
        let knee = Knee { rate_ops_s: found.best.as_ref().map(|(rate, _)| *rate), beyond: found.beyond, rules, steps: found.steps };
        let measured = match (found.best, found.lowest) {
            (Some((_, measured)), _) | (None, Some(measured)) => measured,
            (None, None) => return Err("no step was run".to_string()),
        };
        Ok((measured, Some(knee)))
    }

    fn pass(&mut self, pass: PassPlan) -> Result<Measured, String> {
        let mut progress = Progress::new(&pass, self.load.quiet);
        let (plan, witness) = (&self.plan, &mut self.witness);
        let mut before = None;
        let outcome = pass::run(plan, &pass, || before = witness.cpu(), |glance| progress.see(&glance));
        progress.end();
        let outcome = outcome?;
        let after = witness.cpu();
        let target_cpu = before.zip(after).and_then(|(before, after)| after.checked_sub(before));
        Ok(Measured { pass, outcome, target_cpu })
    }

    /// Says something on the way, out of the way of the result.
    fn say(&self, text: &str) {
        if !self.load.quiet {
            eprintln!("{text}");
        }
    }

    fn write(&self, report: &Report, measured: &Measured) -> Result<(), String> {
        let to_stdout = |path: &Option<std::path::PathBuf>| path.as_deref() == Some(Path::new("-"));
        let text = table::text(report);
        if to_stdout(&self.load.json) || to_stdout(&self.load.markdown) {
            // Standard output belongs to what was asked for there.
            eprint!("{text}");
        } else {
            print!("{text}");
        }
        if let Some(path) = &self.load.json {
            let mut json = serde_json::to_string_pretty(report).map_err(|error| error.to_string())?;
            json.push('\n');
            put(path, json.as_bytes())?;
        }
        if let Some(path) = &self.load.markdown {
            put(path, table::markdown(report).as_bytes())?;
        }
        if let Some(path) = &self.load.svg {
            put(path, self.plot(report, &measured.outcome).as_bytes())?;
        }
        if let Some(path) = &self.load.hdr {
            let mut log = Vec::new();
            interval_log::write(&mut log, self.started, &measured.outcome.intervals)?;
            put(path, &log)?;
        }
        Ok(())
    }

    fn plot(&self, report: &Report, outcome: &Outcome) -> String {
        let row = outcome.tally.total();
        let title = format!("{}: latency by percentile", report.environment.target.name());
        let settings = &report.settings;
        let pace = match settings.rate_ops_s {
            Some(rate) => format!("open loop, {}/s offered", count_text(settings.rate_end_ops_s.unwrap_or(rate))),
            None => "closed loop".to_string(),
        };
        let subtitle = format!(
            "{pace}, {}/s done; {}; {} connections, pipeline {}, values {}",
            count_text(report.total.throughput_ops_s),
            settings.mix,
            settings.connections,
            settings.pipeline,
            settings.value_size
        );
        let limit = self.load.slo.as_ref().and_then(Slo::latency_us);
        plot::svg(&title, &subtitle, &row.response, &row.service, limit)
    }
}

/// As many values per batch as stay within a few MiB.
fn fill_pipeline_max(plan: &Plan) -> u32 {
    ((4 << 20) / plan.workload.sizes.largest().max(1)).clamp(1, 1024) as u32
}

fn judge_step(rate: f64, duration: Duration, outcome: &Outcome, slo: Option<&Slo>, first_p99_us: &mut Option<f64>) -> Step {
    let row = outcome.tally.total();
    let seconds = outcome.measured.as_secs_f64();
    let judged = judged(&row, seconds);
    let mut breaches = slo.map(|slo| slo.breaches(judged)).unwrap_or_default();
    let p99_us = quantile_us(&row.response, 0.99);
    if slo.is_none() {
        let first = *first_p99_us.get_or_insert(p99_us);
        if p99_us > first * KNEE_GROWTH {
            breaches.push(format!("p99 is {:.0}x that of the lowest rate", p99_us / first.max(1e-3)));
        }
    }
    if row.unfinished > 0 || outcome.measured > duration.mul_f64(1.0 + OVERTIME_SHARE) + OVERTIME {
        breaches.push(format!("only {}/s done", count_text(judged.throughput_ops_s)));
    }
    Step {
        rate_ops_s: rate,
        throughput_ops_s: judged.throughput_ops_s,
        response_p50_us: quantile_us(&row.response, 0.5),
        response_p99_us: p99_us,
        met: breaches.is_empty(),
        breaches,
    }
}

fn status(report: &Report, outcome: &Outcome) -> u8 {
    if report.total.ops == 0 || report.total.ops < report.errors.count || !outcome.failures.is_empty() {
        EXIT_FAILED
    } else if report.reads.mismatched > 0 {
        EXIT_PAYLOAD
    } else if report.slo.as_ref().is_some_and(|slo| !slo.met) || report.knee.as_ref().is_some_and(|knee| knee.rate_ops_s.is_none()) {
        EXIT_SLO
    } else {
        0
    }
}

fn put(path: &Path, bytes: &[u8]) -> Result<(), String> {
    if path == Path::new("-") {
        return std::io::stdout().write_all(bytes).map_err(|error| format!("cannot write to standard output: {error}"));
    }
    std::fs::write(path, bytes).map_err(|error| format!("cannot write {}: {error}", path.display()))
}

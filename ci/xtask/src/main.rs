//! The gate's own tools. Names nothing of ours, is named by nobody, and is not needed to build.
//!
//! - `cargo xtask tidy` proves the rules of the house: who may name whom, where `unsafe` may stand, what pure code
//!   may not touch. A rule that matters is checked here; the rest stays taste.
//! - `cargo xtask sim --seed N --minutes M` drives the simulator in `ci/sim` beyond what the gate has time for; with `--crash` only
//!   its servers that crash, ten times each.
//! - `cargo xtask check` is everything a merge needs, here and in CI: it runs `.ci/run`.

use std::env;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

mod tidy;

const USAGE: &str = "\
usage: cargo xtask <command>

  tidy                          check the rules of the house over every file git knows
  sim [--crash] [--seed N] [--minutes M]
                                run the simulator from seed N (default 1) for M minutes (default 1); with
                                --crash only servers that crash, ten times each
  check                         everything a merge needs: the same as `bash .ci/run`
";

const EXIT_FAILED: u8 = 1;
const EXIT_USAGE: u8 = 2;

fn main() -> ExitCode {
    let arguments: Vec<OsString> = env::args_os().skip(1).collect();
    let words: Vec<&str> = arguments.iter().filter_map(|word| word.to_str()).collect();
    let done = match words.as_slice() {
        ["tidy"] => tidy(&root()),
        ["sim", flags @ ..] => match SimPlan::from_flags(flags) {
            Ok(plan) => sim(&root(), plan),
            Err(wrong) => return usage(&wrong),
        },
        ["check"] => run(Command::new("bash").arg(".ci/run").current_dir(root())),
        [] | ["help" | "--help" | "-h"] => {
            print!("{USAGE}");
            return ExitCode::SUCCESS;
        }
        other => return usage(&format!("no such command: {}", other.join(" "))),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(cause) => {
            eprintln!("xtask: {cause}");
            ExitCode::from(EXIT_FAILED)
        }
    }
}

/// Reads what git knows (tracked, or new and not ignored) and prints each finding with its place.
fn tidy(root: &Path) -> Result<(), String> {
    let files = tidy::read_files(root)?;
    let findings = tidy::findings(&files);
    for finding in &findings {
        println!("{finding}");
    }
    if findings.is_empty() {
        println!("tidy: {} files, nothing to report", files.len());
        Ok(())
    } else {
        Err(format!("tidy: {} findings in {} files", findings.len(), files.len()))
    }
}

/// From which seed the simulator starts, and for how long it goes on to the next ones.
struct SimPlan {
    seed: u64,
    minutes: u64,
    /// Only servers that crash.
    crash: bool,
}

impl SimPlan {
    fn from_flags(mut flags: &[&str]) -> Result<SimPlan, String> {
        let mut plan = SimPlan { seed: 1, minutes: 1, crash: false };
        loop {
            flags = match flags {
                [] => return Ok(plan),
                ["--crash", rest @ ..] => {
                    plan.crash = true;
                    rest
                }
                [flag, value, rest @ ..] => {
                    let number = value.parse().map_err(|_| format!("{flag} wants a number, not {value}"))?;
                    match *flag {
                        "--seed" => plan.seed = number,
                        "--minutes" => plan.minutes = number,
                        _ => return Err(format!("sim does not know {flag}")),
                    }
                    rest
                }
                [flag] => return Err(format!("{flag} wants a value")),
            };
        }
    }

    /// Seeds that one run of the test program takes: few enough that the end is met, so many that starting it does not count.
    fn seeds_per_run(&self) -> u64 {
        if self.crash { 512 } else { 64 }
    }

    fn arguments(&self) -> &'static [&'static str] {
        const WHOLE: &[&str] = &["test", "--quiet", "--release", "--package", "simulation"];
        const CRASH: &[&str] = &["test", "--quiet", "--release", "--package", "simulation", "--test", "crash", "--", "--nocapture"];
        if self.crash { CRASH } else { WHOLE }
    }
}

/// Runs the simulator's tests on batch after batch of seeds until the time is over. The seed that failed is in the
/// output of the test that failed.
fn sim(root: &Path, plan: SimPlan) -> Result<(), String> {
    let end = Instant::now() + Duration::from_secs(plan.minutes * 60);
    let mut seed = plan.seed;
    loop {
        run(Command::new("cargo")
            .args(plan.arguments())
            .env("COREWHEEL_SIM_SEED", seed.to_string())
            .env("COREWHEEL_SIM_SEEDS", plan.seeds_per_run().to_string())
            .current_dir(root))
        .map_err(|cause| format!("seeds {seed} to {}: {cause}", seed + plan.seeds_per_run() - 1))?;
        seed += plan.seeds_per_run();
        if Instant::now() >= end {
            println!("sim: seeds {} to {} passed", plan.seed, seed - 1);
            return Ok(());
        }
    }
}

fn run(command: &mut Command) -> Result<(), String> {
    let status = command.status().map_err(|cause| format!("{command:?} did not start: {cause}"))?;
    if status.success() { Ok(()) } else { Err(format!("{command:?} ended with {status}")) }
}

fn usage(wrong: &str) -> ExitCode {
    eprintln!("xtask: {wrong}\n\n{USAGE}");
    ExitCode::from(EXIT_USAGE)
}

/// The workspace's folder: two above this crate's.
fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.ancestors().nth(2).unwrap_or(here).to_path_buf()
}

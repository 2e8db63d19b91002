//! The generator as its users run it: the command line in, a result file out, a real socket in between.

/// A small server of both protocols that does as it is told: stores, stalls, refuses, redirects, hangs up.
mod fake;
/// What a stalled target looks like, and what a closed loop makes of it.
mod stall;
/// Targets that refuse, lie, redirect or go away.
mod trouble;
/// Every way of asking, against a server that keeps what it is given.
mod ways;

use clap::{Args, FromArgMatches};

/// How a run ended: its exit status, and its result if it wrote one.
struct Ran {
    status: u8,
    json: serde_json::Value,
}

impl Ran {
    fn number(&self, path: &str) -> f64 {
        self.json.pointer(path).and_then(serde_json::Value::as_f64).unwrap_or_else(|| panic!("{path} in {:#}", self.json))
    }
}

/// Runs `corewheel bench LINE --json FILE`.
fn bench(line: &str) -> Ran {
    static COUNT: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(0);
    let number = COUNT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    let file = std::env::temp_dir().join(format!("corewheel-bench-{}-{number}.json", std::process::id()));
    let words: Vec<String> =
        format!("bench {line} --quiet --cpus none --json {}", file.display()).split_whitespace().map(str::to_string).collect();
    let matches =
        loadgen::Options::augment_args(clap::Command::new("bench")).try_get_matches_from(words).unwrap_or_else(|error| panic!("{error}"));
    let status = status_of(loadgen::run(loadgen::Options::from_arg_matches(&matches).expect("parsed above")));
    let json = std::fs::read_to_string(&file).map_or(serde_json::Value::Null, |text| serde_json::from_str(&text).expect("valid JSON"));
    let _ = std::fs::remove_file(&file);
    Ran { status, json }
}

/// The number in an exit code, which has no other way to be looked at.
fn status_of(code: std::process::ExitCode) -> u8 {
    let codes = (0..=255).map(|status| (status, std::process::ExitCode::from(status)));
    let shown = format!("{code:?}");
    codes.into_iter().find(|(_, code)| format!("{code:?}") == shown).expect("a status").0
}

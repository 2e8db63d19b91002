//! `bench compare`: two results side by side, each number with its ratio and a verdict.
//!
//! Results that were measured differently are refused with the list of differences: a ratio of unlike things says nothing.

use std::path::Path;

use crate::options::Compare;
use crate::quantity::{count_text, micros_text};
use crate::report::{FORMAT, Line, Report, Settings};

/// What came out.
pub(crate) struct Comparison {
    pub(crate) text: String,
    pub(crate) worse: bool,
}

/// A verdict over one number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Better,
    Worse,
    Same,
    /// Too few operations lie beyond this percentile for it to say anything.
    TooFew,
    /// They differ, but in one of the two the generator was the bottleneck.
    Unsure,
}

impl Verdict {
    fn text(self) -> &'static str {
        match self {
            Verdict::Better => "better",
            Verdict::Worse => "worse",
            Verdict::Same => "same",
            Verdict::TooFew => "too few to tell",
            Verdict::Unsure => "unsure (generator)",
        }
    }
}

/// Operations beyond a percentile below which it is chance.
const BEYOND_MIN: f64 = 10.0;
/// Differences in latency below this are below what a generator on the same machine can tell.
const LATENCY_US_MIN: f64 = 2.0;

/// Reads both files and compares them.
pub(crate) fn run(options: &Compare) -> Result<Comparison, String> {
    let before = read(&options.before)?;
    let after = read(&options.after)?;
    if !options.anyway {
        let differences = differences(&before, &after);
        if !differences.is_empty() {
            let mut text = "these two were not measured the same way:\n".to_string();
            for difference in differences {
                text.push_str(&format!("  {difference}\n"));
            }
            text.push_str("say --anyway to compare them nevertheless");
            return Err(text);
        }
    }
    Ok(compare(&before, &after, options.noise))
}

fn read(path: &Path) -> Result<Report, String> {
    let shown = path.display();
    let text = std::fs::read_to_string(path).map_err(|error| format!("cannot read {shown}: {error}"))?;
    let value: serde_json::Value = serde_json::from_str(&text).map_err(|error| format!("{shown} is not JSON: {error}"))?;
    match value.get("format").and_then(serde_json::Value::as_u64) {
        Some(format) if format == u64::from(FORMAT) => {}
        Some(format) => return Err(format!("{shown} has format {format}; this version reads format {FORMAT}")),
        None => return Err(format!("{shown} is not a result of 'corewheel bench --json'")),
    }
    serde_json::from_value(value).map_err(|error| format!("{shown} is not a whole result: {error}"))
}

/// Every setting in which the two differ. Seed and address may: they are what one often varies.
fn differences(before: &Report, after: &Report) -> Vec<String> {
    let fields = |settings: &Settings| -> serde_json::Map<String, serde_json::Value> {
        match serde_json::to_value(settings) {
            Ok(serde_json::Value::Object(fields)) => fields,
            _ => serde_json::Map::new(),
        }
    };
    let (left, right) = (fields(&before.settings), fields(&after.settings));
    let mut differences: Vec<String> = left
        .iter()
        .filter(|(name, _)| name.as_str() != "seed")
        .filter(|(name, value)| right.get(*name) != Some(value))
        .map(|(name, value)| format!("{name}: {value} before, {} after", right.get(name).unwrap_or(&serde_json::Value::Null)))
        .collect();
    let (left, right) = (&before.environment.machine, &after.environment.machine);
    for (name, left, right) in [("cpu", &left.cpu, &right.cpu), ("kernel", &left.kernel, &right.kernel)] {
        if left != right {
            differences.push(format!("{name}: '{left}' before, '{right}' after"));
        }
    }
    if (left.cpus, &left.cpus_allowed) != (right.cpus, &right.cpus_allowed) {
        differences.push(format!("cpus: {} of {} before, {} of {} after", left.cpus_allowed, left.cpus, right.cpus_allowed, right.cpus));
    }
    differences
}

fn compare(before: &Report, after: &Report, noise: f64) -> Comparison {
    let mut rows: Vec<[String; 6]> = vec![["operation", "what", "before", "after", "ratio", "verdict"].map(str::to_string)];
    let mut counts = Counts::default();
    let unsure = before.generator.bottleneck || after.generator.bottleneck;
    let closed = before.settings.loop_kind == "closed";
    let mut lines: Vec<(&str, &Line, &Line)> =
        before.operations.iter().filter_map(|(name, line)| after.operations.get(name).map(|other| (name.as_str(), line, other))).collect();
    if lines.len() != 1 {
        lines.push(("total", &before.total, &after.total));
    }
    for (name, left, right) in lines {
        // In an open loop the schedule decides the throughput: a higher one is no merit, a lower one is a failure.
        let mut verdict = judge(left.throughput_ops_s, right.throughput_ops_s, noise, true);
        if verdict == Verdict::Better && !closed {
            verdict = Verdict::Same;
        }
        verdict = counts.count(verdict, unsure);
        rows.push(row(name, "throughput", left.throughput_ops_s, right.throughput_ops_s, verdict, |v| format!("{}/s", count_text(v))));
        let failed = |line: &Line| (line.errors + line.unfinished) as f64;
        if failed(left) + failed(right) > 0.0 {
            let share = |line: &Line| failed(line) / (line.ops as f64 + failed(line)).max(1.0);
            let verdict = match share(right) - share(left) {
                gap if gap > 1e-4 => Verdict::Worse,
                gap if gap < -1e-4 => Verdict::Better,
                _ => Verdict::Same,
            };
            let verdict = counts.count(verdict, false);
            rows.push(row("", "errors and unfinished", failed(left), failed(right), verdict, count_text));
        }
        for (which, left_times, right_times) in [("response", &left.response, &right.response), ("service", &left.service, &right.service)]
        {
            let columns = left_times.latency_us.columns().into_iter().zip(right_times.latency_us.columns());
            for ((percentile, a), (_, b)) in columns {
                let verdict = match beyond(percentile) {
                    // The maximum is one operation: worth showing, not worth judging.
                    None => Verdict::TooFew,
                    Some(share) if (left.ops.min(right.ops) as f64) * share < BEYOND_MIN => Verdict::TooFew,
                    Some(_) if (a - b).abs() < LATENCY_US_MIN => Verdict::Same,
                    // Tails are noisier than middles.
                    Some(share) => judge(a, b, if share < 0.05 { noise * 2.0 } else { noise }, false),
                };
                let verdict = counts.count(verdict, unsure);
                rows.push(row("", &format!("{which} {percentile}"), a, b, verdict, micros_text));
            }
        }
    }
    let cpu = |report: &Report| report.environment.target.cpu_us_per_op;
    if let (Some(a), Some(b)) = (cpu(before), cpu(after)) {
        let verdict = counts.count(judge(a, b, noise, false), false);
        rows.push(row("target", "CPU per operation", a, b, verdict, |us| format!("{us:.3}us")));
    }
    let mut text = columns(&rows);
    let only = |left: &Report, right: &Report| -> Vec<String> {
        left.operations.keys().filter(|name| !right.operations.contains_key(*name)).cloned().collect()
    };
    for (which, names) in [("before", only(before, after)), ("after", only(after, before))] {
        if !names.is_empty() {
            text.push_str(&format!("only {which}: {}\n", names.join(", ")));
        }
    }
    for (which, report) in [("before", before), ("after", after)] {
        let target = &report.environment.target;
        text.push_str(&format!("{which}: {} at {}, {}\n", target.name(), target.address, report.started));
        if report.generator.bottleneck {
            text.push_str(&format!("note: {which}, the generator was the bottleneck\n"));
        }
    }
    let Counts { better, worse, same, open } = counts;
    text.push_str(&format!("{better} better, {worse} worse, {same} the same, {open} open\n"));
    Comparison { text, worse: worse > 0 }
}

/// How often each verdict was given.
#[derive(Default)]
struct Counts {
    better: u32,
    worse: u32,
    same: u32,
    open: u32,
}

impl Counts {
    /// Counts a verdict and returns it; a difference that cannot be trusted becomes an open question.
    fn count(&mut self, verdict: Verdict, unsure: bool) -> Verdict {
        let verdict = match verdict {
            Verdict::Better | Verdict::Worse if unsure => Verdict::Unsure,
            verdict => verdict,
        };
        *match verdict {
            Verdict::Better => &mut self.better,
            Verdict::Worse => &mut self.worse,
            Verdict::Same => &mut self.same,
            Verdict::TooFew | Verdict::Unsure => &mut self.open,
        } += 1;
        verdict
    }
}

/// The share of operations beyond a percentile.
fn beyond(percentile: &str) -> Option<f64> {
    percentile.strip_prefix('p')?.parse::<f64>().ok().map(|percent| 1.0 - percent / 100.0)
}

fn judge(before: f64, after: f64, noise: f64, more_is_better: bool) -> Verdict {
    if before <= 0.0 && after <= 0.0 {
        return Verdict::Same;
    }
    let ratio = after / before.max(f64::MIN_POSITIVE);
    if ratio <= 1.0 + noise && ratio >= 1.0 / (1.0 + noise) {
        Verdict::Same
    } else if (ratio > 1.0) == more_is_better {
        Verdict::Better
    } else {
        Verdict::Worse
    }
}

fn row(name: &str, what: &str, before: f64, after: f64, verdict: Verdict, text: impl Fn(f64) -> String) -> [String; 6] {
    let ratio = if before > 0.0 { format!("{:.2}x", after / before) } else { "-".to_string() };
    [name.to_string(), what.to_string(), text(before), text(after), ratio, verdict.text().to_string()]
}

fn columns(rows: &[[String; 6]]) -> String {
    let mut widths = [0; 6];
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.len());
        }
    }
    let mut text = String::new();
    for row in rows {
        let line = format!(
            "{:<w0$}  {:<w1$}  {:>w2$}  {:>w3$}  {:>w4$}  {}",
            row[0],
            row[1],
            row[2],
            row[3],
            row[4],
            row[5],
            w0 = widths[0],
            w1 = widths[1],
            w2 = widths[2],
            w3 = widths[3],
            w4 = widths[4]
        );
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::tests::example;

    fn verdict_of(comparison: &Comparison, what: &str) -> String {
        let line = comparison.text.lines().find(|line| line.contains(what)).unwrap_or_else(|| panic!("{what}"));
        line.rsplit("x  ").next().unwrap().trim().to_string()
    }

    #[test]
    fn slower_is_worse_and_faster_is_better() {
        let (slow, fast) = (example(200, 100_000), example(100, 100_000));
        let comparison = compare(&fast, &slow, 0.05);
        assert!(comparison.worse);
        assert_eq!(verdict_of(&comparison, "response p50"), "worse");
        assert_eq!(verdict_of(&comparison, "throughput"), "same");
        let comparison = compare(&slow, &fast, 0.05);
        assert!(!comparison.worse);
        assert_eq!(verdict_of(&comparison, "service p99 "), "better");
        assert!(comparison.text.contains("0.50x"));
    }

    #[test]
    fn noise_and_small_numbers_are_no_verdict() {
        let comparison = compare(&example(100, 5_000), &example(103, 5_000), 0.05);
        assert!(!comparison.worse);
        assert_eq!(verdict_of(&comparison, "response p50"), "same");
        assert_eq!(verdict_of(&comparison, "response p99.99"), "too few to tell");
        assert_eq!(verdict_of(&comparison, "response max"), "too few to tell");
        assert_eq!(judge(0.0, 0.0, 0.05, true), Verdict::Same);
    }

    #[test]
    fn a_generator_at_its_limit_proves_nothing() {
        let (fast, mut slow) = (example(100, 100_000), example(200, 100_000));
        slow.generator.bottleneck = true;
        let comparison = compare(&fast, &slow, 0.05);
        assert!(!comparison.worse);
        assert_eq!(verdict_of(&comparison, "response p50"), "unsure (generator)");
        assert!(comparison.text.contains("after, the generator was the bottleneck"));
    }

    #[test]
    fn unlike_results_are_refused_with_their_differences() {
        let before = example(100, 1_000);
        let mut after = example(100, 1_000);
        assert!(differences(&before, &after).is_empty());
        after.settings.seed = 9;
        assert!(differences(&before, &after).is_empty(), "a seed may differ");
        after.settings.pipeline = 16;
        after.settings.loop_kind = "closed".into();
        after.environment.machine.cpus = 99;
        let found = differences(&before, &after);
        assert_eq!(found.len(), 3, "{found:?}");
        assert!(found.iter().any(|line| line == "pipeline: 1 before, 16 after"), "{found:?}");
    }

    #[test]
    fn files_that_are_no_results_are_refused() {
        let folder = std::env::temp_dir().join(format!("corewheel-compare-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let file = |name: &str, text: &str| {
            let path = folder.join(name);
            std::fs::write(&path, text).unwrap();
            read(&path).map(drop).unwrap_err()
        };
        assert!(file("a.json", "hello").contains("not JSON"));
        assert!(file("b.json", "{}").contains("not a result"));
        assert!(file("c.json", "{\"format\":99}").contains("format 99"));
        assert!(file("d.json", "{\"format\":1}").contains("not a whole result"));
        assert!(read(&folder.join("none.json")).unwrap_err().contains("cannot read"));
        let whole = folder.join("e.json");
        std::fs::write(&whole, serde_json::to_string(&example(1, 10)).unwrap()).unwrap();
        assert!(read(&whole).is_ok());
        std::fs::remove_dir_all(&folder).unwrap();
    }
}

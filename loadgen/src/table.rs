//! A result for people: a table in the terminal, or the same in Markdown.

use crate::quantity::{count_text, micros_text};
use crate::report::{Line, Report};

/// The rows both forms show: kind, which time, ops, throughput, latencies.
fn rows(report: &Report) -> Vec<Vec<String>> {
    let mut rows = Vec::new();
    let mut push = |name: &str, line: &Line| {
        for (which, times) in [("response", &line.response), ("service", &line.service)] {
            let first = which == "response";
            let mut row = vec![
                if first { name.to_string() } else { String::new() },
                which.to_string(),
                if first { line.ops.to_string() } else { String::new() },
                if first { format!("{}/s", count_text(line.throughput_ops_s)) } else { String::new() },
            ];
            row.extend(times.latency_us.columns().map(|(_, us)| micros_text(us)));
            rows.push(row);
        }
    };
    for (name, line) in &report.operations {
        push(name, line);
    }
    if report.operations.len() != 1 {
        push("total", &report.total);
    }
    rows
}

const HEADS: [&str; 10] = ["operation", "time", "ops", "throughput", "p50", "p90", "p99", "p99.9", "p99.99", "max"];

/// For a terminal.
pub(crate) fn text(report: &Report) -> String {
    let rows = rows(report);
    let mut widths = HEADS.map(str::len);
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.len());
        }
    }
    let mut out = String::new();
    let mut put = |cells: &[String]| {
        let mut line = String::new();
        for (index, (cell, width)) in cells.iter().zip(widths).enumerate() {
            let gap = if index == 0 { "" } else { "  " };
            // Names to the left, numbers to the right.
            if index < 2 {
                line.push_str(&format!("{gap}{cell:<width$}"));
            } else {
                line.push_str(&format!("{gap}{cell:>width$}"));
            }
        }
        out.push_str(line.trim_end());
        out.push('\n');
    };
    put(&HEADS.map(str::to_string));
    for row in &rows {
        put(row);
    }
    out.push('\n');
    for line in facts(report) {
        out.push_str(&line);
        out.push('\n');
    }
    out
}

/// For a document.
pub(crate) fn markdown(report: &Report) -> String {
    let mut out = String::new();
    out.push_str(&format!("| {} |\n|---|---|", HEADS.join(" | ")));
    out.push_str(&"---:|".repeat(HEADS.len() - 2));
    out.push('\n');
    for row in rows(report) {
        out.push_str(&format!("| {} |\n", row.join(" | ")));
    }
    out.push('\n');
    for line in facts(report) {
        out.push_str(&format!("- {line}\n"));
    }
    out
}

/// Everything worth knowing besides the table, a line each.
fn facts(report: &Report) -> Vec<String> {
    let settings = &report.settings;
    let mut lines = Vec::new();
    let pace = match (settings.rate_ops_s, settings.rate_end_ops_s, &settings.arrivals) {
        (Some(from), Some(to), Some(arrivals)) => {
            format!("open loop, {}/s rising to {}/s, {arrivals} arrivals", count_text(from), count_text(to))
        }
        (Some(rate), _, Some(arrivals)) => format!("open loop, {}/s offered, {arrivals} arrivals", count_text(rate)),
        _ => "closed loop".to_string(),
    };
    lines.push(format!(
        "{pace}; {} connection{}, pipeline {}, {} thread{}; {}; {} keys {}, values {}, ttl {}",
        settings.connections,
        if settings.connections == 1 { "" } else { "s" },
        settings.pipeline,
        settings.threads,
        if settings.threads == 1 { "" } else { "s" },
        settings.mix,
        count_text(settings.keys as f64),
        settings.key_distribution,
        settings.value_size,
        settings.ttl
    ));
    let target = &report.environment.target;
    let mut line = format!("target: {} at {}", target.name(), target.address);
    if target.nodes > 1 {
        line.push_str(&format!(", {} nodes", target.nodes));
    }
    if let Some(us) = target.cpu_us_per_op {
        line.push_str(&format!(", {us:.3} us of its CPU per operation"));
    }
    lines.push(line);
    let generator = &report.generator;
    let mut line = format!(
        "generator: {}{}, busy {:.0}%, {:.3} us of CPU per operation",
        generator.io,
        if generator.cpus.is_empty() { String::new() } else { format!(" on CPU {}", generator.cpus) },
        generator.busy_share * 100.0,
        generator.cpu_us_per_op
    );
    if settings.rate_ops_s.is_some() {
        line.push_str(&format!(", own lateness p99 {} max {}", micros_text(generator.late_us_p99), micros_text(generator.late_us_max)));
    }
    lines.push(line);
    let reads = &report.reads;
    if reads.hits + reads.misses > 0 {
        let mut line = format!("reads: {} hits, {} misses", reads.hits, reads.misses);
        if reads.verified > 0 {
            line.push_str(&format!("; {} values compared, {} wrong", reads.verified, reads.mismatched));
        }
        lines.push(line);
    }
    let errors = &report.errors;
    if errors.count + errors.broken_connections + errors.redirected > 0 {
        lines.push(format!(
            "errors: {}, broken connections: {}, redirected: {}",
            errors.count, errors.broken_connections, errors.redirected
        ));
    }
    lines.extend(errors.samples.iter().map(|sample| format!("  e.g. {sample}")));
    if let Some(slo) = &report.slo {
        match slo.met {
            true => lines.push(format!("slo {}: met", slo.rules)),
            false => lines.extend(slo.breaches.iter().map(|breach| format!("slo missed: {breach}"))),
        }
    }
    if let Some(knee) = &report.knee {
        lines.push(match knee.rate_ops_s {
            None => format!("knee: not even the lowest rate meets {}", knee.rules),
            Some(rate) if knee.beyond => {
                format!("knee: beyond {}/s; the whole ramp meets {}", count_text(rate), knee.rules)
            }
            Some(rate) => format!("knee: {}/s is the highest rate found that meets {}", count_text(rate), knee.rules),
        });
    }
    lines.extend(report.notes.iter().map(|note| format!("note: {note}")));
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::tests::example;

    #[test]
    fn a_table_shows_both_times_and_lines_up() {
        let mut report = example(100, 10_000);
        report.operations.insert("set".into(), report.total.clone());
        report.notes.push("look here".into());
        let text = text(&report);
        let lines: Vec<&str> = text.lines().collect();
        assert!(lines[0].starts_with("operation  time"));
        assert!(lines[1].starts_with("get        response  10000     1.00k/s"), "{}", lines[1]);
        assert!(lines[5].starts_with("total"), "{}", lines[5]);
        assert!(lines[1..7].iter().all(|line| line.len() == lines[0].len()), "{text}");
        assert!(text.contains("note: look here"));
        let markdown = markdown(&report);
        assert!(markdown.lines().take(8).all(|line| line.matches('|').count() == HEADS.len() + 1), "{markdown}");
    }
}

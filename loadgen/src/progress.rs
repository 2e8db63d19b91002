//! What is shown while a pass runs: one line that is redrawn in a terminal, one line a second where it is not one.

use std::io::IsTerminal;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

use crate::pass::Glance;
use crate::plan::PassPlan;
use crate::quantity::{count_text, micros_text};
use crate::tally::quantile_us;

/// The line of one pass.
pub(crate) struct Progress {
    bar: Option<ProgressBar>,
    plain: bool,
    label: String,
    whole: Option<Duration>,
    requests: Option<u64>,
    last: (Duration, u64),
    rate: f64,
    p50_us: f64,
    p99_us: f64,
}

/// Behind its schedule by less than this, a run is on time.
const BEHIND_MIN: Duration = Duration::from_millis(1);

impl Progress {
    pub(crate) fn new(pass: &PassPlan, quiet: bool) -> Progress {
        let terminal = std::io::stderr().is_terminal();
        let bar = (!quiet && terminal).then(|| {
            let bar = ProgressBar::new(1_000);
            let style = ProgressStyle::with_template("{prefix:.bold} {bar:24.cyan/dim} {msg}").expect("a constant template");
            bar.set_style(style.progress_chars("━━─"));
            bar.set_prefix(pass.label.clone());
            bar
        });
        Progress {
            bar,
            plain: !quiet && !terminal,
            label: pass.label.clone(),
            whole: pass.duration.map(|duration| duration + pass.warmup),
            requests: pass.requests,
            last: (Duration::ZERO, 0),
            rate: 0.0,
            p50_us: 0.0,
            p99_us: 0.0,
        }
    }

    pub(crate) fn see(&mut self, glance: &Glance<'_>) {
        let span = glance.elapsed.saturating_sub(self.last.0).as_secs_f64();
        if span >= 0.5 {
            self.rate = glance.finished.saturating_sub(self.last.1) as f64 / span;
            self.last = (glance.elapsed, glance.finished);
        }
        if let Some(interval) = glance.interval {
            self.p50_us = quantile_us(&interval.response, 0.5);
            self.p99_us = quantile_us(&interval.response, 0.99);
        }
        if let Some(bar) = &self.bar {
            let by_time = self.whole.map_or(0.0, |whole| glance.elapsed.as_secs_f64() / whole.as_secs_f64());
            let by_count = self.requests.map_or(0.0, |requests| glance.finished as f64 / requests as f64);
            bar.set_position((by_time.max(by_count).min(1.0) * 1_000.0) as u64);
            bar.set_message(self.text(glance));
        } else if self.plain && glance.interval.is_some() {
            eprintln!("{} {:>5.1}s  {}", self.label, glance.elapsed.as_secs_f64(), self.text(glance));
        }
    }

    pub(crate) fn end(self) {
        if let Some(bar) = self.bar {
            bar.finish_and_clear();
        }
    }

    fn text(&self, glance: &Glance<'_>) -> String {
        let mut text = format!("{}/s", count_text(self.rate));
        if self.p99_us > 0.0 {
            text.push_str(&format!("  p50 {}  p99 {}", micros_text(self.p50_us), micros_text(self.p99_us)));
        }
        if glance.behind >= BEHIND_MIN {
            text.push_str(&format!("  behind {}", micros_text(glance.behind.as_nanos() as f64 / 1e3)));
        }
        if glance.errors > 0 {
            text.push_str(&format!("  {} errors", count_text(glance.errors as f64)));
        }
        text
    }
}

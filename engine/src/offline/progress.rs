//! One line about how far it is: redrawn in a terminal, printed now and then where there is none.

use super::bytes_text;
use indicatif::{ProgressBar, ProgressStyle};
use std::io::IsTerminal;
use std::time::{Duration, Instant};

/// Lines of a log are further apart than redraws.
const LINE_EVERY: Duration = Duration::from_secs(5);

pub(super) struct Progress {
    bar: Option<ProgressBar>,
    plain: bool,
    label: &'static str,
    bytes: Option<u64>,
    begun: Instant,
    printed: Instant,
}

impl Progress {
    /// `bytes`: how many there are to read, if that is known.
    pub(super) fn new(label: &'static str, bytes: Option<u64>, quiet: bool) -> Progress {
        let terminal = std::io::stderr().is_terminal();
        let bar = (!quiet && terminal).then(|| {
            let template = if bytes.is_some() { "{prefix:.bold} {bar:24.cyan/dim} {msg}" } else { "{prefix:.bold} {spinner} {msg}" };
            let style = ProgressStyle::with_template(template).expect("a constant template").progress_chars("━━─");
            ProgressBar::new(bytes.unwrap_or(0)).with_style(style).with_prefix(label)
        });
        let now = Instant::now();
        Progress { bar, plain: !quiet && !terminal, label, bytes, begun: now, printed: now }
    }

    /// `at` bytes were read, which were `items`.
    pub(super) fn see(&mut self, at: u64, items: u64) {
        if self.bar.is_none() && !(self.plain && self.printed.elapsed() >= LINE_EVERY) {
            return;
        }
        let rate = items as f64 / self.begun.elapsed().as_secs_f64().max(0.001);
        let of = self.bytes.map_or(String::new(), |bytes| format!(" of {}", bytes_text(bytes)));
        let text = format!("{}{of}  {items} keys and commands  {rate:.0}/s", bytes_text(at));
        if let Some(bar) = &self.bar {
            bar.set_position(at);
            bar.set_message(text);
        } else {
            self.printed = Instant::now();
            eprintln!("{} {text}", self.label);
        }
    }

    pub(super) fn end(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

//! One line about how far it is: redrawn in a terminal, printed now and then where there is none.

use engine::options::human_bytes;
use indicatif::{ProgressBar, ProgressStyle};
use std::io::IsTerminal;
use std::time::{Duration, Instant};

/// Lines of a log are further apart than redraws.
const LINE_EVERY: Duration = Duration::from_secs(5);

/// Bytes done of those to do.
pub(super) struct Bar {
    bar: Option<ProgressBar>,
    /// `None` for one that is never shown.
    label: Option<&'static str>,
    done: u64,
    total: u64,
    printed: Instant,
}

impl Bar {
    /// `total`: the bytes there are to do.
    pub(super) fn new(label: &'static str, total: u64) -> Bar {
        let bar = std::io::stderr().is_terminal().then(|| {
            let template = "{prefix:.bold} {bar:24.cyan/dim} {binary_bytes} of {binary_total_bytes}  {binary_bytes_per_sec}  {eta}";
            let style = ProgressStyle::with_template(template).expect("a constant template").progress_chars("━━─");
            ProgressBar::new(total).with_style(style).with_prefix(label)
        });
        Bar { bar, label: Some(label), done: 0, total, printed: Instant::now() }
    }

    /// So many more are done.
    pub(super) fn add(&mut self, bytes: u64) {
        self.done += bytes;
        if let Some(bar) = &self.bar {
            bar.set_position(self.done);
        } else if let Some(label) = self.label.filter(|_| self.printed.elapsed() >= LINE_EVERY) {
            self.printed = Instant::now();
            eprintln!("{label} {} of {}", human_bytes(self.done), human_bytes(self.total));
        }
    }

    /// One that shows nothing: for what is over at once.
    pub(super) fn hidden() -> Bar {
        Bar { bar: None, label: None, done: 0, total: 0, printed: Instant::now() }
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

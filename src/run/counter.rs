//! Progress of work that counts: a bar on a terminal, a dated line now and then elsewhere.

use std::io::{IsTerminal as _, Write as _};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::progress::{grouped, timestamp};

/// Time between two lines where there is no terminal.
const BETWEEN_LINES: Duration = Duration::from_secs(10);

/// Counts what is done, from any thread.
pub(super) struct Counter {
    bar: ProgressBar,
    /// When the last line was printed; none on a terminal.
    last: Option<Mutex<Instant>>,
    /// What is counted.
    what: &'static str,
}

impl Counter {
    /// Begins to count images to `total`.
    pub fn start(total: usize) -> Self {
        Self::of(total, "images")
    }

    /// Begins to count something else.
    pub fn of(total: usize, what: &'static str) -> Self {
        if !std::io::stderr().is_terminal() {
            let bar = ProgressBar::with_draw_target(Some(total as u64), ProgressDrawTarget::hidden());
            return Self { bar, last: Some(Mutex::new(Instant::now())), what };
        }
        let bar = ProgressBar::new(total as u64);
        let template = format!("{{wide_bar}} {{human_pos}}/{{human_len}} {what}  {{per_sec}}  eta {{eta}}");
        let style = ProgressStyle::with_template(&template);
        bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
        Self { bar, last: None, what }
    }

    /// Counts one more.
    pub fn one(&self) {
        self.add(1);
    }

    /// Counts some more.
    pub fn add(&self, more: usize) {
        self.bar.inc(more as u64);
        let Some(mut last) = self.last.as_ref().and_then(|last| last.try_lock().ok()) else { return };
        if last.elapsed() >= BETWEEN_LINES {
            *last = Instant::now();
            let (done, total) = (self.bar.position() as usize, self.bar.length().unwrap_or(0) as usize);
            writeln!(std::io::stderr(), "{} {} of {} {}", timestamp(), grouped(done), grouped(total), self.what).ok();
        }
    }
}

impl Drop for Counter {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

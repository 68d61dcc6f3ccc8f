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
}

impl Counter {
    /// Begins to count to `total`.
    pub fn start(total: usize) -> Self {
        if !std::io::stderr().is_terminal() {
            let bar = ProgressBar::with_draw_target(Some(total as u64), ProgressDrawTarget::hidden());
            return Self { bar, last: Some(Mutex::new(Instant::now())) };
        }
        let bar = ProgressBar::new(total as u64);
        let style = ProgressStyle::with_template("{wide_bar} {human_pos}/{human_len} images  {per_sec}  eta {eta}");
        bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
        Self { bar, last: None }
    }

    /// Counts one more.
    pub fn one(&self) {
        self.bar.inc(1);
        let Some(mut last) = self.last.as_ref().and_then(|last| last.try_lock().ok()) else { return };
        if last.elapsed() >= BETWEEN_LINES {
            *last = Instant::now();
            let (done, total) = (self.bar.position() as usize, self.bar.length().unwrap_or(0) as usize);
            writeln!(std::io::stderr(), "{} {} of {} images", timestamp(), grouped(done), grouped(total)).ok();
        }
    }
}

impl Drop for Counter {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

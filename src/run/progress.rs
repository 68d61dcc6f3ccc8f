//! The progress display: two lines that stay in place on a terminal, one dated line per call elsewhere.

use std::fmt::Write as _;
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::health::Finding;

/// Cells of the bar.
const BAR_CELLS: usize = 24;
/// Redraws per second on a terminal.
const REDRAWS_PER_SECOND: u8 = 5;
/// A loss within this of ln K is called by its name.
const NEAR_LN_K: f64 = 1e-3;
/// Change of the loss below which it is called level.
const LEVEL: f64 = 5e-3;

/// Where training stands.
#[derive(Debug, Clone, PartialEq)]
pub struct Snapshot {
    /// Epoch under way, from 1.
    pub epoch: usize,
    /// Epochs of the run.
    pub epochs: usize,
    /// Steps done.
    pub step: usize,
    /// Steps of the run.
    pub total_steps: usize,
    /// The loss, recent mean.
    pub loss: f64,
    /// The same some while ago, if the run is that old.
    pub loss_before: Option<f64>,
    /// Images per second.
    pub images_per_second: f64,
    /// Share of the time spent waiting for images.
    pub data_wait: f64,
    /// Estimated time to the end.
    pub eta: Option<Duration>,
    /// Mean entropy of the targets, nats, where these are probabilities.
    pub entropy: Option<f64>,
    /// Prototypes, where there are some; their logarithm is the largest entropy.
    pub prototypes: Option<usize>,
    /// Mean divergence of the student from its targets, nats.
    pub kl: Option<f64>,
    /// Norm of the gradient.
    pub grad_norm: f64,
    /// What was found to go wrong.
    pub findings: Vec<Finding>,
    /// Last rank of the features.
    pub rank: Option<f64>,
    /// Last k-NN top-1 in percent and the epochs done then.
    pub knn: Option<(f64, usize)>,
    /// Memory used, bytes.
    pub memory_bytes: Option<u64>,
}

impl Snapshot {
    /// The first line: how far, how fast.
    pub fn headline(&self, style: Style) -> String {
        let arrow = self.trend();
        let width = self.epochs.to_string().len();
        format!(
            "epoch {:>width$}/{}  {}  step {}/{}   loss {:.3} {arrow}   {:.0} img/s   wait {:.0} %   eta {}",
            self.epoch,
            self.epochs,
            self.bar(style),
            grouped(self.step),
            grouped(self.total_steps),
            self.loss,
            self.images_per_second,
            100.0 * self.data_wait,
            self.eta.map_or_else(|| "…".to_owned(), duration),
        )
    }

    /// The second line: how well.
    pub fn health(&self) -> String {
        let mut line = self.state();
        let most = self.prototypes.map(|prototypes| (prototypes, (prototypes as f64).ln()));
        if let (Some(entropy), Some(kl), Some((_, most))) = (self.entropy, self.kl, most) {
            let _ = write!(line, "   entropy {entropy:.2}/{most:.2}   KL {kl:.3}");
        }
        let _ = write!(line, "   |g| {:.2}", self.grad_norm);
        if let Some((prototypes, most)) = most.filter(|(_, most)| (self.loss - most).abs() < NEAR_LN_K) {
            let _ = write!(line, "   loss sits at ln {prototypes} = {most:.4}");
        }
        for words in self.features().chain(self.memory()) {
            let _ = write!(line, "   {words}");
        }
        line
    }

    /// What was found to go wrong, in words.
    pub fn state(&self) -> String {
        let names: Vec<&str> = self.findings.iter().map(|finding| finding.name()).collect();
        if names.is_empty() { "health ok".to_owned() } else { format!("health found: {}", names.join(", ")) }
    }

    /// How good the features last were, in words: rank and k-NN, where they are known.
    pub fn features(&self) -> impl Iterator<Item = String> {
        let rank = self.rank.map(|rank| format!("rank {rank:.1}"));
        let knn = self.knn.map(|(top1, epoch)| format!("k-NN {top1:.1} % (ep {epoch})"));
        rank.into_iter().chain(knn)
    }

    /// Where the loss goes, as an arrow.
    pub fn trend(&self) -> &'static str {
        match self.loss_before {
            Some(before) if self.loss < before - LEVEL => "↓",
            Some(before) if self.loss > before + LEVEL => "↑",
            Some(_) => "→",
            None => " ",
        }
    }

    /// The memory used, in words.
    pub fn memory(&self) -> Option<String> {
        self.memory_bytes.map(|bytes| format!("mem {:.1} GiB", bytes as f64 / f64::from(1 << 30)))
    }

    /// How many of a bar's `cells` are full.
    pub fn filled(&self, cells: usize) -> usize {
        (cells * self.step).checked_div(self.total_steps).unwrap_or(0).min(cells)
    }

    /// Both in one line without a bar, for logs.
    pub fn plain(&self) -> String {
        let eta = self.eta.map_or_else(|| "…".to_owned(), duration);
        format!(
            "epoch {}/{} step {}/{} loss {:.4} {} {:.1} img/s wait {:.0} % eta {eta}",
            self.epoch,
            self.epochs,
            self.step,
            self.total_steps,
            self.loss,
            self.health().replace("   ", " "),
            self.images_per_second,
            100.0 * self.data_wait,
        )
    }

    fn bar(&self, style: Style) -> String {
        let filled = self.filled(BAR_CELLS);
        let (done, rest) = ("━".repeat(filled), "─".repeat(BAR_CELLS - filled));
        match style {
            Style::Colour => format!("\u{1b}[36m{done}\u{1b}[0m{rest}"),
            Style::Terminal | Style::Plain => format!("{done}{rest}"),
        }
    }
}

/// What the place of output can show.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Style {
    /// A terminal with colours.
    Colour,
    /// A terminal, colours not wanted (`NO_COLOR`).
    Terminal,
    /// A file or a pipe: no escape codes.
    Plain,
}

impl Style {
    pub(super) fn of_stderr(is_terminal: bool) -> Self {
        let no_colour = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        let dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        match (is_terminal && !dumb, no_colour) {
            (false, _) => Self::Plain,
            (true, true) => Self::Terminal,
            (true, false) => Self::Colour,
        }
    }
}

/// The progress lines on stderr.
#[derive(Debug)]
pub(super) struct Lines {
    style: Style,
    lines: MultiProgress,
    headline: ProgressBar,
    health: ProgressBar,
}

impl Lines {
    pub(super) fn new(style: Style) -> Self {
        let target = match style {
            Style::Plain => ProgressDrawTarget::hidden(),
            Style::Colour | Style::Terminal => ProgressDrawTarget::stderr_with_hz(REDRAWS_PER_SECOND),
        };
        let lines = MultiProgress::with_draw_target(target);
        // `{wide_msg}` (cut at the width of the terminal) is a valid template; the fallback is never seen.
        let text = || ProgressStyle::with_template("{wide_msg}").unwrap_or_else(|_| ProgressStyle::default_spinner());
        let line = || lines.add(ProgressBar::new_spinner().with_style(text()));
        let (headline, health) = (line(), line());
        Self { style, lines, headline, health }
    }

    pub(super) fn show(&self, snapshot: &Snapshot) {
        if self.style == Style::Plain {
            return self.above(&format!("{} {}", timestamp(), snapshot.plain()));
        }
        self.headline.set_message(snapshot.headline(self.style));
        self.health.set_message(snapshot.health());
    }

    /// Prints a line above those.
    pub(super) fn above(&self, text: &str) {
        use std::io::Write as _;
        self.lines.suspend(|| writeln!(std::io::stderr(), "{text}").ok());
    }

    pub(super) fn end(self) {
        self.headline.abandon();
        self.health.abandon();
    }
}

/// A number with thin groups of three digits: `45 120`.
pub fn grouped(number: usize) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(' ');
        }
        text.push(digit);
    }
    text
}

/// This moment, UTC, to the second.
pub fn timestamp() -> String {
    jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// A length of time as people say it: `8 h 21 min`, `4 min 10 s`, `12 s`.
pub fn duration(length: Duration) -> String {
    let seconds = length.as_secs_f64().round() as u64;
    match (seconds / 3600, seconds / 60 % 60, seconds % 60) {
        (0, 0, seconds) => format!("{seconds} s"),
        (0, minutes, seconds) => format!("{minutes} min {seconds:02} s"),
        (hours, minutes, _) => format!("{hours} h {minutes:02} min"),
    }
}

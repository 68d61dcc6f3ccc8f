//! What the full-screen view shows: where training stands, its curves, what was said.

use std::collections::VecDeque;
use std::path::Path;

use serde_json::Value;

use crate::run::progress::Snapshot;

/// Points of a curve from which on neighbours are averaged; more than any terminal has columns of dots.
const MOST_POINTS: usize = 2048;
/// Lines of talk that are kept; `train.log` has all of them.
const MOST_LINES: usize = 2000;

/// Something new.
#[derive(Debug, Clone)]
pub enum News {
    /// Where training stands.
    Progress(Box<Snapshot>),
    /// A row of `metrics.jsonl`.
    Row(Value),
    /// A line of talk, or several.
    Said(String),
}

/// Everything that can be seen, and nothing of how it is drawn.
#[derive(Debug, Clone)]
pub struct Model {
    /// The run folder, for people.
    pub run: String,
    /// Prototypes; their logarithm is what the loss starts at.
    pub prototypes: Option<usize>,
    /// Where training stands; `None` before the first logged step.
    pub snapshot: Option<Snapshot>,
    /// The figures over the epochs.
    pub curves: Curves,
    /// What was said, newest last.
    pub log: VecDeque<String>,
    /// Lines of talk below the part that is shown.
    pub scrolled: usize,
    /// Which charts are shown, where there is no room for all.
    pub page: usize,
}

impl Model {
    /// The view of the run in `folder` before anything is known of it.
    pub fn new(folder: &Path, steps_per_epoch: usize, prototypes: Option<usize>) -> Self {
        Self {
            run: folder.display().to_string(),
            prototypes,
            snapshot: None,
            curves: Curves::new(steps_per_epoch),
            log: VecDeque::new(),
            scrolled: 0,
            page: 0,
        }
    }

    /// Takes in what is new.
    pub fn hear(&mut self, news: News) {
        match news {
            News::Progress(snapshot) => self.snapshot = Some(*snapshot),
            News::Row(row) => self.curves.add(&row),
            News::Said(text) => text.lines().for_each(|line| self.say(line)),
        }
    }

    fn say(&mut self, line: &str) {
        self.log.push_back(line.to_owned());
        if self.log.len() > MOST_LINES {
            self.log.pop_front();
        }
        // Who reads what is older keeps it in view.
        if self.scrolled > 0 {
            self.scroll_back(1);
        }
    }

    /// Shows older talk.
    pub fn scroll_back(&mut self, lines: usize) {
        self.scrolled = (self.scrolled + lines).min(self.log.len().saturating_sub(1));
    }

    /// Shows newer talk.
    pub fn scroll_on(&mut self, lines: usize) {
        self.scrolled = self.scrolled.saturating_sub(lines);
    }
}

/// The figures of a run over its epochs.
#[derive(Debug, Clone)]
pub struct Curves {
    steps_per_epoch: usize,
    /// DINO loss.
    pub loss: Curve,
    /// Entropy of the teacher's targets, nats.
    pub entropy: Curve,
    /// Divergence of the student from them, nats.
    pub kl: Curve,
    /// Learning rate.
    pub lr: Curve,
    /// k-NN top-1 of the teacher, percent.
    pub knn: Curve,
    /// Rank of the teacher's features.
    pub rank: Curve,
}

impl Curves {
    fn new(steps_per_epoch: usize) -> Self {
        let [loss, entropy, kl, lr, knn, rank] = std::array::from_fn(|_| Curve::default());
        Self { steps_per_epoch: steps_per_epoch.max(1), loss, entropy, kl, lr, knn, rank }
    }

    /// Adds a row of `metrics.jsonl`; what it lacks, or is not finite, is left out.
    pub fn add(&mut self, row: &Value) {
        let number = |key: &str| row.get(key).and_then(Value::as_f64);
        let Some(step) = number("step") else { return };
        let epoch = step / self.steps_per_epoch as f64;
        let curves = [
            ("loss", &mut self.loss),
            ("entropy", &mut self.entropy),
            ("kl", &mut self.kl),
            ("lr", &mut self.lr),
            ("knn_top1", &mut self.knn),
            ("rank", &mut self.rank),
        ];
        for (key, curve) in curves {
            if let Some(value) = number(key) {
                curve.push(epoch, value);
            }
        }
    }

    /// Epochs that the curves reach to.
    pub fn epochs(&self) -> f64 {
        let ends = [&self.loss, &self.knn, &self.rank].map(|curve| curve.last().map_or(0.0, |(epoch, _)| epoch));
        ends.into_iter().fold(0.0, f64::max)
    }
}

/// A curve that stays small however long the run: the longer, the more rows are averaged to a point.
#[derive(Debug, Clone)]
pub struct Curve {
    points: Vec<(f64, f64)>,
    /// Rows of a point.
    rows: usize,
    /// Rows and their sums on the way to the next point.
    gathered: (usize, f64, f64),
    last: Option<(f64, f64)>,
    best: Option<f64>,
}

impl Default for Curve {
    fn default() -> Self {
        Self { points: Vec::new(), rows: 1, gathered: (0, 0.0, 0.0), last: None, best: None }
    }
}

impl Curve {
    fn push(&mut self, epoch: f64, value: f64) {
        self.last = Some((epoch, value));
        self.best = Some(self.best.map_or(value, |best| best.max(value)));
        let (rows, epochs, values) = self.gathered;
        self.gathered = (rows + 1, epochs + epoch, values + value);
        if self.gathered.0 == self.rows {
            let (rows, epochs, values) = std::mem::take(&mut self.gathered);
            self.points.push((epochs / rows as f64, values / rows as f64));
        }
        if self.points.len() == MOST_POINTS {
            let mean = |pair: &[(f64, f64)]| ((pair[0].0 + pair[1].0) / 2.0, (pair[0].1 + pair[1].1) / 2.0);
            self.points = self.points.chunks_exact(2).map(mean).collect();
            self.rows *= 2;
        }
    }

    /// Epochs and values.
    pub fn points(&self) -> &[(f64, f64)] {
        &self.points
    }

    /// The newest point, not averaged.
    pub fn last(&self) -> Option<(f64, f64)> {
        self.last
    }

    /// The largest value.
    pub fn best(&self) -> Option<f64> {
        self.best
    }
}

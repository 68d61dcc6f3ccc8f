//! The numbers of a page: `metrics.jsonl`, and what a network is compared with.

use crate::report::chart::Reference;
use crate::report::curves::{KnnPoint, StepPoint};
use crate::report::page::Table;
use crate::run::RunError;
use crate::run::folder::Start;
use crate::run::json_lines::JsonLines;
use crate::run::metrics::{EvalRow, StepRow};
use crate::run::trained::Trained;
use crate::train::End;

/// The figures of a run.
#[derive(Debug, Clone, Default)]
pub struct Numbers {
    /// Logged steps.
    pub steps: Vec<StepPoint>,
    /// Entropy of the mean target at the last logged step, nats.
    pub batch_entropy: Option<f64>,
    /// Evaluations of the teacher.
    pub knn: Vec<KnnPoint>,
    /// Top-1 of the method's own classifier, where it has one.
    pub accuracy: Vec<KnnPoint>,
    /// k-NN top-1 of the last teacher, percent.
    pub trained: Option<f64>,
    /// k-NN top-1 of the last student, percent.
    pub student: Option<f64>,
    /// What the network before the first step is called: untrained, unless it started from weights.
    pub start_name: &'static str,
    /// k-NN top-1 before the first step, percent.
    pub untrained: Option<f64>,
    /// k-NN top-1 on thumbnails, percent; for finished runs only.
    pub pixels: Option<f64>,
    /// k-NN top-1 of guessing, percent.
    pub chance: Option<f64>,
    /// Time of the whole loop: that of this process, or, if it continued a run, the sum of the logged speeds, seconds.
    pub train_seconds: f64,
    /// Neighbours that vote.
    pub knn_k: usize,
}

impl Numbers {
    /// Reads the figures of a run and computes what they are compared with.
    ///
    /// # Errors
    /// If no labelled image can be read.
    pub fn gather(trained: &Trained<'_>) -> Result<Self, RunError> {
        let (folder, validation) = (&trained.folder, &trained.validation);
        let per_epoch = folder.config.steps_per_epoch(trained.source.len()) as f64;
        let start_name = if folder.config.model.init.is_some() { "before training" } else { "untrained" };
        let mut numbers = Self { knn_k: folder.config.eval.knn_k, start_name, ..Self::default() };
        let mut steps = 0;
        for row in JsonLines::read(&folder.path.join("metrics.jsonl")) {
            if row.get("eval").is_some() {
                let Ok(row) = serde_json::from_value::<EvalRow>(row) else { continue };
                let epoch = row.step as f64 / per_epoch;
                numbers.accuracy.extend(row.top1.map(|top1| KnnPoint { epoch, top1 }));
                let Some(top1) = row.knn_top1 else { continue };
                numbers.knn.push(KnnPoint { epoch, top1 });
                numbers.untrained = numbers.untrained.or((row.step == 0).then_some(top1));
                (numbers.trained, numbers.student) = (Some(top1), row.knn_top1_student);
            } else if let Ok(row) = serde_json::from_value::<StepRow>(row) {
                let images = row.step.saturating_sub(steps) * folder.config.run.batch;
                numbers.train_seconds += images as f64 / row.images_per_second.max(f64::MIN_POSITIVE);
                steps = row.step;
                numbers.batch_entropy = row.batch_entropy;
                numbers.steps.push(point(&row, per_epoch));
            }
        }
        if folder.start == Start::Fresh {
            numbers.train_seconds = trained.took.as_secs_f64();
        }
        if let Some(validation) = validation {
            numbers.chance = Some(100.0 / validation.classes().max(1) as f64);
            // Reading all labelled images once more is nothing to wait for after Ctrl-C.
            numbers.pixels = match trained.end {
                End::Finished => Some(validation.pixel_top1()?),
                End::Stopped => None,
            };
        }
        Ok(numbers)
    }

    /// The lines to read the k-NN curve against.
    pub fn knn_references(&self) -> Vec<Reference> {
        self.floors().into_iter().map(|(name, top1)| Reference::new(format!("{name} {top1:.1} %"), top1)).collect()
    }

    /// The k-NN table; nothing without labelled images.
    pub fn table(&self) -> Option<Table> {
        self.trained?;
        let networks = [("teacher", self.trained), ("student", self.student)];
        let networks = networks.into_iter().filter_map(|(name, top1)| Some((name, top1?)));
        let rows = networks.chain(self.floors()).map(|(name, top1)| vec![name.to_owned(), format!("{top1:.1}")]);
        Some(Table {
            title: "k-NN".to_owned(),
            caption: format!(
                "Weighted vote of the {} nearest training images on frozen features (class token); pixels: the same \
                 vote on 8 × 8 thumbnails.",
                self.knn_k
            ),
            header: vec!["features".to_owned(), "top-1, %".to_owned()],
            rows: rows.collect(),
        })
    }

    /// What a network has to beat, where it is known: name and top-1, percent.
    pub fn floors(&self) -> Vec<(&'static str, f64)> {
        let floors = [(self.start_name, self.untrained), ("pixels", self.pixels), ("chance", self.chance)];
        floors.into_iter().filter_map(|(name, top1)| Some((name, top1?))).collect()
    }
}

fn point(row: &StepRow, per_epoch: f64) -> StepPoint {
    StepPoint {
        epoch: row.step as f64 / per_epoch,
        loss: row.loss,
        entropy: row.entropy,
        kl: row.kl,
        lr: row.lr,
        weight_decay: row.weight_decay,
        momentum: row.momentum,
        teacher_temp: row.teacher_temp,
    }
}

//! What student and teacher say of a head's prototypes, compared: eq. 1 to 3 of DINO (Caron et al. 2021), eq. 2 of iBOT (Zhou et al.
//! 2022).
//!
//! An output has a value for each prototype, tens of thousands of them. Where memory is short ([`Keep::Inputs`]) the outputs of a few
//! images at a time are computed, compared and given back, and for the gradient once more.

use std::borrow::Cow;
use std::cell::Cell;
use std::rc::Rc;

use dinoxide_engine::params::Params;
use dinoxide_engine::tape::{Keep, Loss, Tape};
use dinoxide_engine::tensor::Matrix;

use super::TargetSums;
use super::center::{Balance, Center};
use crate::loss::dino::{DinoTargets, ViewCount, dino_loss, targets};
use crate::loss::masked::masked_patch_loss;
use crate::nn::dino_head::DinoHead;

/// Outputs of the student that are in memory at once, where it is short: 32 MB. Smaller parts read the prototypes more often.
const PART: usize = 8 << 20;

/// How outputs are made and compared.
pub(super) struct Comparison<'a> {
    /// The head of both.
    pub head: &'a DinoHead,
    /// The teacher's parameters.
    pub teacher: &'a Params,
    /// What keeps one prototype from winning everywhere, and its centre.
    pub balance: (Balance, &'a Center),
    /// Temperature of the teacher.
    pub teacher_temp: f64,
    /// Temperature of the student.
    pub student_temp: f64,
}

/// Which of the student's outputs are compared with which of the teacher's.
#[derive(Debug)]
pub(super) enum Pairs {
    /// Views of images, view-major, each with every other one of the teacher.
    Views(ViewCount),
    /// Each with the teacher's of the same row; these weights, `[M]`.
    Rows(Vec<f64>),
}

/// Some of the pairs.
struct Part {
    pairs: Pairs,
    /// The student's rows and the teacher's; absent where all are.
    rows: Option<[Rc<[u32]>; 2]>,
    /// Factor of its loss.
    share: f64,
}

impl<'a> Comparison<'a> {
    /// The loss of bottlenecks of student and teacher, `[R, D]` each in the order of `pairs`, and the sums over the targets; of
    /// [`Pairs::Rows`] over what they are made of alone.
    pub fn loss(self, tape: &mut Tape<'a>, [student, teacher]: [&Matrix; 2], pairs: Pairs) -> (Loss, TargetSums) {
        let parts = match tape.keeps() {
            Keep::Everything => pairs.cut(usize::MAX),
            Keep::Inputs => pairs.cut(PART / self.balance.1.values().len()),
        };
        let by = Rc::new(Fixed { center: self.center_of_all(tape, teacher, parts.len()), how: self });
        let mut sums = TargetSums::default();
        let mut losses = Vec::with_capacity(parts.len());
        for Part { pairs, rows, share } in parts {
            let [ours, theirs] = match rows {
                None => [student.clone(), teacher.clone()],
                Some([ours, theirs]) => [tape.gather_rows(student, ours), tape.gather_rows(teacher, theirs)],
            };
            let (targets, of_part) = by.targets(tape, &theirs, &pairs);
            sums.merge(of_part);
            // The targets serve the first run; another one makes them again.
            let (first, by) = (Cell::new(Some(targets)), Rc::clone(&by));
            let loss = tape.loss_part(&ours, move |tape, ours| {
                let targets = first.take().unwrap_or_else(|| by.targets(tape, &theirs, &pairs).0);
                let logits = by.how.head.logits(tape, ours); // [R, K]
                pairs.loss(tape, &logits, &targets, by.how.student_temp)
            });
            losses.push((loss, share));
        }
        (tape.sum(&losses), sums)
    }

    /// The centre, where it depends on all rows and each part sees only its own.
    fn center_of_all(&self, tape: &Tape<'a>, teacher: &Matrix, parts: usize) -> Option<Vec<f32>> {
        let (balance, center) = self.balance;
        (balance.is_of_the_batch() && parts > 1).then(|| {
            let logits = self.teacher_logits(tape, teacher);
            balance.offset(center, logits.values(), self.teacher_temp).into_owned()
        })
    }

    fn teacher_logits(&self, tape: &Tape<'a>, bottleneck: &Matrix) -> Matrix {
        self.head.logits(&mut Tape::infer(tape.kernels(), self.teacher, tape.pool()), bottleneck)
    }
}

/// A comparison with the centre of all rows, if that is known beforehand.
struct Fixed<'a> {
    center: Option<Vec<f32>>,
    how: Comparison<'a>,
}

impl<'a> Fixed<'a> {
    /// Balanced and sharpened teacher outputs of some rows of its bottleneck, and their sums.
    fn targets(&self, tape: &Tape<'a>, bottleneck: &Matrix, pairs: &Pairs) -> (DinoTargets, TargetSums) {
        let logits = self.how.teacher_logits(tape, bottleneck); // [R, K]
        let ((balance, center), temp) = (self.how.balance, self.how.teacher_temp);
        let offset = match &self.center {
            Some(center) => Cow::from(center),
            None => balance.offset(center, logits.values(), temp),
        };
        let targets = targets(tape, &logits, &offset, temp);
        let (values, width) = (logits.values(), logits.columns());
        let sums = match pairs {
            Pairs::Views(_) => TargetSums::of(tape, [values, &targets.probs], width, targets.entropy),
            Pairs::Rows(_) => TargetSums::of_logits(tape, values, width),
        };
        (targets, sums)
    }
}

impl Pairs {
    /// Parts of at most `most` rows of the student, but never less than an image; a single one if all of them are that few.
    fn cut(self, most: usize) -> Vec<Part> {
        let (count, rows_of_one) = match &self {
            Self::Views(views) => (views.images, views.student),
            Self::Rows(weights) => (weights.len(), 1),
        };
        let size = (most / rows_of_one).max(1);
        if count <= size {
            return vec![Part { pairs: self, rows: None, share: 1.0 }];
        }
        let ranges = (0..count).step_by(size).map(|first| first..count.min(first + size));
        let part = |range: std::ops::Range<usize>| match &self {
            Self::Views(views) => {
                let rows = |of: usize| {
                    let starts = (0..of).map(|view| view * count);
                    starts.flat_map(|start| start + range.start..start + range.end).map(|row| row as u32).collect()
                };
                let rows = Some([rows(views.student), rows(views.teacher)]);
                let share = range.len() as f64 / count as f64;
                Part { pairs: Self::Views(ViewCount { images: range.len(), ..*views }), rows, share }
            }
            Self::Rows(weights) => {
                let rows: Rc<[u32]> = (range.start as u32..range.end as u32).collect();
                let rows = Some([Rc::clone(&rows), rows]);
                Part { pairs: Self::Rows(weights[range].to_vec()), rows, share: 1.0 }
            }
        };
        ranges.map(part).collect()
    }

    fn loss(&self, tape: &mut Tape<'_>, logits: &Matrix, targets: &DinoTargets, temp: f64) -> Loss {
        match self {
            Self::Views(count) => dino_loss(tape, logits, targets, *count, temp),
            Self::Rows(weights) => masked_patch_loss(tape, logits, &targets.probs, weights, temp),
        }
    }
}

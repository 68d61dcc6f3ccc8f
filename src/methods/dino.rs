//! DINO: a student matches the centred and sharpened output of its own moving average, across crops of the same image.
//! DINO (Caron et al. 2021), section 3 and algorithm 1; `main_dino.py`.

use dinoxide_engine::params::{Params, Role};
use dinoxide_engine::tape::{Loss, Tape};
use dinoxide_engine::tensor::Matrix;

use super::center::{Balance, Center};
use super::prototypes::{Comparison, Pairs};
use super::{
    Encoder, EncoderConfig, Forward, ForwardSeconds, Lap, Method, NORMALIZE_EPS, Outputs, StateTensor, TargetSums,
    Views, store, to_unit_length,
};
use crate::loss::byol::byol_loss;
use crate::loss::dino::ViewCount;
use crate::nn::backbone::Backbone;
use crate::nn::dino_head::{DinoHead, DinoHeadConfig};
use crate::nn::init::Registry;
use crate::nn::mlp::{LastLayer, Mlp, MlpConfig};
use crate::schedule::Scheduled;

/// Prefix of the head's tensors in student and teacher.
pub const HEAD: &str = "head.";

/// What DINO is made of.
#[derive(Debug, Clone, PartialEq)]
pub struct DinoConfig {
    /// The backbone of student and teacher.
    pub encoder: EncoderConfig,
    /// The projection head of student and teacher.
    pub head: DinoHeadConfig,
    /// Student temperature, 0.1 in the paper.
    pub student_temp: f64,
    /// What keeps one prototype from winning everywhere.
    pub balance: Balance,
    /// Which weights the teacher has.
    pub teacher: Teacher,
    /// What is compared.
    pub objective: Objective,
    /// What the student alone has.
    pub predictor: Predictor,
}

/// Which weights the teacher has (figure 6).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Teacher {
    /// The moving average of the student's.
    Momentum,
    /// The student's.
    Student,
    /// The student's of one step before.
    PreviousStep,
    /// The student's at the end of the epoch before.
    PreviousEpoch,
}

/// What is compared of student and teacher (tables 7 and 14).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Objective {
    /// Probabilities, by their cross-entropy.
    CrossEntropy,
    /// Outputs at unit length, by their squared distance as in BYOL; the teacher's are centred before.
    Mse,
}

/// What the student alone has (tables 7 and 14).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Predictor {
    /// Nothing.
    None,
    /// BYOL's predictor, from bottleneck to bottleneck; its hidden layer is as wide as the head's.
    LikeByol,
}

/// Name of the tensor in checkpoints that has the student's weights for [`Teacher::PreviousStep`].
const LATEST: &str = "latest_student";

/// Teacher, centre and the shape of both networks. The student's parameters belong to the training loop.
#[derive(Debug, Clone)]
pub struct Dino {
    encoder: Encoder,
    head: DinoHead,
    predictor: Option<Mlp>,
    teacher: Params,
    /// The student after the last step, where the teacher is the one before.
    latest: Option<Params>,
    center: Center,
    config: DinoConfig,
}

impl Dino {
    /// Builds both networks and returns the method with the student's parameters. The teacher starts as an exact copy.
    pub fn new(config: DinoConfig) -> (Self, Params) {
        let mut registry = Registry::new();
        let encoder = Encoder::new(&config.encoder, &mut registry);
        let head = DinoHead::new(&config.head, HEAD, &mut registry);
        let (hidden_dim, width) = (config.head.hidden_dim, config.head.bottleneck_dim);
        let sizes = MlpConfig { in_dim: width, hidden_dim, out_dim: width, layers: 2, last: LastLayer::Unbiased };
        let predictor =
            (config.predictor == Predictor::LikeByol).then(|| Mlp::new(&sizes, "predictor.", &mut registry));
        let student = registry.finish(config.encoder.seed);
        let center = config.balance.center(config.head.out_dim);
        let latest = (config.teacher == Teacher::PreviousStep).then(|| student.clone());
        (Self { encoder, head, predictor, teacher: student.clone(), latest, center, config }, student)
    }

    /// The teacher's parameters.
    pub fn teacher(&self) -> &Params {
        &self.teacher
    }

    /// The centre.
    pub fn center(&self) -> &Center {
        &self.center
    }
}

impl Dino {
    /// Bottlenecks of the student for all crops, `[V·B, bottleneck_dim]`.
    fn student(&self, tape: &mut Tape<'_>, views: &Views<'_>, at: &Scheduled) -> Matrix {
        let features = self.encoder.student(tape, &views.groups, views, at); // [V·B, D]
        let bottleneck = self.head.bottleneck(tape, &features);
        match &self.predictor {
            None => bottleneck,
            Some(predictor) => predictor.forward(tape, &bottleneck, views.count().student),
        }
    }

    /// The squared distance of bottlenecks' outputs, the teacher's centred.
    fn mse(
        &self,
        tape: &mut Tape<'_>,
        [student, teacher]: [&Matrix; 2],
        (count, at): (ViewCount, &Scheduled),
    ) -> (Loss, TargetSums) {
        let logits = self.head.logits(&mut Tape::infer(tape.kernels(), &self.teacher, tape.pool()), teacher);
        let center = self.config.balance.offset(&self.center, logits.values(), at.teacher_temp);
        let targets = centred_directions(&logits, &center);
        let outputs = self.head.logits(tape, student);
        let outputs = tape.l2_normalize(&outputs, NORMALIZE_EPS);
        let sums = TargetSums::of_logits(tape, logits.values(), logits.columns());
        (byol_loss(tape, &outputs, &targets, count), sums)
    }
}

impl Method for Dino {
    fn forward<'a>(&'a self, tape: &mut Tape<'a>, views: &Views<'_>, at: &Scheduled) -> Forward {
        let (mut clock, count) = (Lap::start(), views.count());

        // Teacher: global crops only, no gradient, no drop path.
        let mut frozen = Tape::infer(tape.kernels(), &self.teacher, tape.pool());
        frozen.continue_statistics(views.teacher_statistics.clone());
        let features = self.encoder.backbone.features(&mut frozen, &views.groups[..1], None); // [2·B, D]
        let theirs = self.head.bottleneck(&mut frozen, &features); // [2·B, bottleneck_dim]
        let teacher = clock.seconds();

        // Student: all crops.
        let ours = self.student(tape, views, at);
        let student = clock.seconds();

        // Both over the prototypes.
        let (loss, targets) = match self.config.objective {
            Objective::CrossEntropy => {
                let (balance, student_temp) = ((self.config.balance, &self.center), self.config.student_temp);
                let (head, teacher_temp) = (&self.head, at.teacher_temp);
                let by = Comparison { head, teacher: &self.teacher, balance, teacher_temp, student_temp };
                by.loss(tape, [&ours, &theirs], Pairs::Views(count))
            }
            Objective::Mse => self.mse(tape, [&ours, &theirs], (count, at)),
        };
        let (student_statistics, teacher_statistics) = (tape.take_statistics(), frozen.take_statistics());
        let outputs = Outputs { targets, student_statistics, teacher_statistics, ..Outputs::default() };
        Forward { loss, outputs, seconds: ForwardSeconds { teacher, student, loss: clock.seconds() } }
    }

    fn average(&mut self, at: &Scheduled) -> Option<(&mut Params, f64)> {
        match self.config.teacher {
            Teacher::Momentum => Some((&mut self.teacher, at.momentum)),
            Teacher::Student => Some((&mut self.teacher, 0.0)),
            Teacher::PreviousEpoch => at.ends_epoch.then_some((&mut self.teacher, 0.0)),
            Teacher::PreviousStep => {
                let latest = self.latest.as_mut()?;
                if at.step > 0 {
                    copy_learnt(latest, &mut self.teacher);
                }
                Some((latest, 0.0))
            }
        }
    }

    fn after_update(&mut self, outputs: Outputs, _at: &Scheduled) {
        self.center.update(&outputs.targets.logits, outputs.targets.rows);
        store(&mut self.teacher, outputs.teacher_statistics);
    }

    fn backbone(&self) -> (&Backbone, &Params) {
        (&self.encoder.backbone, &self.teacher)
    }

    fn state(&self) -> Vec<StateTensor> {
        let values = self.center.values().to_vec();
        let mut state = vec![StateTensor { name: "center", shape: vec![1, values.len()], values }];
        state.extend(self.latest.iter().map(|latest| {
            let values = latest.values().to_vec();
            StateTensor { name: LATEST, shape: vec![values.len()], values }
        }));
        state
    }

    fn restore(&mut self, name: &str, values: &[f32]) -> bool {
        match (name, &mut self.latest) {
            ("center", _) if values.len() == self.center.values().len() => self.center.set(values),
            (LATEST, Some(latest)) if values.len() == latest.values().len() => {
                latest.values_mut().copy_from_slice(values);
            }
            _ => return false,
        }
        true
    }

    fn teacher_mut(&mut self) -> &mut Params {
        &mut self.teacher
    }
}

/// Rows of `logits − center` at unit length.
fn centred_directions(logits: &Matrix, center: &[f32]) -> Vec<f32> {
    let mut rows = logits.values().to_vec();
    for row in rows.chunks_exact_mut(center.len()) {
        row.iter_mut().zip(center).for_each(|(value, center)| *value -= center);
        to_unit_length(row);
    }
    rows
}

/// Copies what is learnt; running statistics stay.
fn copy_learnt(from: &Params, to: &mut Params) {
    let specs: Vec<_> = from.layout().specs().iter().filter(|spec| spec.role == Role::Trained).collect();
    for spec in specs {
        let range = spec.offset..spec.offset + spec.len;
        to.values_mut()[range.clone()].copy_from_slice(&from.values()[range]);
    }
}

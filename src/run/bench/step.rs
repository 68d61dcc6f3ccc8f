//! Whole training steps: teacher, student, loss, gradient, optimizer.

use std::time::Instant;

use dinoxide_engine::cpu::Cpu;
use dinoxide_engine::kernels::Patches;
use dinoxide_engine::tape::{Images, Keep, Tape};
use dinoxide_engine::tensor::Pool;
use serde::Serialize;

use super::{
    Place, Terms, ViewSize, WARM_UP, bytes, config_of, fits, median, on_threads, peak_gbytes, peak_gflops, times,
    values,
};
use crate::config::{Config, ConfigError, Origin, Precision};
use crate::methods::Device;
use crate::methods::dino::Dino;
use crate::nn::backbone::Backbone;
use crate::nn::init::Registry;
use crate::nn::work::{self, Work};
use crate::run::model::{backbone_config, dino_config};
use crate::run::{RunError, machine};
use crate::schedule::Scheduled;
use crate::train::optimizer::{Clip, Optimizer, Rule};
use crate::train::step::{Crops, StepSeconds, TrainState};

/// What to measure.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct StepRequest {
    /// Name of the backbone, such as `vit_small_patch16_224`.
    pub model: String,
    /// Number and side of the crops of each size, global crops first.
    pub views: Vec<ViewSize>,
    /// Prototypes; `None` for the backbone alone: one forward and one backward pass, no teacher, no update.
    pub out_dim: Option<usize>,
    /// Rate of stochastic depth in the student's last block; the backbone alone drops nothing.
    pub drop_path: f64,
    /// Whether blocks keep only their input for the gradient.
    pub recompute: bool,
    /// Images of a step.
    pub batch: usize,
    /// What products multiply.
    pub precision: Precision,
    /// Threads, steps.
    pub terms: Terms,
}

impl StepRequest {
    fn keep(&self) -> Keep {
        if self.recompute { Keep::Inputs } else { Keep::Everything }
    }

    /// Operations of the gradient.
    fn backward(&self, work: Work) -> f64 {
        work.backward + if self.recompute { work.repeated } else { 0.0 }
    }
}

/// What was measured. Milliseconds are medians over the steps.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct StepReport {
    /// Images trained on in a second.
    pub images_per_second: f64,
    /// A whole step.
    pub ms: f64,
    /// The parts of a step, milliseconds.
    pub phases: Phases,
    /// The parts' rates, 10⁹ operations per second; that of the optimizer in 10⁹ bytes.
    pub rates: Phases,
    /// The whole step's rate, 10⁹ operations per second.
    pub gflops: f64,
    /// Ceiling of this machine, 10⁹ operations per second.
    pub peak_gflops: f64,
    /// Ceiling of this machine, 10⁹ bytes per second.
    pub peak_gbytes: f64,
    /// Most memory that the process ever held, 10⁶ bytes; absent where the system does not tell.
    pub peak_rss_mb: Option<f64>,
    /// Most memory that activations and gradients held at once, 10⁶ bytes.
    pub activations_mb: f64,
    /// Memory that the measured steps took from the system for activations, 10⁶ bytes.
    pub allocated_mb: f64,
    /// Steps that counted.
    pub steps: usize,
    /// What was asked for.
    pub request: StepRequest,
    /// Where.
    pub place: Place,
}

/// One figure for each part of a step.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct Phases {
    /// The teacher's forward pass.
    pub teacher: f64,
    /// The student's forward pass.
    pub student: f64,
    /// The layer of prototypes of both, targets and loss.
    pub loss: f64,
    /// The gradient.
    pub backward: f64,
    /// Clipping, update and average.
    pub optimizer: f64,
}

/// Measures training steps.
///
/// # Errors
/// If the model is unknown, sizes do not go together or do not fit into memory, a step's loss is not finite, or the
/// threads cannot be started.
pub fn step(request: &StepRequest) -> Result<StepReport, RunError> {
    let mut config = config_of(&request.model)?;
    let (Some(global), true) = (request.views.first(), request.views.len() <= 2) else {
        return Err(bad_views(request, "crops of one size or two, as in 2x224,8x96").into());
    };
    let local = request.views.get(1).unwrap_or(global);
    (config.views.global.size, config.views.local.size) = (global.side, local.side);
    config.model.drop_path = request.drop_path;
    config.head.out_dim = request.out_dim.unwrap_or(config.head.out_dim);
    config.validate()?;
    let pixels = request.views.iter().map(|view| view.count as usize * (view.side as usize).pow(2) * 3).sum();
    fits("--batch", request.batch, pixels)?;
    if request.out_dim.is_some() && global.count < 2 {
        return Err(bad_views(request, "two or more global crops, as in 2x224,8x96").into());
    }
    on_threads(request.terms, request.precision, |cpu| match request.out_dim {
        Some(_) => method_steps(request, &config, cpu),
        None => backbone_steps(request, &config, cpu),
    })
}

fn bad_views(request: &StepRequest, allowed: &str) -> ConfigError {
    let value = request.views.iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
    let (origin, allowed) = (Origin::Flag("--views"), allowed.to_owned());
    ConfigError::BadValue { origin, key: "views".to_owned(), value, allowed }
}

/// Steps of DINO with AdamW and clipping, all as the paper has it.
fn method_steps(request: &StepRequest, config: &Config, cpu: &Cpu) -> Result<StepReport, RunError> {
    let dino = dino_config(config)?;
    let (method, student) = Dino::new(dino.clone());
    let parameters = student.values().len();
    let optimizer = Optimizer::new(Rule::AdamW, &student);
    let mut state = TrainState::new(Box::new(method), student, optimizer, Clip::Tensor(3.0));
    state.keep = request.keep();
    let pool = Pool::new();
    let device = Device { kernels: cpu, pool: &pool };
    let groups = groups(state.method.backbone().0, request);
    let pixels = pixels(&groups);
    let crops =
        |(group, pixels): (&Patches, _)| Crops { pixels, side: group.width, views: group.images / request.batch };
    let crops: Vec<Crops<'_>> = groups.iter().zip(pixels.iter().map(Vec::as_slice)).map(crops).collect();
    let mut steps = Steps::default();
    let times = times(
        request.terms.steps,
        &mut steps,
        |_| (),
        |steps| {
            let report = state.step(device, &crops, request.batch, &scheduled(steps.seconds.len()))?;
            steps.done(report.seconds, &pool);
            Ok(())
        },
    )?;

    let student_rows = groups.iter().map(|group| group.images).sum();
    let (backbone, _) = state.method.backbone();
    let mut student_work = backbone.work(&groups, request.drop_path);
    student_work.add(work::bottleneck(&dino.head, student_rows), 1.0);
    let teacher_rows = groups[0].images;
    let mut teacher_work = backbone.work(&groups[..1], 0.0);
    teacher_work.add(work::bottleneck(&dino.head, teacher_rows), 1.0);
    let mut outputs = work::prototypes(&dino.head, student_rows);
    outputs.forward += work::prototypes(&dino.head, teacher_rows).forward;
    outputs.repeated = outputs.forward;
    let work = Phases {
        teacher: teacher_work.forward,
        student: student_work.forward,
        loss: outputs.forward,
        backward: request.backward(student_work) + request.backward(outputs),
        optimizer: super::optim::bytes_moved(parameters),
    };
    Ok(report(request, cpu, &pool, Measured { times, steps, work }))
}

/// The backbone alone, forward and backward.
fn backbone_steps(request: &StepRequest, config: &Config, cpu: &Cpu) -> Result<StepReport, RunError> {
    let config = backbone_config(config)?;
    let mut registry = Registry::new();
    let backbone = Backbone::new(config, "", &mut registry);
    let params = registry.finish(0);
    let pool = Pool::new();
    let groups = groups(&backbone, request);
    let pixels = pixels(&groups);
    let images: Vec<Images<'_>> = groups
        .iter()
        .zip(&pixels)
        .map(|(patches, pixels)| Images { pixels: pixels.into(), patches: *patches })
        .collect();
    let rows: usize = groups.iter().map(|group| group.images).sum();
    let d_out = values(rows * backbone.dim(), 1);
    let mut grads = vec![0.0; params.values().len()];
    let mut steps = Steps::default();
    let times = times(
        request.terms.steps,
        &mut steps,
        |_| (),
        |steps| {
            let begun = Instant::now();
            let mut seconds = StepSeconds::default();
            let mut tape = Tape::train(cpu, &params, &pool);
            tape.keep(request.keep());
            let features = backbone.features(&mut tape, &images, None);
            seconds.forward.student = begun.elapsed().as_secs_f64();
            tape.backward_from(&features, &d_out, &mut grads);
            seconds.backward = begun.elapsed().as_secs_f64() - seconds.forward.student;
            steps.done(seconds, &pool);
            Ok(())
        },
    )?;
    let student = backbone.work(&groups, 0.0);
    let work = Phases { student: student.forward, backward: request.backward(student), ..Phases::default() };
    Ok(report(request, cpu, &pool, Measured { times, steps, work }))
}

/// What happened in all steps, those that do not count included.
#[derive(Default)]
struct Steps {
    /// Seconds of the parts.
    seconds: Vec<StepSeconds>,
    /// Bytes that the pool had allocated before the first step that counts.
    warm: usize,
}

impl Steps {
    fn done(&mut self, seconds: StepSeconds, pool: &Pool) {
        self.seconds.push(seconds);
        if self.seconds.len() == WARM_UP {
            self.warm = pool.allocated_bytes();
        }
    }
}

/// What the steps gave.
struct Measured {
    /// Seconds of each step that counts.
    times: Vec<f64>,
    steps: Steps,
    /// Operations of each part; bytes for the optimizer.
    work: Phases,
}

fn report(request: &StepRequest, cpu: &Cpu, pool: &Pool, measured: Measured) -> StepReport {
    let Measured { times, steps, work } = measured;
    let peak_rss_mb = machine::peak_bytes().map(|bytes| bytes as f64 / 1e6);
    let (count, seconds) = (times.len(), median(times));
    let part = |of: fn(&StepSeconds) -> f64| median(steps.seconds[WARM_UP..].iter().map(of).collect());
    let parts = Phases {
        teacher: part(|seconds| seconds.forward.teacher),
        student: part(|seconds| seconds.forward.student),
        loss: part(|seconds| seconds.forward.loss),
        backward: part(|seconds| seconds.backward),
        optimizer: part(|seconds| seconds.optimizer),
    };
    let rate = |work: f64, seconds: f64| if seconds > 0.0 { work / seconds / 1e9 } else { 0.0 };
    StepReport {
        images_per_second: request.batch as f64 / seconds,
        ms: seconds * 1e3,
        phases: parts.with(parts, |seconds, _| seconds * 1e3),
        rates: work.with(parts, rate),
        gflops: rate(work.teacher + work.student + work.loss + work.backward, seconds),
        peak_gflops: peak_gflops(cpu),
        peak_gbytes: peak_gbytes(cpu),
        peak_rss_mb,
        activations_mb: pool.peak_bytes() as f64 / 1e6,
        allocated_mb: (pool.allocated_bytes() - steps.warm) as f64 / 1e6,
        steps: count,
        request: request.clone(),
        place: Place::of(cpu),
    }
}

impl Phases {
    /// Joins the figures of two, part by part.
    fn with(self, other: Self, join: impl Fn(f64, f64) -> f64) -> Self {
        Self {
            teacher: join(self.teacher, other.teacher),
            student: join(self.student, other.student),
            loss: join(self.loss, other.loss),
            backward: join(self.backward, other.backward),
            optimizer: join(self.optimizer, other.optimizer),
        }
    }
}

/// The geometry of the crops of each size.
fn groups(backbone: &Backbone, request: &StepRequest) -> Vec<Patches> {
    let group = |view: &ViewSize| {
        let side = view.side as usize;
        backbone.patches(view.count as usize * request.batch, side, side)
    };
    request.views.iter().map(group).collect()
}

/// Byte crops of every size.
fn pixels(groups: &[Patches]) -> Vec<Vec<u8>> {
    let len = |group: &Patches| group.images * group.height * group.width * group.channels;
    groups.iter().zip(0..).map(|(group, seed)| bytes(len(group), seed)).collect()
}

/// A step in the middle of a run.
fn scheduled(step: usize) -> Scheduled {
    Scheduled {
        step,
        epoch: 1,
        lr: 1e-5,
        weight_decay: 0.04,
        momentum: 0.996,
        teacher_temp: 0.04,
        freeze_last_layer: false,
        freeze_backbone: false,
        ends_epoch: false,
    }
}

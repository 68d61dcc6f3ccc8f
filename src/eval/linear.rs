//! The linear probe: one linear layer on frozen features, trained by SGD: DINO (Caron et al. 2021), appendix F.2 /
//! `eval_linear.py`; several learning rates at once as DINOv2 (Oquab et al. 2023) does.
//!
//! Weights start as N(0, 0.01²), biases at 0; features are taken as they are. SGD with momentum 0.9 and without weight decay; the learning
//! rate is `rate · batch / 256` and follows a cosine from epoch to epoch to 0; cross-entropy. Accuracy is measured after every epoch.
//!
//! One layer for each learning rate, all from the same start: they lie one below the other in one matrix, so that a step is two products
//! whatever their number. A layer that diverges does not touch the others.

use dinoxide_engine::kernels::{Kernels, Linear, LinearSize, Targets};
use dinoxide_views::sampler::epoch_permutation;
use rayon::prelude::*;
use serde::Serialize;

use super::EvalError;
use super::classifier::{Accuracy, ClassifierError, LabelledRows, best, check_count, rank};
use super::linear_part::{Layers, PartGradient, part_gradient};
use crate::nn::init::{Init, Registry};

/// Standard deviation of the weights at the start.
const WEIGHT_STD: f64 = 0.01;
/// Momentum of SGD.
pub const MOMENTUM: f32 = 0.9;
/// Learning rates are those of batches of so many images.
pub const REFERENCE_BATCH: f64 = 256.0;
/// Most epochs.
pub const MOST_EPOCHS: usize = 1_000_000;
/// Most images of a step.
pub const MOST_BATCH: usize = 1 << 24;
/// Rows of one product when nothing is learnt.
const BLOCK: usize = 1024;
/// Outputs up to which a step comes part by part. Beyond them the gradients of the parts take longer than they save; from 20 on that depends on how busy
/// the last-level cache is: at 60 parts are 8 % slower on a quiet machine, and 30 % faster on one that others use.
const FEW_OUTPUTS: usize = 64;
/// Rows of such a part: 400 KB of 1536 values each, a part of the second-level cache.
const PART: usize = 64;
/// Values of the parts' gradients that one task sums up.
const SUMMED: usize = 1 << 11;
/// Rows that one task copies into a batch.
const GATHERED: usize = 16;
/// Logits of a batch that one task turns into gradients, about.
const SOFTMAX_PART: usize = 1 << 14;
/// Rows of the matrix that one task updates.
const ROWS_AT_ONCE: usize = 32;

/// How the layers are trained.
#[derive(Debug, Clone, PartialEq)]
pub struct Course {
    /// Learning rates for batches of 256 images.
    pub rates: Vec<f64>,
    /// Times that every image is seen.
    pub epochs: usize,
    /// Images of a step.
    pub batch: usize,
    /// Seed of the start and of the order of the images.
    pub seed: u64,
}

impl Course {
    /// Checks all numbers.
    ///
    /// # Errors
    /// [`ClassifierError`] names the one that cannot be used.
    pub fn check(&self) -> Result<(), ClassifierError> {
        if self.rates.is_empty() {
            return Err(ClassifierError::Nothing { what: "learning rate" });
        }
        let positive = |what, value: f64, example| match value > 0.0 && value.is_finite() {
            true => Ok(()),
            false => Err(ClassifierError::NotPositive { what, value, example }),
        };
        self.rates.iter().try_for_each(|rate| positive("learning rate", *rate, "0.001"))?;
        check_count("the number of epochs", self.epochs, MOST_EPOCHS, "100")?;
        check_count("the batch", self.batch, MOST_BATCH, "256")
    }

    /// The learning rates that steps of this batch take at the start.
    pub fn scaled_rates(&self) -> Vec<f64> {
        self.rates.iter().map(|rate| rate * self.batch as f64 / REFERENCE_BATCH).collect()
    }

    /// What the learning rates are multiplied with in an epoch, from 0: (1 + cos(π·epoch/epochs))/2.
    pub fn factor(&self, epoch: usize) -> f64 {
        (1.0 + (std::f64::consts::PI * epoch as f64 / self.epochs as f64).cos()) / 2.0
    }

    /// The order of the images in an epoch.
    pub fn order(&self, epoch: usize, images: usize) -> Vec<u32> {
        epoch_permutation(self.seed, epoch as u64, images as u32)
    }
}

/// A linear layer.
#[derive(Debug, Clone, PartialEq)]
pub struct LinearLayer {
    /// `[classes, D]`
    pub weight: Vec<f32>,
    /// `[classes]`
    pub bias: Vec<f32>,
}

impl LinearLayer {
    /// One as training starts with, for `dim` values and `classes` classes.
    pub fn drawn(dim: usize, classes: usize, seed: u64) -> Self {
        let mut registry = Registry::new();
        registry.trained("linear.weight".to_owned(), &[classes, dim], Init::TruncNormal(WEIGHT_STD));
        Self { weight: registry.finish(seed).values().to_vec(), bias: vec![0.0; classes] }
    }

    /// Number of classes.
    pub fn classes(&self) -> usize {
        self.bias.len()
    }

    /// Values that it takes.
    pub fn dim(&self) -> usize {
        self.weight.len() / self.bias.len().max(1)
    }

    /// Accuracy on labelled features, and the class that each row is taken for.
    pub fn evaluate(&self, kernels: &dyn Kernels<f32>, rows: LabelledRows<'_>) -> (Accuracy, Vec<u32>) {
        let classes = self.classes();
        let (mut ranks, mut predictions) = (Vec::new(), Vec::new());
        logits_of(kernels, (&self.weight, &self.bias), rows, |logits, labels| {
            let rows = || logits.chunks_exact(classes);
            ranks.extend(rows().zip(labels).map(|(logits, label)| rank(logits, *label)));
            predictions.extend(rows().map(best));
        });
        (Accuracy::of(ranks.into_iter()), predictions)
    }
}

/// Calls `each` with the logits of some rows after the other, `[rows, outputs]`, and their labels.
fn logits_of(
    kernels: &dyn Kernels<f32>,
    (weight, bias): (&[f32], &[f32]),
    rows: LabelledRows<'_>,
    mut each: impl FnMut(&[f32], &[u32]),
) {
    let (inputs, outputs) = (rows.dim(), bias.len());
    let mut logits = vec![0.0; BLOCK.min(rows.count()) * outputs];
    for (x, labels) in rows.features().chunks(BLOCK * inputs).zip(rows.labels().chunks(BLOCK)) {
        let size = LinearSize { rows: labels.len(), inputs, outputs };
        let logits = &mut logits[..labels.len() * outputs];
        let op = Linear { x: x.into(), weight, bias: Some(bias), size, packed: None };
        kernels.linear(op, (&mut *logits).into());
        each(logits, labels);
    }
}

/// Linear layers in training, one for each learning rate.
pub struct LinearProbe<'k> {
    kernels: &'k dyn Kernels<f32>,
    rates: Vec<f32>,
    dim: usize,
    classes: usize,
    weight: Vec<f32>, // [rates, classes, D]
    bias: Vec<f32>,   // [rates, classes]
    // Already times the momentum, so that a gradient is simply added.
    weight_momentum: Vec<f32>,
    bias_momentum: Vec<f32>,
    center: Vec<f32>, // [classes], zero: what the kernel of DINO's softmax takes off
    // Of a step, kept for the next: [B, rates, classes] each.
    logits: Vec<f32>,
    grad: Vec<f32>,
}

impl<'k> LinearProbe<'k> {
    /// Layers that all start as `start`, one for each of these learning rates of a step.
    pub fn new(kernels: &'k dyn Kernels<f32>, start: &LinearLayer, rates: &[f64]) -> Self {
        let (weight, bias) = (start.weight.repeat(rates.len()), start.bias.repeat(rates.len()));
        Self {
            kernels,
            rates: rates.iter().map(|rate| *rate as f32).collect(),
            dim: start.dim(),
            classes: start.classes(),
            weight_momentum: vec![0.0; weight.len()],
            bias_momentum: vec![0.0; bias.len()],
            weight,
            bias,
            center: vec![0.0; start.classes()],
            logits: Vec::new(),
            grad: Vec::new(),
        }
    }

    /// One step of SGD with the learning rates times `factor`; returns the sum of the rows' losses for each learning rate, as they were
    /// before the step.
    pub fn step(&mut self, rows: LabelledRows<'_>, factor: f64) -> Vec<f64> {
        let (count, outputs) = (rows.count(), self.bias.len());
        let size = LinearSize { rows: count, inputs: self.dim, outputs };
        self.logits.resize(count * outputs, 0.0);
        self.grad.resize(count * outputs, 0.0);
        // The smaller operand is the one to be copied into the order of the product.
        let packed = if outputs < count { self.kernels.pack(&self.weight, size) } else { None };
        let (weight, bias) = (&self.weight, Some(&*self.bias));
        let op = Linear { x: rows.features().into(), weight, bias, size, packed: packed.as_ref() };
        self.kernels.linear(op, (&mut self.logits).into());
        // Softmax first, then the gradient of the mean loss.
        self.kernels.targets(Targets { logits: &self.logits, center: &self.center, temp: 1.0 }, &mut self.grad);
        let losses = softmax_to_gradient(&self.logits, &mut self.grad, rows.labels(), self.classes);
        self.kernels.linear_weight_grad(
            (&self.grad).into(),
            rows.features().into(),
            size,
            &mut self.weight_momentum,
            Some(&mut self.bias_momentum),
        );
        self.update(factor as f32);
        losses
    }

    /// The same step with the rows at these places, which comes part by part: faster for few outputs.
    fn step_by_parts(&mut self, rows: LabelledRows<'_>, places: &[u32], factor: f64) -> Vec<f64> {
        let layers = Layers { weight: &self.weight, bias: &self.bias, classes: self.classes };
        let scale = 1.0 / places.len() as f32;
        let parts = places.par_chunks(PART).map(|places| part_gradient(rows, places, layers, scale));
        let parts: Vec<PartGradient> = parts.collect();
        // In the order of the parts, whichever was ready first.
        self.weight_momentum.par_chunks_mut(SUMMED).enumerate().for_each(|(number, momentum)| {
            for part in &parts {
                let gradient = &part.weight[number * SUMMED..];
                momentum.iter_mut().zip(gradient).for_each(|(sum, value)| *sum += value);
            }
        });
        let mut losses = vec![0.0; self.rates.len()];
        for part in parts {
            self.bias_momentum.iter_mut().zip(&part.bias).for_each(|(sum, value)| *sum += value);
            losses.iter_mut().zip(&part.losses).for_each(|(loss, sum)| *loss += sum);
        }
        self.update(factor as f32);
        losses
    }

    /// Takes the momentum times the learning rate off the layers, and makes it ready for the next gradient.
    fn update(&mut self, factor: f32) {
        let (classes, dim, rates) = (self.classes, self.dim, &self.rates);
        let step = |rate: f32, values: &mut [f32], momentum: &mut [f32]| {
            for (value, momentum) in values.iter_mut().zip(momentum) {
                *value -= rate * factor * *momentum;
                *momentum *= MOMENTUM;
            }
        };
        let rows = self.weight.par_chunks_mut(dim).zip(self.weight_momentum.par_chunks_mut(dim));
        let rows = rows.enumerate().with_min_len(ROWS_AT_ONCE);
        rows.for_each(|(row, (values, momentum))| step(rates[row / classes], values, momentum));
        let layers = self.bias.chunks_mut(classes).zip(self.bias_momentum.chunks_mut(classes));
        layers.zip(rates).for_each(|((values, momentum), rate)| step(*rate, values, momentum));
    }

    /// Trains on all rows once, in this order, `batch` at a time; returns the mean loss for each learning rate.
    pub fn epoch(&mut self, rows: LabelledRows<'_>, order: &[u32], batch: usize, factor: f64) -> Vec<f64> {
        let mut losses = vec![0.0; self.rates.len()];
        let mut add = |sums: Vec<f64>| losses.iter_mut().zip(sums).for_each(|(loss, sum)| *loss += sum);
        if self.bias.len() <= FEW_OUTPUTS {
            order.chunks(batch).for_each(|places| add(self.step_by_parts(rows, places, factor)));
            losses.iter_mut().for_each(|loss| *loss /= order.len() as f64);
            return losses;
        }
        let (mut features, mut labels) = (Vec::new(), Vec::new());
        let _awake = self.kernels.stay_awake();
        for places in order.chunks(batch) {
            features.resize(places.len() * self.dim, 0.0);
            let gathered = features.par_chunks_mut(self.dim).zip(places).with_min_len(GATHERED);
            // The only time that an epoch reads a row from memory; everything else finds the batch in a cache.
            gathered.for_each(|(row, place)| {
                row.copy_from_slice(&rows.features()[*place as usize * self.dim..][..self.dim]);
            });
            labels.clear();
            labels.extend(places.iter().map(|place| rows.labels()[*place as usize]));
            add(self.step(rows.replaced(&features, &labels), factor));
        }
        losses.iter_mut().for_each(|loss| *loss /= order.len() as f64);
        losses
    }

    /// The accuracy of every layer.
    pub fn evaluate(&self, rows: LabelledRows<'_>) -> Vec<Accuracy> {
        let (classes, outputs) = (self.classes, self.bias.len());
        let mut ranks = vec![Vec::with_capacity(rows.count()); self.rates.len()];
        logits_of(self.kernels, (&self.weight, &self.bias), rows, |logits, labels| {
            let rows = logits.par_chunks_exact(outputs).zip(labels);
            let found = rows.map(|(logits, label)| {
                logits.chunks_exact(classes).map(|logits| rank(logits, *label)).collect::<Vec<_>>()
            });
            for of_row in found.collect::<Vec<_>>() {
                ranks.iter_mut().zip(of_row).for_each(|(ranks, rank)| ranks.push(rank));
            }
        });
        ranks.into_iter().map(|ranks| Accuracy::of(ranks.into_iter())).collect()
    }

    /// The layer of a learning rate.
    pub fn layer(&self, rate: usize) -> LinearLayer {
        self.part(rate, &self.weight, &self.bias)
    }

    /// The momentum of a learning rate's layer, as PyTorch keeps it.
    pub fn momentum(&self, rate: usize) -> LinearLayer {
        let mut part = self.part(rate, &self.weight_momentum, &self.bias_momentum);
        part.weight.iter_mut().chain(&mut part.bias).for_each(|value| *value /= MOMENTUM);
        part
    }

    fn part(&self, rate: usize, weights: &[f32], biases: &[f32]) -> LinearLayer {
        let len = self.classes * self.dim;
        LinearLayer {
            weight: weights[rate * len..][..len].to_vec(),
            bias: biases[rate * self.classes..][..self.classes].to_vec(),
        }
    }
}

/// Turns softmaxes `[B, layers, classes]` into gradients of the mean cross-entropy; returns the sum of the losses of each layer.
fn softmax_to_gradient(logits: &[f32], grad: &mut [f32], labels: &[u32], classes: usize) -> Vec<f64> {
    let scale = 1.0 / labels.len() as f32;
    let width = logits.len() / labels.len();
    // Parts by shape alone, summed up in order: the same bits for any number of threads.
    let rows = (SOFTMAX_PART / width).max(1);
    let parts = logits.par_chunks(rows * width).zip(grad.par_chunks_mut(rows * width)).zip(labels.par_chunks(rows));
    let sums: Vec<Vec<f64>> =
        parts.map(|((logits, grad), labels)| part_to_gradient(logits, grad, (labels, classes), scale)).collect();
    let mut losses = vec![0.0; width / classes];
    for of_part in sums {
        losses.iter_mut().zip(of_part).for_each(|(loss, sum)| *loss += sum);
    }
    losses
}

/// The same for some rows, their gradients times `scale`.
fn part_to_gradient(logits: &[f32], grad: &mut [f32], (labels, classes): (&[u32], usize), scale: f32) -> Vec<f64> {
    let width = logits.len() / labels.len();
    let mut losses = vec![0.0; width / classes];
    let rows = logits.chunks_exact(width).zip(grad.chunks_exact_mut(width));
    for ((logits, grad), label) in rows.zip(labels) {
        let label = *label as usize;
        let layers = logits.chunks_exact(classes).zip(grad.chunks_exact_mut(classes));
        for ((logits, grad), loss) in layers.zip(&mut losses) {
            // The logarithm of a probability that is hardly above 0 has lost its digits.
            const SMALL: f32 = 1e-30;
            let prob = grad[label];
            *loss += if prob > SMALL { -f64::from(prob).ln() } else { cross_entropy(logits, label) };
            grad[label] -= 1.0;
            grad.iter_mut().for_each(|value| *value *= scale);
        }
    }
    losses
}

/// The cross-entropy of one row, in f64.
fn cross_entropy(logits: &[f32], label: usize) -> f64 {
    let max = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let sum: f64 = logits.iter().map(|logit| f64::from(logit - max).exp()).sum();
    f64::from(max) + sum.ln() - f64::from(logits[label])
}

/// What an epoch gave.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct EpochScore {
    /// Mean loss of the training rows during the epoch, nats.
    pub loss: f64,
    /// On the validation rows after it.
    #[serde(flatten)]
    pub accuracy: Accuracy,
}

/// The best layer of all learning rates and epochs.
#[derive(Debug, Clone, PartialEq)]
pub struct BestLayer {
    /// Place of its learning rate.
    pub rate: usize,
    /// Epochs done, from 1.
    pub epoch: usize,
    /// Its accuracy.
    pub accuracy: Accuracy,
    /// The layer.
    pub layer: LinearLayer,
    /// Its momentum.
    pub momentum: LinearLayer,
}

/// Trained layers.
#[derive(Debug, Clone, PartialEq)]
pub struct Fitted {
    /// For each learning rate what every epoch gave.
    pub curves: Vec<Vec<EpochScore>>,
    /// The best.
    pub best: BestLayer,
}

/// Trains for all epochs of a course and keeps the best layer: `epoch` trains on all images once with the learning rates times a factor,
/// given the number of the epoch and the factor, and returns the mean losses; `each` sees what every epoch gave.
///
/// # Errors
/// Those of `epoch`; [`ClassifierError::Diverged`] if no layer has a finite loss in the end.
pub fn fit<E: From<EvalError>>(
    probe: &mut LinearProbe<'_>,
    course: &Course,
    val: LabelledRows<'_>,
    mut epoch: impl FnMut(&mut LinearProbe<'_>, usize, f64) -> Result<Vec<f64>, E>,
    mut each: impl FnMut(usize, &[EpochScore]),
) -> Result<Fitted, E> {
    course.check().map_err(EvalError::from)?;
    let mut curves = vec![Vec::new(); probe.rates.len()];
    let mut kept: Option<BestLayer> = None;
    for number in 0..course.epochs {
        let losses = epoch(probe, number, course.factor(number))?;
        let accuracies = probe.evaluate(val);
        let scores = losses.into_iter().zip(accuracies).map(|(loss, accuracy)| EpochScore { loss, accuracy });
        let scores: Vec<EpochScore> = scores.collect();
        for (rate, score) in scores.iter().enumerate() {
            let beaten = kept.as_ref().is_none_or(|kept| score.accuracy.top1 > kept.accuracy.top1);
            if beaten && score.loss.is_finite() {
                let (layer, momentum) = (probe.layer(rate), probe.momentum(rate));
                kept = Some(BestLayer { rate, epoch: number + 1, accuracy: score.accuracy, layer, momentum });
            }
        }
        each(number + 1, &scores);
        curves.iter_mut().zip(&scores).for_each(|(curve, score)| curve.push(*score));
    }
    let best = kept.ok_or(ClassifierError::Diverged).map_err(EvalError::from)?;
    Ok(Fitted { curves, best })
}

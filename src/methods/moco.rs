//! MoCo: queries of a student find their keys, which its moving average gives. Version 2 (Chen et al. 2020) looks for one view's keys
//! among those of earlier batches, version 3 (Chen et al. 2021) for both views' among those of the batch; `moco/builder.py`.
//! InfoMin (Tian et al. 2020) is version 2 with another temperature and stronger views, and asks with a jigsaw of the first view too.
//!
//! The average is updated after each step, which is before the next one's keys, as published; version 3's momentum is therefore that
//! of the step before. Shuffled batch normalisation needs several processes: here the keys' view is one batch, as on one GPU.

use dinoxide_engine::params::Params;
use dinoxide_engine::tape::{Images, Pixels, Tape};
use dinoxide_engine::tensor::Matrix;
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

use super::queue::Queue;
use super::{
    Encoder, EncoderConfig, Forward, ForwardSeconds, Lap, Method, NORMALIZE_EPS, Outputs, StateTensor, Views, store,
    to_unit_length,
};
use crate::loss::contrast::{in_batch, with_queue};
use crate::nn::backbone::Backbone;
use crate::nn::init::{Registry, standard_normal};
use crate::nn::jigsaw::{CELLS, JigsawDraw, JigsawHead, patch_side};
use crate::nn::mlp::{LastLayer, Mlp, MlpConfig};
use crate::schedule::Scheduled;

/// What MoCo is made of.
#[derive(Debug, Clone, PartialEq)]
pub struct MocoConfig {
    /// The backbone.
    pub encoder: EncoderConfig,
    /// Width of the hidden layers.
    pub hidden_dim: usize,
    /// Width of queries and keys.
    pub out_dim: usize,
    /// Linear layers of the projector.
    pub layers: usize,
    /// Temperature: 0.2 in version 2; in version 3 0.2 for ViTs, 1 for ResNets.
    pub temperature: f64,
    /// Where the keys of other images come from.
    pub negatives: Negatives,
    /// Share of the loss that the jigsaw of the first view has, 0.5 in InfoMin; of version 2 alone.
    pub jigsaw: Option<f64>,
}

/// Where the keys of other images come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Negatives {
    /// Version 2: so many keys of earlier batches, 65,536 in the paper.
    Queue(usize),
    /// Version 3: the batch. The student has a predictor then.
    Batch,
}

/// The average, the queue, and the shape of both networks.
#[derive(Debug, Clone)]
pub struct Moco {
    encoder: Encoder,
    projector: Mlp,
    predictor: Option<Mlp>,
    teacher: Params,
    queue: Option<Queue>,
    /// What makes a query of a jigsaw, and the share of its loss.
    jigsaw: Option<(JigsawHead, f64)>,
    temperature: f64,
}

impl Moco {
    /// Builds both networks and returns the method with the student's parameters. The average starts as an exact copy, the queue
    /// with random keys.
    pub fn new(config: &MocoConfig) -> (Self, Params) {
        let mut registry = Registry::new();
        let encoder = Encoder::new(&config.encoder, &mut registry);
        let MocoConfig { hidden_dim, out_dim, layers, temperature, .. } = *config;
        let last = match config.negatives {
            Negatives::Queue(_) => LastLayer::Biased,
            Negatives::Batch => LastLayer::PlainNormed,
        };
        let sizes = MlpConfig { in_dim: encoder.backbone.dim(), hidden_dim, out_dim, layers, last };
        let projector = Mlp::new(&sizes, "projector.", &mut registry);
        let (predictor, queue) = match config.negatives {
            Negatives::Queue(len) => (None, Some(random_queue(len, out_dim, config.encoder.seed))),
            Negatives::Batch => {
                let sizes = MlpConfig { in_dim: out_dim, layers: 2, ..sizes };
                (Some(Mlp::new(&sizes, "predictor.", &mut registry)), None)
            }
        };
        let jigsaw = config.jigsaw.filter(|_| queue.is_some());
        let jigsaw = jigsaw.map(|share| (JigsawHead::new(&sizes, "projector.jigsaw.", &mut registry), share));
        let student = registry.finish(config.encoder.seed);
        (Self { encoder, projector, predictor, teacher: student.clone(), queue, jigsaw, temperature }, student)
    }

    /// Projections of a crop, then those of its jigsaw, `[2·B, out_dim]`.
    fn with_jigsaw(&self, tape: &mut Tape<'_>, crop: Images<'_>, views: &Views<'_>, at: &Scheduled) -> Option<Matrix> {
        let (head, _) = self.jigsaw.as_ref()?;
        let (backbone, images) = (&self.encoder.backbone, views.images);
        let unit = if let Backbone::ResNet(_) = backbone { 1 } else { backbone.stride() };
        let side = patch_side(crop.patches.height.min(crop.patches.width), unit);
        let draw = JigsawDraw { seed: self.encoder.seed, step: at.step as u64, first_image: views.first_image };
        let (bytes, values);
        let pixels = match crop.pixels {
            Pixels::Bytes(pixels) => {
                bytes = draw.patches(pixels, crop.patches, side);
                Pixels::Bytes(&bytes)
            }
            Pixels::Values(pixels) => {
                values = draw.patches(pixels, crop.patches, side);
                Pixels::Values(&values)
            }
        };
        let pieces = Images { pixels, patches: backbone.patches(CELLS * images, side, side) };
        let features = self.encoder.student(tape, &[crop, pieces], views, at); // [10·B, D]
        let count = images as u32;
        let whole = tape.gather_rows(&features, (0..count).collect());
        let pieces = tape.gather_rows(&features, (count..(1 + CELLS as u32) * count).collect());
        let parts = [self.projector.forward(tape, &whole, 1), head.forward(tape, &pieces, &draw)];
        Some(tape.stack(&parts))
    }

    /// Unit rows that the average makes of the views, each of them normalised by itself.
    fn keys(&self, tape: &mut Tape<'_>, views: &[Images<'_>]) -> Vec<f32> {
        let features = self.encoder.backbone.features(tape, views, None);
        let projections = self.projector.forward(tape, &features, views.len());
        tape.l2_normalize(&projections, NORMALIZE_EPS).values().to_vec()
    }
}

/// Random keys of unit length.
fn random_queue(len: usize, width: usize, seed: u64) -> Queue {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let mut values: Vec<f32> = (0..len * width).map(|_| standard_normal(&mut random) as f32).collect();
    values.chunks_exact_mut(width).for_each(to_unit_length);
    Queue::new(values, width)
}

impl Method for Moco {
    fn forward(&self, tape: &mut Tape<'_>, views: &Views<'_>, at: &Scheduled) -> Forward {
        let mut clock = Lap::start();
        let apart = views.apart(1);
        // Version 2 asks for the second view's keys with the first view's queries.
        let (asking, answering) =
            if self.queue.is_some() { (&apart[..1], &apart[1..]) } else { (&apart[..], &apart[..]) };
        let mut frozen = Tape::infer(tape.kernels(), &self.teacher, tape.pool());
        frozen.continue_statistics(views.teacher_statistics.clone());
        let keys = self.keys(&mut frozen, answering);
        let teacher = clock.seconds();

        let mut queries = match self.with_jigsaw(tape, asking[0], views, at) {
            Some(queries) => queries,
            None => {
                let features = self.encoder.student(tape, asking, views, at);
                self.projector.forward(tape, &features, asking.len())
            }
        };
        if let Some(predictor) = &self.predictor {
            queries = predictor.forward(tape, &queries, asking.len());
        }
        let queries = tape.l2_normalize(&queries, NORMALIZE_EPS);
        let student = clock.seconds();

        let loss = match &self.queue {
            Some(queue) => {
                let shares = self.jigsaw.as_ref().map_or(vec![1.0], |(_, share)| vec![1.0 - share, *share]);
                with_queue(tape, &queries, &keys, queue.values(), (self.temperature, &shares))
            }
            None => in_batch(tape, &queries, &keys, self.temperature),
        };
        let (student_statistics, teacher_statistics) = (tape.take_statistics(), frozen.take_statistics());
        let outputs = Outputs { keys: vec![keys], student_statistics, teacher_statistics, ..Outputs::default() };
        Forward { loss, outputs, seconds: ForwardSeconds { teacher, student, loss: clock.seconds() } }
    }

    fn average(&mut self, at: &Scheduled) -> Option<(&mut Params, f64)> {
        Some((&mut self.teacher, at.momentum))
    }

    fn after_update(&mut self, outputs: Outputs, _at: &Scheduled) {
        if let Some(queue) = &mut self.queue {
            outputs.keys.iter().for_each(|keys| queue.push(keys));
        }
        store(&mut self.teacher, outputs.teacher_statistics);
    }

    fn backbone(&self) -> (&Backbone, &Params) {
        (&self.encoder.backbone, &self.teacher)
    }

    fn state(&self) -> Vec<StateTensor> {
        self.queue.iter().flat_map(|queue| queue.state(["queue", "queue_ptr"])).collect()
    }

    fn restore(&mut self, name: &str, values: &[f32]) -> bool {
        self.queue.as_mut().is_some_and(|queue| queue.restore(["queue", "queue_ptr"], name, values))
    }

    fn teacher_mut(&mut self) -> &mut Params {
        &mut self.teacher
    }
}

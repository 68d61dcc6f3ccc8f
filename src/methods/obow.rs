//! OBoW: the student predicts which visual words its average sees in another crop of the image. OBoW (Gidaris et al. 2021),
//! sections 3.1 to 3.3; `obow/bow_extractor.py`, `obow/classification` of the original.
//!
//! The vocabulary is a queue of the average's local features of earlier batches, of its last level. The student's features meet
//! weights that a small network makes of the words, so that the words may change with every step.

use dinoxide_engine::params::Params;
use dinoxide_engine::tape::Tape;
use dinoxide_engine::tensor::Matrix;
use rand::{Rng as _, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;

use super::queue::Queue;
use super::{
    Encoder, EncoderConfig, Forward, ForwardSeconds, Lap, Method, NORMALIZE_EPS, Outputs, StateTensor, Views, store,
    to_unit_length,
};
use crate::loss::bag::{bag_divergence, bag_of_words};
use crate::nn::backbone::Backbone;
use crate::nn::draws::keyed;
use crate::nn::init::{Registry, standard_normal};
use crate::nn::mlp::{LastLayer, Mlp, MlpConfig};
use crate::schedule::Scheduled;

/// Sharpness of the assignment to words, as a multiple of one by the mean distance to the nearest.
const SHARPNESS: f64 = 15.0;
/// Mean distance before the first step, and the share of it that is kept at each.
const FIRST_DISTANCE: f32 = 0.5;
const DISTANCE_MOMENTUM: f64 = 0.99;
/// Names of the state in checkpoints.
const WORDS: [&str; 2] = ["queue", "queue_ptr"];
const DISTANCE: &str = "distance";
/// Tells these draws from others of the same seed, step and image.
const PURPOSE: u64 = 2 << 32;

/// What OBoW is made of.
#[derive(Debug, Clone, PartialEq)]
pub struct ObowConfig {
    /// The backbone.
    pub encoder: EncoderConfig,
    /// Width of the hidden layer that makes weights of words, 4096 in the paper.
    pub hidden_dim: usize,
    /// Temperature of the predictions, 1/8 in the paper.
    pub temperature: f64,
    /// Number of words, 8192 in the paper.
    pub words: usize,
}

/// The average, the vocabulary, and the shape of both networks.
#[derive(Debug, Clone)]
pub struct Obow {
    encoder: Encoder,
    generator: Mlp,
    teacher: Params,
    words: Queue,
    /// Running mean of the squared distance of a place to its nearest word.
    distance: f32,
    temperature: f64,
}

/// What the average sees in the global crops.
struct Seen {
    bags: Vec<f32>,      // [views·B, K]
    words: Vec<f32>,     // [B, D]
    distances: Vec<f32>, // [B]
}

impl Obow {
    /// Builds both networks and returns the method with the student's parameters. The average starts as an exact copy, the
    /// vocabulary with random words.
    pub fn new(config: &ObowConfig) -> (Self, Params) {
        let mut registry = Registry::new();
        let encoder = Encoder::new(&config.encoder, &mut registry);
        let width = encoder.backbone.dim();
        let ObowConfig { hidden_dim, temperature, words, .. } = *config;
        let sizes = MlpConfig { in_dim: width, hidden_dim, out_dim: width, layers: 2, last: LastLayer::Biased };
        let generator = Mlp::new(&sizes, "predictor.", &mut registry);
        let student = registry.finish(config.encoder.seed);
        let mut random = ChaCha8Rng::seed_from_u64(config.encoder.seed);
        // What a ResNet sees is not negative.
        let least = if let Backbone::ResNet(_) = encoder.backbone { 0.0 } else { f32::NEG_INFINITY };
        let words = (0..words * width).map(|_| (standard_normal(&mut random) as f32).max(least)).collect();
        let words = Queue::new(words, width);
        let teacher = student.clone();
        (Self { encoder, generator, teacher, words, distance: FIRST_DISTANCE, temperature }, student)
    }

    /// Bags of the global crops, and a new word of the first crop of each image.
    fn seen(&self, tape: &mut Tape<'_>, views: &Views<'_>, at: &Scheduled) -> Seen {
        let (backbone, sharpness) = (&self.encoder.backbone, SHARPNESS / f64::from(self.distance));
        let (width, vocabulary) = (backbone.dim(), self.words.values());
        let (mut bags, mut words, mut distances) = (Vec::new(), Vec::new(), vec![0.0; views.images]);
        let crops = views.apart(1);
        for (view, crop) in crops.iter().enumerate() {
            let (rows, columns) = backbone.grid(crop.patches.height, crop.patches.width);
            let tokens = backbone.tokens(tape, *crop); // [B, 1 + N, D]
            let maps: Vec<Map> = tokens
                .par_chunks_exact((1 + rows * columns) * width)
                .map(|tokens| Map::inside(&tokens[width..], [rows, columns], width))
                .collect();
            let found: Vec<(Vec<f32>, f64)> =
                maps.par_iter().map(|map| bag_of_words(&map.values, vocabulary, width, sharpness)).collect();
            for (image, (bag, distance)) in found.into_iter().enumerate() {
                bags.extend(bag);
                distances[image] += distance as f32 / crops.len() as f32;
                if view == 0 {
                    words.extend(maps[image].word(width, &mut self.random(at.step, views.first_image + image)));
                }
            }
        }
        Seen { bags, words, distances }
    }

    fn random(&self, step: usize, image: usize) -> ChaCha8Rng {
        keyed([self.encoder.seed, step as u64, image as u64, PURPOSE])
    }

    /// A weight for each word, `[K, D]` at unit length.
    fn weights(&self, tape: &mut Tape<'_>) -> Matrix {
        let width = self.encoder.backbone.dim();
        let mut words = self.words.values().to_vec();
        words.chunks_exact_mut(width).for_each(to_unit_length);
        let words = tape.constant(&words, words.len() / width, width);
        let weights = self.generator.forward(tape, &words, 1);
        tape.l2_normalize(&weights, NORMALIZE_EPS)
    }
}

/// Local features of an image.
struct Map {
    values: Vec<f32>, // [rows·columns, D]
    rows: usize,
    columns: usize,
}

impl Map {
    /// The features inside of the border, if there is an inside.
    fn inside(features: &[f32], [rows, columns]: [usize; 2], width: usize) -> Self {
        let border = usize::from(rows > 2 && columns > 2);
        let lines = features.chunks_exact(columns * width).skip(border).take(rows - 2 * border);
        let values = lines.flat_map(|line| &line[border * width..(columns - border) * width]).copied().collect();
        Self { values, rows: rows - 2 * border, columns: columns - 2 * border }
    }

    /// The mean around a random place: 3 × 3 features, as far as they are there.
    fn word(&self, width: usize, random: &mut ChaCha8Rng) -> Vec<f32> {
        let place = (random.next_u64() % (self.rows * self.columns) as u64) as usize;
        let around = |at: usize, count: usize| at.saturating_sub(1)..(at + 2).min(count);
        let (rows, columns) = (around(place / self.columns, self.rows), around(place % self.columns, self.columns));
        let count = (rows.len() * columns.len()) as f64;
        let mut sum = vec![0.0; width];
        for place in rows.flat_map(|row| columns.clone().map(move |column| row * self.columns + column)) {
            let feature = &self.values[place * width..][..width];
            sum.iter_mut().zip(feature).for_each(|(sum, value)| *sum += f64::from(*value));
        }
        sum.into_iter().map(|sum| (sum / count) as f32).collect()
    }
}

impl Method for Obow {
    fn forward(&self, tape: &mut Tape<'_>, views: &Views<'_>, at: &Scheduled) -> Forward {
        let mut clock = Lap::start();
        let mut frozen = Tape::infer(tape.kernels(), &self.teacher, tape.pool());
        frozen.continue_statistics(views.teacher_statistics.clone());
        let Seen { bags, words, distances } = self.seen(&mut frozen, views, at);
        let teacher = clock.seconds();

        let features = self.encoder.student(tape, &views.groups, views, at); // [V·B, D]
        let weights = self.weights(tape); // [K, D]
        let both = tape.stack(&[features, weights]);
        let student = clock.seconds();

        let loss = bag_divergence(tape, &both, &bags, views.count(), self.temperature);
        let (student_statistics, teacher_statistics) = (tape.take_statistics(), frozen.take_statistics());
        let keys = vec![words, distances];
        let outputs = Outputs { keys, student_statistics, teacher_statistics, ..Outputs::default() };
        Forward { loss, outputs, seconds: ForwardSeconds { teacher, student, loss: clock.seconds() } }
    }

    fn average(&mut self, at: &Scheduled) -> Option<(&mut Params, f64)> {
        Some((&mut self.teacher, at.momentum))
    }

    fn after_update(&mut self, outputs: Outputs, _at: &Scheduled) {
        if let [words, distances] = outputs.keys.as_slice() {
            self.words.push(words);
            let mean = distances.iter().map(|distance| f64::from(*distance)).sum::<f64>() / distances.len() as f64;
            let kept = DISTANCE_MOMENTUM * f64::from(self.distance);
            self.distance = (kept + (1.0 - DISTANCE_MOMENTUM) * mean) as f32;
        }
        store(&mut self.teacher, outputs.teacher_statistics);
    }

    fn backbone(&self) -> (&Backbone, &Params) {
        (&self.encoder.backbone, &self.teacher)
    }

    fn state(&self) -> Vec<StateTensor> {
        let distance = StateTensor { name: DISTANCE, shape: vec![1], values: vec![self.distance] };
        self.words.state(WORDS).into_iter().chain([distance]).collect()
    }

    fn restore(&mut self, name: &str, values: &[f32]) -> bool {
        if let (DISTANCE, [distance]) = (name, values) {
            self.distance = *distance;
            return true;
        }
        self.words.restore(WORDS, name, values)
    }

    fn teacher_mut(&mut self) -> &mut Params {
        &mut self.teacher
    }
}

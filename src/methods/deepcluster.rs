//! DeepCluster v2: every crop of an image predicts the cluster that the image was put into after the epoch before. Explicit clusters
//! of SwAV (Caron et al. 2020), section 4.1 and appendix; `main_deepclusterv2.py`.
//!
//! A memory holds the last embeddings of both global crops of every image. At the end of an epoch spherical k-means divides them,
//! once for each head; its centroids are the prototypes of the next epoch, which have no gradient. The original fills the memory by
//! a pass before the first step. Here the first epoch fills it, and nothing is learnt in it.

use dinoxide_engine::params::Params;
use dinoxide_engine::tape::Tape;
use rand::Rng as _;

use super::spherical_kmeans::spherical_kmeans;
use super::{
    Encoder, EncoderConfig, Forward, ForwardSeconds, Lap, Method, NORMALIZE_EPS, Outputs, StateTensor, Views, store,
};
use crate::loss::cluster::{Clustering, cluster_cross_entropy};
use crate::nn::backbone::Backbone;
use crate::nn::draws::keyed;
use crate::nn::init::Registry;
use crate::nn::mlp::{LastLayer, Mlp, MlpConfig};
use crate::schedule::Scheduled;

/// Global crops that are remembered; heads take turns with them.
const CROPS: usize = 2;
/// Rounds of k-means.
const ROUNDS: usize = 10;
/// Names of the state in checkpoints.
const MEMORY: &str = "memory";
const CENTROIDS: &str = "centroids";
const LABELS: &str = "labels";
/// Label of an image that is in no cluster yet.
const NO_LABEL: f32 = -1.0;

/// What DeepCluster v2 is made of.
#[derive(Debug, Clone, PartialEq)]
pub struct DeepClusterConfig {
    /// The backbone.
    pub encoder: EncoderConfig,
    /// Width of the projector's hidden layer, 2048 in the paper.
    pub hidden_dim: usize,
    /// Width of the embeddings, 128 in the paper.
    pub out_dim: usize,
    /// Number of clusters in each clustering, 3000 in the paper.
    pub prototypes: usize,
    /// Number of clusterings, 3 in the paper.
    pub heads: usize,
    /// Temperature of the predictions, 0.1 in the paper.
    pub temperature: f64,
    /// Number of images of the data.
    pub images: usize,
}

/// The student after the last step, the memory with its clusters, and the shape of the network.
#[derive(Debug, Clone)]
pub struct DeepCluster {
    encoder: Encoder,
    projector: Mlp,
    kept: Params,
    config: DeepClusterConfig,
    /// Embeddings of the global crops, zero where an image was not seen yet.
    memory: Vec<f32>, // [CROPS, N, D]
    centroids: Vec<f32>, // [heads, K, D]
    labels: Vec<f32>,    // [heads, N]
    /// The images of the next batch.
    batch: Vec<u32>,
}

impl DeepCluster {
    /// Builds the network and returns the method with its parameters. The memory is empty.
    pub fn new(config: DeepClusterConfig) -> (Self, Params) {
        let mut registry = Registry::new();
        let encoder = Encoder::new(&config.encoder, &mut registry);
        let DeepClusterConfig { hidden_dim, out_dim, prototypes, heads, images, .. } = config;
        let sizes =
            MlpConfig { in_dim: encoder.backbone.dim(), hidden_dim, out_dim, layers: 2, last: LastLayer::Biased };
        let projector = Mlp::new(&sizes, "projector.", &mut registry);
        let student = registry.finish(config.encoder.seed);
        let method = Self {
            encoder,
            projector,
            kept: student.clone(),
            memory: vec![0.0; CROPS * images * out_dim],
            centroids: vec![0.0; heads * prototypes * out_dim],
            labels: vec![NO_LABEL; heads * images],
            batch: Vec::new(),
            config,
        };
        (method, student)
    }

    /// The clusterings, for the images of a micro-batch.
    fn clusterings(&self, views: &Views<'_>) -> Vec<Clustering<'_>> {
        let DeepClusterConfig { out_dim, prototypes, images, .. } = self.config;
        let label = |labels: &[f32], place: usize| {
            let image = *self.batch.get(place)? as usize;
            labels.get(image).filter(|label| **label >= 0.0).map(|label| *label as usize)
        };
        let places = views.first_image..views.first_image + views.images;
        let heads = self.centroids.chunks_exact(prototypes * out_dim).zip(self.labels.chunks_exact(images));
        heads
            .map(|(centroids, labels)| {
                let labels = places.clone().map(|place| label(labels, place)).collect();
                Clustering { centroids, labels }
            })
            .collect()
    }

    /// Remembers the embeddings of a batch, `[B, D]` of each global crop.
    fn remember(&mut self, embeddings: &[Vec<f32>]) {
        let DeepClusterConfig { out_dim, images, .. } = self.config;
        for (crop, embeddings) in self.memory.chunks_exact_mut(images * out_dim).zip(embeddings) {
            for (image, embedding) in self.batch.iter().zip(embeddings.chunks_exact(out_dim)) {
                if let Some(row) = crop.chunks_exact_mut(out_dim).nth(*image as usize) {
                    row.copy_from_slice(embedding);
                }
            }
        }
    }

    /// Divides all images that were seen into clusters, once for each head.
    fn cluster(&mut self, epoch: usize) {
        let DeepClusterConfig { out_dim, prototypes, heads, images, .. } = self.config;
        let row = |crop: usize, image: usize| &self.memory[(crop * images + image) * out_dim..][..out_dim];
        let seen: Vec<usize> = (0..images).filter(|image| row(0, *image).iter().any(|value| *value != 0.0)).collect();
        if seen.is_empty() {
            return;
        }
        for head in 0..heads {
            let rows: Vec<f32> = seen.iter().flat_map(|image| row(head % CROPS, *image)).copied().collect();
            let first = draw(seen.len(), prototypes, [self.config.encoder.seed, epoch as u64, head as u64]);
            let first = first.iter().flat_map(|place| &rows[place * out_dim..][..out_dim]);
            let mut centroids: Vec<f32> = first.copied().collect();
            let clusters = spherical_kmeans(&rows, out_dim, &mut centroids, ROUNDS);
            self.centroids[head * centroids.len()..][..centroids.len()].copy_from_slice(&centroids);
            for (image, cluster) in seen.iter().zip(clusters) {
                self.labels[head * images + image] = cluster as f32;
            }
        }
    }
}

/// Draws `count` of so many places, none twice while there are others left.
fn draw(places: usize, count: usize, key: [u64; 3]) -> Vec<usize> {
    let [seed, epoch, head] = key;
    let mut random = keyed([seed, epoch, head, 0]);
    let mut order: Vec<usize> = (0..places).collect();
    for place in 0..count.min(places) {
        let left = (places - place) as u64;
        order.swap(place, place + (random.next_u64() % left) as usize);
    }
    order.truncate(count);
    order.into_iter().cycle().take(count).collect()
}

impl Method for DeepCluster {
    fn forward(&self, tape: &mut Tape<'_>, views: &Views<'_>, at: &Scheduled) -> Forward {
        let mut clock = Lap::start();
        let features = self.encoder.student(tape, &views.groups, views, at); // [V·B, D]
        let projections = self.projector.forward(tape, &features, 1); // [V·B, out_dim]
        let embeddings = tape.l2_normalize(&projections, NORMALIZE_EPS);
        let student = clock.seconds();

        let loss = cluster_cross_entropy(tape, &embeddings, &self.clusterings(views), self.config.temperature);
        let crops = embeddings.values().chunks_exact(views.images * embeddings.columns()).take(CROPS);
        let keys = crops.map(<[f32]>::to_vec).collect();
        let outputs = Outputs { keys, student_statistics: tape.take_statistics(), ..Outputs::default() };
        Forward { loss, outputs, seconds: ForwardSeconds { teacher: 0.0, student, loss: clock.seconds() } }
    }

    fn take_images(&mut self, images: &[u32]) {
        self.batch = images.to_vec();
    }

    fn average(&mut self, _at: &Scheduled) -> Option<(&mut Params, f64)> {
        Some((&mut self.kept, 0.0))
    }

    fn after_update(&mut self, outputs: Outputs, at: &Scheduled) {
        self.remember(&outputs.keys);
        if at.ends_epoch {
            self.cluster(at.epoch);
        }
        store(&mut self.kept, outputs.student_statistics);
    }

    fn backbone(&self) -> (&Backbone, &Params) {
        (&self.encoder.backbone, &self.kept)
    }

    fn state(&self) -> Vec<StateTensor> {
        let DeepClusterConfig { out_dim, prototypes, heads, images, .. } = self.config;
        let tensor = |name, shape: &[usize], values: &[f32]| {
            let (shape, values) = (shape.to_vec(), values.to_vec());
            StateTensor { name, shape, values }
        };
        vec![
            tensor(MEMORY, &[CROPS, images, out_dim], &self.memory),
            tensor(CENTROIDS, &[heads, prototypes, out_dim], &self.centroids),
            tensor(LABELS, &[heads, images], &self.labels),
        ]
    }

    fn restore(&mut self, name: &str, values: &[f32]) -> bool {
        let held = match name {
            MEMORY => &mut self.memory,
            CENTROIDS => &mut self.centroids,
            LABELS => &mut self.labels,
            _ => return false,
        };
        let fits = held.len() == values.len();
        if fits {
            held.copy_from_slice(values);
        }
        fits
    }

    fn teacher_mut(&mut self) -> &mut Params {
        &mut self.kept
    }
}

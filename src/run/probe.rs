//! The probe: the same few images at every evaluation, whose features show without labels how the networks do.

use dinoxide_views::{Image, Source};
use rayon::prelude::*;

use super::classes::Classes;
use super::validation::{eval_transform, reading};
use crate::config::Config;
use crate::eval::features::{Frozen, ImageBatch};
use crate::eval::representation::{agreement, rank, spread};
use crate::methods::Device;
use crate::train::step::TrainState;

/// Images of the probe: twice as many as a small network has dimensions.
pub(super) const IMAGES: usize = 384;
/// Images per forward pass.
const BATCH: usize = 64;

/// Images spread over those that a run trains on, as its networks see them.
pub struct Probe {
    images: Vec<Image>,
    classes: Option<Classes>,
}

/// Class features of the probe, one row for each image.
#[derive(Debug, Clone, PartialEq)]
pub struct ProbeFeatures {
    /// Of the teacher, `[N, D]`.
    pub teacher: Vec<f32>,
    /// Of the student, `[N, D]`.
    pub student: Vec<f32>,
    /// D.
    pub dim: usize,
}

/// What the features of the probe are like.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Probed {
    /// RankMe of the teacher's features.
    pub rank: Option<f64>,
    /// Mean standard deviation of the teacher's features at unit length; 1/√D where they spread evenly.
    pub feature_std: Option<f64>,
    /// Mean cosine between the student's and the teacher's features of the same image.
    pub student_cosine: Option<f64>,
}

impl Probe {
    /// Reads the images; those that cannot be read are left out.
    pub fn open(config: &Config, source: &Source) -> Self {
        let (reading, transform) = (reading(config), eval_transform(config));
        let chosen: Vec<_> = source.images.iter().step_by(source.len().div_ceil(IMAGES).max(1)).collect();
        let read = chosen.into_par_iter().filter_map(|image| {
            let read = image.decode(&reading).ok()?;
            Some((transform.apply(&read), &*image.name))
        });
        let (images, names): (Vec<Image>, Vec<&str>) = read.unzip();
        Self { images, classes: Classes::of_folders(names.into_iter()) }
    }

    /// The images, as the networks see them.
    pub fn images(&self) -> &[Image] {
        &self.images
    }

    /// The classes of the images, where folders are classes.
    pub(super) fn classes(&self) -> Option<&Classes> {
        self.classes.as_ref()
    }

    /// Looks at the probe with both networks.
    pub fn look(&self, state: &TrainState, device: Device<'_>) -> ProbeFeatures {
        let (backbone, teacher) = state.method.backbone();
        let features = |params| {
            let frozen = Frozen::new(device.kernels, device.pool, backbone, params);
            self.images.chunks(BATCH).flat_map(|images| features(&frozen, images)).collect::<Vec<f32>>()
        };
        ProbeFeatures { teacher: features(teacher), student: features(&state.student), dim: backbone.dim() }
    }
}

impl ProbeFeatures {
    /// The figures of the features.
    pub fn figures(&self) -> Probed {
        Probed {
            rank: rank(&self.teacher, self.dim),
            feature_std: spread(&self.teacher, self.dim),
            student_cosine: agreement(&self.teacher, &self.student, self.dim),
        }
    }
}

/// Class features of images of one size, `[N, D]`.
fn features(frozen: &Frozen<'_>, images: &[Image]) -> Vec<f32> {
    let Some(first) = images.first() else { return Vec::new() };
    let pixels: Vec<u8> = images.iter().flat_map(|image| image.pixels.iter().copied()).collect();
    let (height, width) = (first.height as usize, first.width as usize);
    frozen.class_features(ImageBatch { pixels: &pixels, images: images.len(), height, width })
}

//! Labels of every place of a frame from those of earlier frames: `eval_video_segmentation.py:label_propagation`.
//!
//! A place asks the places around it in the first frame and in the last ones, by the cosine of their features. The best few vote with their
//! labels, soft ones but for the first frame's; exp(cosine / temperature) weighs the votes.
//!
//! The program computes every cosine of two frames and multiplies those that are too far apart by 0. Here a tile of places asks for the cosines
//! of its surroundings only, and keeps none that cannot be among the best: memory does not depend on how many places there are, and
//! the first frame and the last ones are all that is held of a sequence.

use std::collections::VecDeque;
use std::ops::Range;

use faer::{Accum, MatMut, MatRef, Par, linalg::matmul::matmul};
use rayon::prelude::*;

use super::{Mask, VideoError};
use crate::eval::unit::to_unit_length;

/// Rows and columns of the places that ask together. Larger tiles ask for more cosines that none of their places needs, smaller ones make
/// products too small to be fast.
const TILE: (usize, usize) = (4, 8);
/// Candidates of a place beyond those that may still count, before the hopeless ones are removed.
const SPARE: usize = 64;

/// How labels are handed on.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Propagation {
    /// Earlier frames that vote besides the first one, `--n_last_frames`.
    pub last_frames: usize,
    /// How many places away a vote may come from, in both directions, `--size_mask_neighborhood`; 0 for any.
    pub neighborhood: usize,
    /// Votes of a place; equals of the last one vote too, `--topk`.
    pub top_k: usize,
    /// Temperature of the votes.
    pub temperature: f64,
}

impl Default for Propagation {
    /// The paper's.
    fn default() -> Self {
        Self { last_frames: 7, neighborhood: 12, top_k: 5, temperature: 0.1 }
    }
}

impl Propagation {
    /// Whether any place would get a vote.
    ///
    /// # Errors
    /// [`VideoError::NoVotes`] or [`VideoError::Temperature`].
    pub fn check(&self) -> Result<(), VideoError> {
        let temperature = self.temperature;
        match self.top_k {
            0 => Err(VideoError::NoVotes),
            _ if !(temperature > 0.0 && temperature.is_finite()) => Err(VideoError::Temperature { temperature }),
            _ => Ok(()),
        }
    }
}

/// A sequence under way.
#[derive(Debug, Clone)]
pub struct Propagator {
    settings: Propagation,
    /// Rows and columns.
    grid: (usize, usize),
    /// Width of a feature.
    dim: usize,
    /// Background and objects.
    channels: usize,
    first: Voters,
    last: VecDeque<Voters>,
}

/// A frame that votes.
#[derive(Debug, Clone)]
struct Voters {
    /// [N, D], unit rows.
    features: Vec<f32>,
    /// [N, channels]
    labels: Vec<f32>,
}

impl Propagator {
    /// Begins with the first frame and its mask, which is brought to the grid.
    ///
    /// # Shapes
    /// `features` is [rows · columns, D] for `grid` = (rows, columns).
    ///
    /// # Errors
    /// Settings by which nothing votes, features that do not fill the grid or are no numbers.
    pub fn new(
        settings: Propagation,
        grid: (usize, usize),
        features: Vec<f32>,
        mask: &Mask,
    ) -> Result<Self, VideoError> {
        settings.check()?;
        let places = grid.0 * grid.1;
        let dim = features.len() / places.max(1);
        let features = unit_rows(features, grid, dim)?;
        let mask = mask.resized(grid.1, grid.0);
        let channels = mask.objects() + 1;
        let mut labels = vec![0.0; places * channels];
        for (row, label) in labels.chunks_exact_mut(channels).zip(mask.labels()) {
            row[usize::from(*label)] = 1.0;
        }
        Ok(Self { settings, grid, dim, channels, first: Voters { features, labels }, last: VecDeque::new() })
    }

    /// Background and the objects that the first mask still has on the grid.
    pub fn channels(&self) -> usize {
        self.channels
    }

    /// Labels of the next frame, which votes from now on: [rows · columns, channels], rows that sum to 1.
    ///
    /// # Errors
    /// Features that do not fill the grid or are no numbers.
    pub fn advance(&mut self, features: Vec<f32>) -> Result<Vec<f32>, VideoError> {
        let features = unit_rows(features, self.grid, self.dim)?;
        let labels = self.labels_of(&features);
        if self.settings.last_frames > 0 {
            if self.last.len() == self.settings.last_frames {
                self.last.pop_front();
            }
            self.last.push_back(Voters { features, labels: labels.clone() });
        }
        Ok(labels)
    }

    fn labels_of(&self, features: &[f32]) -> Vec<f32> {
        let (rows, columns) = self.grid;
        let starts = |side: usize, step: usize| (0..side).step_by(step);
        let tile = |row: usize, column: usize| Tile {
            rows: row..(row + TILE.0).min(rows),
            columns: column..(column + TILE.1).min(columns),
        };
        let tiles: Vec<Tile> =
            starts(rows, TILE.0).flat_map(|row| starts(columns, TILE.1).map(move |column| tile(row, column))).collect();
        let voted: Vec<Vec<f32>> = tiles.par_iter().map(|tile| self.labels_of_tile(features, tile)).collect();
        let mut labels = vec![0.0; rows * columns * self.channels];
        for (tile, voted) in tiles.iter().zip(&voted) {
            for (place, own) in tile.places().zip(voted.chunks_exact(self.channels)) {
                let at = (place.0 * columns + place.1) * self.channels;
                labels[at..at + self.channels].copy_from_slice(own);
            }
        }
        labels
    }

    fn labels_of_tile(&self, features: &[f32], tile: &Tile) -> Vec<f32> {
        let (columns, dim) = (self.grid.1, self.dim);
        let asking: Vec<f32> = tile
            .places()
            .flat_map(|(row, column)| &features[(row * columns + column) * dim..][..dim])
            .copied()
            .collect(); // [Q, D]
        let mut votes = vec![Votes::new(self.settings.top_k); tile.places().count()];
        let asked_columns = self.around(&tile.columns, columns);
        let mut cosines = vec![0.0_f32; votes.len() * asked_columns.len()];
        for (frame, voters) in self.voters().enumerate() {
            for row in self.around(&tile.rows, self.grid.0) {
                let first = row * columns + asked_columns.start;
                let asked = &voters.features[first * dim..][..asked_columns.len() * dim];
                let asked = MatRef::from_row_major_slice(asked, asked_columns.len(), dim);
                let target = MatMut::from_row_major_slice_mut(&mut cosines, votes.len(), asked_columns.len());
                let asking = MatRef::from_row_major_slice(&asking, votes.len(), dim);
                // One thread: the tiles fill the machine. Equal features at equal places of two frames give equal cosines.
                matmul(target, Accum::Replace, asking, asked.transpose(), 1.0, Par::Seq);
                let rows = cosines.chunks_exact(asked_columns.len());
                for ((place, votes), cosines) in tile.places().zip(&mut votes).zip(rows) {
                    if self.around(&(place.0..place.0 + 1), self.grid.0).contains(&row) {
                        let own = self.around(&(place.1..place.1 + 1), columns);
                        let inside = own.start - asked_columns.start..own.end - asked_columns.start;
                        votes.add(frame, row * columns + own.start, &cosines[inside]);
                    }
                }
            }
        }
        let voters: Vec<&Voters> = self.voters().collect();
        let label = |votes: &Votes| votes.label(&voters, self.channels, self.settings.temperature);
        votes.iter().flat_map(label).collect()
    }

    fn voters(&self) -> impl Iterator<Item = &Voters> {
        std::iter::once(&self.first).chain(&self.last)
    }

    /// What is near enough to any of some rows or columns.
    fn around(&self, asking: &Range<usize>, side: usize) -> Range<usize> {
        match self.settings.neighborhood {
            0 => 0..side,
            reach => asking.start.saturating_sub(reach)..asking.end.saturating_add(reach).min(side),
        }
    }
}

/// Places that ask together.
#[derive(Debug, Clone)]
struct Tile {
    rows: Range<usize>,
    columns: Range<usize>,
}

impl Tile {
    fn places(&self) -> impl Iterator<Item = (usize, usize)> {
        self.rows.clone().flat_map(|row| self.columns.clone().map(move |column| (row, column)))
    }
}

/// The votes of one place.
#[derive(Debug, Clone)]
struct Votes {
    /// The best cosines so far, greatest first, at most as many as vote.
    best: Vec<f32>,
    most: usize,
    /// Cosine, frame, place; all that may still be among the best, and others.
    candidates: Vec<(f32, usize, usize)>,
    /// Candidates from which on the hopeless ones are looked for.
    room: usize,
}

impl Votes {
    fn new(most: usize) -> Self {
        Self { best: Vec::new(), most, candidates: Vec::new(), room: SPARE }
    }

    /// The cosine from which on a vote counts.
    fn threshold(&self) -> f32 {
        if self.best.len() < self.most { f32::NEG_INFINITY } else { self.best[self.most - 1] }
    }

    fn add(&mut self, frame: usize, first: usize, cosines: &[f32]) {
        let mut threshold = self.threshold();
        for (place, &cosine) in (first..).zip(cosines) {
            if cosine < threshold {
                continue;
            }
            self.candidates.push((cosine, frame, place));
            let at = self.best.partition_point(|best| *best >= cosine);
            if at < self.most {
                self.best.truncate(self.most - 1);
                self.best.insert(at, cosine);
                threshold = self.threshold();
            }
        }
        if self.candidates.len() > self.room {
            self.candidates.retain(|candidate| candidate.0 >= threshold);
            // Where all are equals nothing goes: then not at every step is looked again.
            self.room = 2 * self.candidates.len() + SPARE;
        }
    }

    /// The weighted mean of the labels that vote.
    fn label(&self, voters: &[&Voters], channels: usize, temperature: f64) -> Vec<f32> {
        let (threshold, greatest) = (self.threshold(), self.best.first().copied().unwrap_or(0.0));
        let mut sums = vec![0.0_f64; channels];
        let mut all = 0.0;
        for (cosine, frame, place) in self.candidates.iter().filter(|candidate| candidate.0 >= threshold) {
            // Relative to the greatest, a common factor: no weight overflows at a low temperature.
            let weight = ((f64::from(*cosine) - f64::from(greatest)) / temperature).exp();
            let labels = &voters[*frame].labels[place * channels..][..channels];
            sums.iter_mut().zip(labels).for_each(|(sum, label)| *sum += weight * f64::from(*label));
            all += weight;
        }
        sums.into_iter().map(|sum| (sum / all) as f32).collect()
    }
}

/// Features scaled to unit length; a row of zeros stays as it is.
fn unit_rows(mut features: Vec<f32>, (rows, columns): (usize, usize), dim: usize) -> Result<Vec<f32>, VideoError> {
    let expected = rows * columns * dim;
    if features.len() != expected || expected == 0 {
        return Err(VideoError::Features { rows, columns, expected: expected.max(1), found: features.len() });
    }
    let scale =
        |(place, row): (usize, &mut [f32])| to_unit_length(row).map_err(|value| VideoError::BadValue { place, value });
    features.par_chunks_exact_mut(dim).enumerate().try_for_each(scale)?;
    Ok(features)
}

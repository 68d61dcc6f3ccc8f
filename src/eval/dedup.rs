//! Near-duplicates: images that a network can hardly tell apart.
//!
//! Two images are a pair if the cosine of their features reaches a threshold; a group is a connected component of pairs, so two of a
//! group may be less alike than the threshold when others lie between them. Pairs are looked for block by block and only those kept
//! that join two groups: memory is at most images times block, also for a collapsed network to which all images are the same.

use rayon::prelude::*;

use super::EvalError;
use super::nearest::{QUERY_BLOCK, UnitRows};

/// What sums in f32 may take from the cosine of two equal features.
const ROUNDING: f32 = 1e-6;

/// Groups of images that belong together.
#[derive(Debug, Clone, PartialEq)]
pub struct Groups {
    /// Indices of each group of two and more, ascending; large groups first, of equally large ones that with the lower first index.
    pub groups: Vec<Vec<usize>>,
    /// The similarity of each image to its nearest other; none for a single image.
    pub nearest: Vec<Option<f32>>,
}

/// Returns the connected components of pairs whose cosine is at least `threshold`; `each` is told how many images have been compared
/// with all others since it was last told.
///
/// # Errors
/// [`EvalError::Threshold`] unless 0 < `threshold` ≤ 1.
pub fn groups(features: &UnitRows, threshold: f64, mut each: impl FnMut(usize)) -> Result<Groups, EvalError> {
    if !(threshold > 0.0 && threshold <= 1.0) {
        return Err(EvalError::Threshold { threshold });
    }
    let images = features.len();
    let mut family = Family::new(images);
    let mut nearest = Vec::with_capacity(images);
    // As many blocks at once as there are threads; what is joined by then is not reported again.
    let together = rayon::current_num_threads().max(1) * QUERY_BLOCK;
    for first in (0..images).step_by(together) {
        let heads: Vec<usize> = (0..images).map(|image| family.head(image)).collect();
        let starts: Vec<usize> = (first..images.min(first + together)).step_by(QUERY_BLOCK).collect();
        let limit = threshold as f32 - ROUNDING;
        let found: Vec<Found> = starts.par_iter().map(|start| search(features, *start, limit, &heads)).collect();
        for found in found {
            found.pairs.iter().for_each(|(a, b)| family.join(*a, *b));
            each(found.nearest.len());
            nearest.extend(found.nearest);
        }
    }
    Ok(Groups { groups: family.groups(), nearest })
}

struct Found {
    pairs: Vec<(usize, usize)>,
    nearest: Vec<Option<f32>>,
}

/// Pairs of one block of images with all images, as far as they are not joined yet.
fn search(features: &UnitRows, start: usize, limit: f32, heads: &[usize]) -> Found {
    let end = features.len().min(start + QUERY_BLOCK);
    let block: Vec<f32> = (start..end).flat_map(|row| features.row(row)).copied().collect();
    let (mut pairs, mut nearest) = (Vec::new(), vec![None; end - start]);
    // Of a network to which all images are alike, a block would give all its pairs.
    let mut joined = Family(heads.to_vec());
    features.similarities(&block, |place, first, row| {
        let image = start + place;
        for (other, &similarity) in (first..).zip(row) {
            if other == image {
                continue;
            }
            let most: &mut Option<f32> = &mut nearest[place];
            *most = Some(most.map_or(similarity, |most| most.max(similarity)));
            if other > image && similarity >= limit && joined.head(other) != joined.head(image) {
                joined.join(image, other);
                pairs.push((image, other));
            }
        }
    });
    Found { pairs, nearest }
}

/// Disjoint sets: each image points towards the first of its family.
struct Family(Vec<usize>);

impl Family {
    fn new(images: usize) -> Self {
        Self((0..images).collect())
    }

    /// The first of a family; the way there becomes shorter.
    fn head(&mut self, mut image: usize) -> usize {
        while self.0[image] != image {
            self.0[image] = self.0[self.0[image]];
            image = self.0[image];
        }
        image
    }

    fn join(&mut self, a: usize, b: usize) {
        let (a, b) = (self.head(a), self.head(b));
        self.0[a.max(b)] = a.min(b);
    }

    fn groups(mut self) -> Vec<Vec<usize>> {
        let mut members = vec![Vec::new(); self.0.len()];
        for image in 0..self.0.len() {
            members[self.head(image)].push(image);
        }
        let mut groups: Vec<Vec<usize>> = members.into_iter().filter(|group| group.len() > 1).collect();
        groups.sort_by_key(|group| (std::cmp::Reverse(group.len()), group[0]));
        groups
    }
}

//! The map of an evaluation: the images of the probe on a plane, each as near as can be to where the last evaluation had it.

use std::path::Path;

use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::Moment;
use super::before::{before, keep};
use crate::eval::kmeans::kmeans;
use crate::eval::map::{Descent, FEWEST, aligned, pca_map, tsne_map};
use crate::eval::nearest::UnitRows;
use crate::report::map::{Map, MapGroup, MapPoint, map_sheet, sheet_side};
use crate::report::picture::Picture;
use crate::run::RunError;
use crate::run::probe::Probe;
use crate::run::report::picture_of;

/// Groups where folders are no classes, and the seed of the search for them.
const GROUPS: usize = 8;
const SEED: u64 = 0;
/// Steps of t-SNE from the components, and from the map of the evaluation before: enough for the few images of a probe.
const STEPS: usize = 500;
const MORE_STEPS: usize = 250;
/// Name of the files that keep a map for the next one.
const PLACES: &str = "places";

/// A map as the next one needs it.
#[derive(Debug, Serialize, Deserialize)]
struct Kept {
    /// Around 0, in the unit of t-SNE.
    places: Vec<[f32; 2]>,
    /// The group of every image.
    groups: Vec<usize>,
    /// Digest of the features: the same ones have the same map.
    features: String,
}

/// The map of the probe, whose features are `unit`, and what the next evaluation needs of it in `folder`.
pub(super) fn probe_map(folder: &Path, probe: &Probe, unit: &UnitRows, at: Moment) -> Result<Picture, RunError> {
    let rows: Vec<f32> = (0..unit.len()).flat_map(|row| unit.row(row)).copied().collect();
    // Images that changed since were elsewhere: the map begins anew.
    let earlier = before::<Kept>(folder, PLACES, at.step).filter(|earlier| {
        let images = probe.images().len();
        earlier.places.len() == images && earlier.groups.len() == images
    });
    let digest = digest(&rows);
    let places = match &earlier {
        Some(earlier) if earlier.features == digest => earlier.places.clone(),
        earlier => {
            let start = earlier.as_ref().map(|earlier| earlier.places.as_slice());
            let steps = if start.is_some() { MORE_STEPS } else { STEPS };
            let places = match unit.len() {
                FEWEST.. => tsne_map(unit, Descent { steps, start }, |_| {})?,
                _ => pca_map(&rows, unit.dim())?,
            };
            aligned(&places, start)
        }
    };
    let (names, groups) = match probe.classes() {
        Some(classes) => (classes.names.clone(), classes.of.clone()),
        None => {
            let found = kmeans(&rows, unit.dim(), GROUPS.min(unit.len()), SEED)?.of;
            let groups = match &earlier {
                Some(earlier) => renumbered(&found, &earlier.groups),
                None => found,
            };
            ((1..=GROUPS).map(|number| format!("group {number}")).collect(), groups)
        }
    };
    let kept = Kept { places, groups, features: digest };
    keep(folder, PLACES, at.step, &kept)?;
    Ok(map_sheet(&map(probe, &names, &kept)?))
}

fn digest(features: &[f32]) -> String {
    let bytes: Vec<u8> = features.iter().flat_map(|value| value.to_le_bytes()).collect();
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The map with small copies of the images.
fn map(probe: &Probe, names: &[String], kept: &Kept) -> Result<Map, RunError> {
    let side = sheet_side(probe.images().len());
    let copies = probe.images().par_iter().map(|image| picture_of(image).map(|picture| picture.resized(side, side)));
    let copies = copies.collect::<Result<Vec<_>, _>>()?;
    let points = copies.into_iter().zip(kept.places.iter().zip(&kept.groups));
    let points = points.map(|(thumbnail, (place, group))| MapPoint {
        name: String::new(),
        place: *place,
        group: *group,
        thumbnail,
    });
    let count = |group: usize| kept.groups.iter().filter(|of| **of == group).count();
    let groups = names.iter().enumerate().map(|(group, name)| MapGroup { name: name.clone(), count: count(group) });
    Ok(Map { points: points.collect(), groups: groups.collect() })
}

/// Groups under the numbers of those earlier ones with which they share most images, so that colours stay.
fn renumbered(groups: &[usize], before: &[usize]) -> Vec<usize> {
    let mut shared = vec![(0_usize, 0, 0); GROUPS * GROUPS];
    for (place, entry) in shared.iter_mut().enumerate() {
        (entry.1, entry.2) = (place / GROUPS, place % GROUPS);
    }
    let pairs = groups.iter().zip(before).filter(|(now, before)| **now < GROUPS && **before < GROUPS);
    pairs.for_each(|(now, before)| shared[now * GROUPS + before].0 += 1);
    shared.sort_by_key(|(images, now, before)| (std::cmp::Reverse(*images), *now, *before));
    let (mut number, mut taken) = ([None; GROUPS], [false; GROUPS]);
    for (_, now, before) in shared {
        if number[now].is_none() && !taken[before] {
            (number[now], taken[before]) = (Some(before), true);
        }
    }
    groups.iter().map(|group| number.get(*group).copied().flatten().unwrap_or(*group)).collect()
}

//! Features on a plane: t-SNE (van der Maaten and Hinton 2008, with the tree of van der Maaten 2014), or the first two principal
//! components.
//!
//! t-SNE begins from the principal components (as openTSNE and scikit-learn do, scaled to a deviation of 1e-4), is given the exact
//! nearest neighbours by cosine, and runs on one thread, so that the same features give the same map. Distances are those of unit
//! features. Distances between far groups, and sizes of groups, mean little in such a map.

use bhtsne::tSNE;

use super::EvalError;
use super::nearest::{Neighbour, UnitRows};
use super::pca::Pca;

/// Neighbours that a point counts as near, about; fewer in small sets.
const PERPLEXITY: f64 = 30.0;
/// Neighbours that are looked at, as a multiple of the perplexity.
const REACH: usize = 3;
/// Steps of the descent; for few images half of them do.
pub const STEPS: usize = 1000;
/// Cells of the tree that are smaller than this share of their distance count as one point.
const ANGLE: f64 = 0.5;
/// Deviation of the first component at the beginning.
const START: f64 = 1e-4;
/// Fewest images for which neighbours can be told from others.
pub const FEWEST: usize = 8;

/// Returns the first two principal components.
///
/// # Shapes
/// `features` is `[N, D]` for `dim` = D.
///
/// # Errors
/// No features, a length that is no multiple of D, a value that is not finite.
pub fn pca_map(features: &[f32], dim: usize) -> Result<Vec<[f32; 2]>, EvalError> {
    let pca = Pca::fit(features, dim, 2)?;
    let projections = pca.project(features)?;
    let point = |values: &[f32]| [values[0], values.get(1).copied().unwrap_or(0.0)];
    Ok(projections.chunks_exact(pca.components()).map(point).collect())
}

/// Returns the perplexity for so many images: 30, or a third of the others.
pub fn perplexity(images: usize) -> f64 {
    PERPLEXITY.min((images.saturating_sub(1) / REACH) as f64)
}

/// How t-SNE goes.
#[derive(Debug, Clone, Copy)]
pub struct Descent<'a> {
    /// Steps.
    pub steps: usize,
    /// An earlier map of the same images to go on from as it is. Without one the map begins from the principal components, and during the
    /// first 250 steps the groups move apart.
    pub start: Option<&'a [[f32; 2]]>,
}

impl Default for Descent<'_> {
    fn default() -> Self {
        Self { steps: STEPS, start: None }
    }
}

/// Returns the map of t-SNE; `each` is told every step.
///
/// # Errors
/// [`EvalError::FewImages`] below [`FEWEST`] images; a value that is not finite; no thread.
pub fn tsne_map(
    features: &UnitRows,
    descent: Descent<'_>,
    mut each: impl FnMut(usize) + Send,
) -> Result<Vec<[f32; 2]>, EvalError> {
    let (images, dim) = (features.len(), features.dim());
    if images < FEWEST {
        return Err(EvalError::FewImages { images, fewest: FEWEST });
    }
    let perplexity = perplexity(images);
    let rows: Vec<f32> = (0..images).flat_map(|row| features.row(row)).copied().collect();
    let earlier = descent.start.filter(|start| start.len() == images);
    let start = match earlier {
        Some(earlier) => earlier.iter().flatten().map(|value| f64::from(*value)).collect(),
        None => beginning(&pca_map(&rows, dim)?),
    };
    let own: Vec<Option<usize>> = (0..images).map(Some).collect();
    let found = features.nearest_others(&rows, &own, (REACH as f64 * perplexity) as usize)?;
    let near = |near: &Neighbour| {
        // The length of the difference of two unit vectors.
        let distance = (2.0 - 2.0 * f64::from(near.similarity)).max(0.0).sqrt();
        bhtsne::Neighbor { index: near.index, distance }
    };
    let neighbours: Vec<Vec<_>> = found.iter().map(|found| found.iter().map(near).collect()).collect();
    // One thread: sums of several would depend on which was faster.
    let thread = rayon::ThreadPoolBuilder::new().num_threads(1).build().map_err(|_| EvalError::NoThread)?;
    let places = thread.install(|| {
        let data = vec![(); images];
        let mut tsne: tSNE<'_, f64, ()> = tSNE::new(&data);
        tsne.perplexity(perplexity).epochs(descent.steps).initial_embedding(start).epoch_callback(|step, _| each(step));
        if earlier.is_some() {
            tsne.stop_lying_epoch(0);
        }
        tsne.barnes_hut_with_neighbors(ANGLE, &neighbours);
        tsne.embedding()
    });
    Ok(places.as_chunks::<2>().0.iter().map(|place| place.map(|value| value as f32)).collect())
}

/// Returns a map around 0, turned or mirrored as close as that brings it to an earlier one of the same images (orthogonal Procrustes,
/// Schönemann 1966): neither turn nor mirror image means anything in such a map, and a film would jump.
///
/// An earlier map of another length is left aside. Maps of finite places only.
pub fn aligned(map: &[[f32; 2]], before: Option<&[[f32; 2]]>) -> Vec<[f32; 2]> {
    let map = centred(map);
    let before = before.filter(|before| before.len() == map.len()).map(centred);
    let turned = before.map_or_else(|| map.clone(), |before| turned(&map, &before));
    turned.into_iter().map(|place| place.map(|value| value as f32)).collect()
}

/// The places around 0.
fn centred(map: &[[f32; 2]]) -> Vec<[f64; 2]> {
    let count = map.len().max(1) as f64;
    let middle = [0, 1].map(|axis: usize| map.iter().map(|place| f64::from(place[axis])).sum::<f64>() / count);
    map.iter().map(|place| [f64::from(place[0]) - middle[0], f64::from(place[1]) - middle[1]]).collect()
}

/// A map turned, or mirrored and turned, so that the squared distances to `before` are least; both around 0.
fn turned(map: &[[f64; 2]], before: &[[f64; 2]]) -> Vec<[f64; 2]> {
    // As complex numbers: the best turn is by the angle of Σ before · conj(map), its gain the length of that sum.
    let sum = |mirror: f64| {
        let products = map.iter().zip(before).map(|([x, y], [u, v])| {
            let y = mirror * y;
            (u * x + v * y, v * x - u * y)
        });
        products.fold((0.0, 0.0), |sum, product| (sum.0 + product.0, sum.1 + product.1))
    };
    let (plain, mirrored) = (sum(1.0), sum(-1.0));
    let length = |sum: (f64, f64)| sum.0.hypot(sum.1);
    let (sum, mirror) = if length(mirrored) > length(plain) { (mirrored, -1.0) } else { (plain, 1.0) };
    let angle = sum.1.atan2(sum.0);
    let (sin, cos) = angle.sin_cos();
    map.iter().map(|[x, y]| (*x, mirror * y)).map(|(x, y)| [cos * x - sin * y, sin * x + cos * y]).collect()
}

/// The principal components, small; where all are equal, points on a tiny spiral, for equal places would never part.
fn beginning(components: &[[f32; 2]]) -> Vec<f64> {
    let variance = components.iter().map(|place| f64::from(place[0]).powi(2)).sum::<f64>() / components.len() as f64;
    let scale = if variance > 0.0 { START / variance.sqrt() } else { 0.0 };
    let spiral = |number: usize| {
        const GOLDEN_ANGLE: f64 = 2.399_963_229_728_653;
        let radius = 1e-3 * START * (number as f64 + 1.0).sqrt();
        let angle = number as f64 * GOLDEN_ANGLE;
        [radius * angle.cos(), radius * angle.sin()]
    };
    let place = |(number, place): (usize, &[f32; 2])| {
        let away = spiral(number);
        [f64::from(place[0]) * scale + away[0], f64::from(place[1]) * scale + away[1]]
    };
    components.iter().enumerate().flat_map(place).collect()
}

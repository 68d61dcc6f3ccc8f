//! Copy detection: is this image made of one of those? Copydays (Douze et al. 2009) as in DINO (Caron et al. 2021), section 4.2.2 /
//! `eval_copy_detection.py`.
//!
//! An image is described by its class token and, side by side with it, the generalised mean (GeM, Radenović et al. 2019) of its patch
//! tokens; optionally both are whitened ([`super::whitening`]). Originals are ranked by cosine, and the first twenty count.
//!
//! Differences from the program: there may be fewer than twenty images in the database; queries of which no original is known are not
//! scored (it divides by zero); and ties have an order.

use super::EvalError;
use super::nearest::{Neighbour, UnitRows};
use super::retrieval::average_precision;

/// Images of the database that count.
pub const DEPTH: usize = 20;
/// Power of the generalised mean.
pub const POWER: i32 = 4;
/// Values below are raised to it before the mean.
pub const FLOOR: f32 = 1e-6;

/// What one query found.
#[derive(Debug, Clone, PartialEq)]
pub struct CopyQuery {
    /// Average precision, 0 to 1; none if the query has no original.
    pub average_precision: Option<f64>,
    /// The nearest images of the database, nearest first.
    pub nearest: Vec<Neighbour>,
}

/// Generalised mean over places of their values: `[N, D]` to `[D]`; sums in f64.
pub fn generalised_mean(places: &[f32], dim: usize) -> Vec<f32> {
    let mut sums = vec![0.0_f64; dim];
    for place in places.chunks_exact(dim) {
        for (sum, value) in sums.iter_mut().zip(place) {
            // `max` would make a floor of NaN.
            let value = if *value < FLOOR { FLOOR } else { *value };
            *sum += f64::from(value).powi(POWER);
        }
    }
    let count = (places.len() / dim.max(1)).max(1) as f64;
    sums.into_iter().map(|sum| (sum / count).powf(1.0 / f64::from(POWER)) as f32).collect()
}

/// Descriptors of images from their class and patch tokens: `[images, 1 + N, D]` to `[images, 2 D]`.
///
/// # Errors
/// If the tokens are not those of so many images.
pub fn descriptors(tokens: &[f32], images: usize, dim: usize) -> Result<Vec<f32>, EvalError> {
    let per_image = tokens.len() / images.max(1);
    if dim == 0 || per_image < dim || !per_image.is_multiple_of(dim) || per_image * images != tokens.len() {
        return Err(EvalError::Size { what: "the tokens", found: tokens.len(), expected: per_image.max(dim) * images });
    }
    let rows = tokens.chunks_exact(per_image).flat_map(|tokens| {
        let (class, places) = tokens.split_at(dim);
        class.iter().copied().chain(generalised_mean(places, dim))
    });
    Ok(rows.collect())
}

/// Looks for each query's originals, which `originals` lists for each.
///
/// # Shapes
/// `queries` is `[M, D]` with rows as long as the database's; `originals` `[M]`.
///
/// # Errors
/// Sizes that do not fit, an original that is no row of the database, a value that is not finite.
pub fn find_copies(
    database: &UnitRows,
    queries: &[f32],
    originals: &[Vec<usize>],
) -> Result<Vec<CopyQuery>, EvalError> {
    if let Some(index) = originals.iter().flatten().copied().find(|index| *index >= database.len()) {
        return Err(EvalError::NoSuchImage { index, images: database.len() });
    }
    let found = database.nearest_others(queries, &vec![None; originals.len()], DEPTH.min(database.len()))?;
    let query = |(nearest, originals): (Vec<Neighbour>, &Vec<usize>)| {
        let places = (0..).zip(&nearest).filter(|(_, near)| originals.contains(&near.index)).map(|(place, _)| place);
        let places: Vec<usize> = places.collect();
        let average_precision = (!originals.is_empty()).then(|| average_precision(&places, originals.len()));
        CopyQuery { average_precision, nearest }
    };
    Ok(found.into_iter().zip(originals).map(query).collect())
}

/// Mean average precision of the queries that have an original, and how many these are.
///
/// # Errors
/// [`EvalError::NothingToFind`] if none has.
pub fn mean_average_precision(queries: &[CopyQuery]) -> Result<(f64, usize), EvalError> {
    let scored: Vec<f64> = queries.iter().filter_map(|query| query.average_precision).collect();
    if scored.is_empty() {
        return Err(EvalError::NothingToFind);
    }
    Ok((scored.iter().sum::<f64>() / scored.len() as f64, scored.len()))
}

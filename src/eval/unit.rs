//! Rows of features brought to unit length.

/// Scales a row to unit length, its norm in f64, so that large and tiny features neither overflow nor vanish. A row of zeros stays as it is,
/// and so does one that has been scaled before: rounding leaves its length within an ulp of 1.
///
/// # Errors
/// The first value that is not finite.
pub(in crate::eval) fn to_unit_length(row: &mut [f32]) -> Result<(), f32> {
    if let Some(value) = row.iter().find(|value| !value.is_finite()) {
        return Err(*value);
    }
    let norm = row.iter().map(|value| f64::from(*value).powi(2)).sum::<f64>().sqrt();
    if norm > 0.0 && (norm - 1.0).abs() > f64::from(f32::EPSILON) {
        row.iter_mut().for_each(|value| *value = (f64::from(*value) / norm) as f32);
    }
    Ok(())
}

//! Values that may be rounded, as plain `f64`.

use std::borrow::Cow;

use half::bf16;

use crate::values::{Values, ValuesMut};

/// The values themselves.
pub(super) fn full(values: Values<'_, f64>) -> Cow<'_, [f64]> {
    match values {
        Values::Full(values) => values.into(),
        Values::Half(values) => values.iter().map(|value| value.to_f64()).collect(),
    }
}

/// Runs `change` on the values, which are rounded again afterwards if they were.
pub(super) fn edit(values: ValuesMut<'_, f64>, change: impl FnOnce(&mut [f64])) {
    match values {
        ValuesMut::Full(values) => change(values),
        ValuesMut::Half(values) => {
            let mut wide: Vec<f64> = values.iter().map(|value| value.to_f64()).collect();
            change(&mut wide);
            values.iter_mut().zip(wide).for_each(|(to, value)| *to = nearest(value));
        }
    }
}

/// Rounds values to bf16 where they are.
pub(super) fn round(values: &mut [f64]) {
    values.iter_mut().for_each(|value| *value = nearest(*value).to_f64());
}

/// By way of `f32`, as a device that computes in `f32` does.
pub(super) fn nearest(value: f64) -> bf16 {
    bf16::from_f32(value as f32)
}

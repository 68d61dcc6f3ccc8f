//! Parameters that no longer change.

use std::cell::OnceCell;

use super::Tape;
use crate::kernels::{Kernels, LinearSize, Packed};
use crate::params::{ParamId, Params};
use crate::tensor::Pool;

/// Parameters that many forward passes read and nobody changes: weights of dense layers are laid out once, each on its first use,
/// as the kernels multiply them. These copies take the memory of the weights once more.
pub struct FrozenParams<'a> {
    kernels: &'a dyn Kernels<f32>,
    params: &'a Params,
    packed: Vec<OnceCell<Option<Packed>>>,
}

impl<'a> FrozenParams<'a> {
    /// These parameters, for these kernels.
    pub fn new(kernels: &'a dyn Kernels<f32>, params: &'a Params) -> Self {
        let packed = params.layout().specs().iter().map(|_| OnceCell::new()).collect();
        Self { kernels, params, packed }
    }

    pub(super) fn packed(&self, weight: ParamId, size: LinearSize) -> Option<&Packed> {
        self.packed[weight.index()].get_or_init(|| self.kernels.pack(self.params.get(weight), size)).as_ref()
    }
}

impl<'a> Tape<'a> {
    /// A tape for inference with parameters that do not change.
    pub fn frozen(frozen: &'a FrozenParams<'a>, pool: &'a Pool) -> Self {
        Self { frozen: Some(frozen), ..Self::infer(frozen.kernels, frozen.params, pool) }
    }
}

//! Parameters: one flat buffer, and a layout that names its slices.
//!
//! Names are the official state-dict names (`backbone.blocks.0.attn.qkv.weight`), so that import and export rename
//! nothing but prefixes, the optimizer walks memory in order, and an all-reduce sees one buffer.

use std::ops::Range;
use std::sync::Arc;

/// What training does with a tensor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Trained by gradient, averaged into the teacher.
    Trained,
    /// Kept at its initial value, averaged into the teacher.
    Fixed,
    /// Running statistics: neither trained nor averaged.
    Statistic,
}

/// A tensor's place in the layout.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ParamId(usize);

impl ParamId {
    /// Its number in [`Layout::specs`].
    pub(crate) fn index(self) -> usize {
        self.0
    }
}

/// Name, shape and place of one tensor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TensorSpec {
    /// Official state-dict name.
    pub name: String,
    /// Shape as PyTorch has it.
    pub shape: Vec<usize>,
    /// First value in the flat buffer.
    pub offset: usize,
    /// Number of values.
    pub len: usize,
    /// What training does with it.
    pub role: Role,
}

impl TensorSpec {
    /// Where the tensor lies in the flat buffer.
    pub fn range(&self) -> Range<usize> {
        self.offset..self.offset + self.len
    }

    /// Whether weight decay applies: not to names that end in `.bias` and not to vectors
    /// (`utils.py:get_params_groups` of facebookresearch/dino).
    pub fn decays(&self) -> bool {
        self.shape.len() != 1 && !self.name.ends_with(".bias")
    }
}

/// The names, shapes and places of all tensors of a model.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Layout {
    specs: Vec<TensorSpec>,
    total: usize,
}

impl Layout {
    /// A layout without tensors.
    pub fn new() -> Self {
        Self::default()
    }

    /// Appends a tensor.
    pub fn push(&mut self, name: impl Into<String>, shape: &[usize], role: Role) -> ParamId {
        let len = shape.iter().product();
        self.specs.push(TensorSpec { name: name.into(), shape: shape.to_vec(), offset: self.total, len, role });
        self.total += len;
        ParamId(self.specs.len() - 1)
    }

    /// All tensors in order.
    pub fn specs(&self) -> &[TensorSpec] {
        &self.specs
    }

    /// One tensor.
    pub fn spec(&self, id: ParamId) -> &TensorSpec {
        &self.specs[id.0]
    }

    /// The tensor of that name.
    pub fn find(&self, name: &str) -> Option<ParamId> {
        self.specs.iter().position(|spec| spec.name == name).map(ParamId)
    }

    /// Number of values of all tensors.
    pub fn total(&self) -> usize {
        self.total
    }
}

/// The values of all tensors of one model. Cloning copies the values and shares the layout.
#[derive(Debug, Clone)]
pub struct Params {
    layout: Arc<Layout>,
    values: Vec<f32>,
}

impl Params {
    /// All zeros.
    pub fn zeros(layout: Arc<Layout>) -> Self {
        let values = vec![0.0; layout.total()];
        Self { layout, values }
    }

    /// The layout shared by every buffer of this model.
    pub fn layout(&self) -> &Arc<Layout> {
        &self.layout
    }

    /// The values of one tensor.
    pub fn get(&self, id: ParamId) -> &[f32] {
        &self.values[self.layout.spec(id).range()]
    }

    /// The values of one tensor, to be changed.
    pub fn get_mut(&mut self, id: ParamId) -> &mut [f32] {
        &mut self.values[self.layout.spec(id).range()]
    }

    /// All values in layout order.
    pub fn values(&self) -> &[f32] {
        &self.values
    }

    /// All values in layout order, to be changed.
    pub fn values_mut(&mut self) -> &mut [f32] {
        &mut self.values
    }

    /// Name, shape and values of every tensor.
    pub fn tensors(&self) -> impl Iterator<Item = (&TensorSpec, &[f32])> {
        self.layout.specs().iter().map(|spec| (spec, &self.values[spec.range()]))
    }
}

//! The sizes of convolutional networks from the shapes of their tensors.

use std::collections::BTreeMap;

use dinoxide_engine::kernels::Normalize;
use dinoxide_views::pixel::MAX_CHANNELS;

use crate::nn::resnet::{Kind, ResNetConfig, STEM};

/// Shapes of the tensors of a file, by name.
pub(super) type Shapes<'a> = BTreeMap<&'a str, &'a [usize]>;

/// The kernel of the first convolution, which every ResNet has.
const FIRST: &str = "conv1.weight";

/// The ResNet that these tensors belong to, if they belong to one; `normalize` gives the statistics of so many channels.
pub(super) fn resnet(shapes: &Shapes<'_>, normalize: impl Fn(usize) -> Normalize) -> Option<ResNetConfig> {
    let &&[outputs, channels @ 1..=MAX_CHANNELS, _, _] = shapes.get(FIRST)? else { return None };
    let has = |name: &str| shapes.contains_key(name);
    let kind = match (has("layer1.0.conv3.weight"), has("layer1.0.conv2.weight")) {
        (true, _) => Kind::Bottleneck,
        (false, true) => Kind::Basic,
        (false, false) => return None,
    };
    let count =
        |stage: usize| (0..).take_while(|block| has(&format!("layer{}.{block}.conv1.weight", stage + 1))).count();
    let blocks = [0, 1, 2, 3].map(count);
    let width = outputs / STEM;
    (width > 0 && blocks.iter().all(|count| *count > 0)).then(|| ResNetConfig {
        kind,
        blocks,
        width,
        normalize: normalize(channels),
    })
}

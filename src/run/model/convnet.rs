//! The sizes of ResNets and XCiTs from the shapes of their tensors.

use std::collections::BTreeMap;

use dinoxide_engine::kernels::Normalize;
use dinoxide_views::pixel::MAX_CHANNELS;

use crate::nn::backbone::MOST_BLOCKS;
use crate::nn::resnet::{Kind, ResNetConfig, STEM, WIDEST};
use crate::nn::xcit::{RELEASED, XcitConfig};

/// Shapes of the tensors of a file, by name.
pub(super) type Shapes<'a> = BTreeMap<&'a str, &'a [usize]>;

/// The kernel of the first convolution, which every ResNet has.
const FIRST: &str = "conv1.weight";

/// Convolutions of a stem that halve the image, at most.
const MOST_HALVINGS: usize = 8;

/// The ResNet that these tensors belong to, if they belong to one; `normalize` gives the statistics of so many channels.
pub(super) fn resnet(shapes: &Shapes<'_>, normalize: impl Fn(usize) -> Normalize) -> Option<ResNetConfig> {
    let &&[outputs, channels @ 1..=MAX_CHANNELS, _, _] = shapes.get(FIRST)? else { return None };
    let has = |name: &str| shapes.contains_key(name);
    let kind = match (has("layer1.0.conv3.weight"), has("layer1.0.conv2.weight")) {
        (true, _) => Kind::Bottleneck,
        (false, true) => Kind::Basic,
        (false, false) => return None,
    };
    let count = |stage: usize| {
        (0..=MOST_BLOCKS).take_while(|block| has(&format!("layer{}.{block}.conv1.weight", stage + 1))).count()
    };
    let blocks = [0, 1, 2, 3].map(count);
    let width = outputs / STEM;
    ((1..=WIDEST).contains(&width) && blocks.iter().all(|count| (1..=MOST_BLOCKS).contains(count)))
        .then(|| ResNetConfig { kind, blocks, width, normalize: normalize(channels) })
}

/// The XCiT that these tensors belong to, if they belong to one.
pub(super) fn xcit(shapes: &Shapes<'_>, normalize: impl Fn(usize) -> Normalize) -> Option<XcitConfig> {
    let &&[num_heads, 1, 1] = shapes.get("blocks.0.attn.temperature")? else { return None };
    let &&[1, 1, embed_dim] = shapes.get("cls_token")? else { return None };
    let &&[_, channels @ 1..=MAX_CHANNELS, _, _] = shapes.get("patch_embed.proj.0.0.weight")? else { return None };
    let has = |name: String| shapes.contains_key(name.as_str());
    // Networks of this width have blocks of class attention of another kind, which no tensor shows.
    const WITHOUT_TOKENS_NORM: usize = 128;
    let depth = (0..=MOST_BLOCKS).take_while(|block| has(format!("blocks.{block}.attn.temperature"))).count();
    let halvings =
        (0..MOST_HALVINGS).take_while(|layer| has(format!("patch_embed.proj.{}.0.weight", 2 * layer))).count();
    let fits = num_heads > 0
        && embed_dim > 0
        && embed_dim != WITHOUT_TOKENS_NORM
        && depth <= MOST_BLOCKS
        && embed_dim.is_multiple_of(num_heads)
        && embed_dim >> halvings > 0;
    // The file's own values take the place of this one.
    let released = RELEASED.into_iter().find(|(_, dim, blocks, _)| (*dim, *blocks) == (embed_dim, depth));
    let layer_scale = released.map_or(1.0, |(.., scale)| scale);
    let normalize = normalize(channels);
    fits.then_some(XcitConfig { patch_size: 1 << halvings, embed_dim, depth, num_heads, layer_scale, normalize })
}

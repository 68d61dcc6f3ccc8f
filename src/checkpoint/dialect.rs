//! The same tensors under the names of other programs: Hugging Face's, timm's, DINOv2's, newer PyTorch's.
//!
//! Inside this program tensors bear the official names of facebookresearch/dino, which timm shares, and those of
//! facebookresearch/dinov2 for what the former lacks. [`official`] brings what was read under these names, and
//! [`hugging_face`] takes them off again.

use std::fmt;

use super::tensor::NamedTensor;

/// Whose names a file uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Dialect {
    /// Those of the official files, of timm and of torchvision.
    Official,
    /// Those of transformers.
    HuggingFace,
}

/// Prefixes under which transformers keeps a backbone within a model for a task.
const TASK_PREFIXES: [&str; 5] = ["vit.", "dinov2.", "dinov2_with_registers.", "resnet.", "backbone."];
/// Prefixes of blocks, with the number after them: in files, and in memory since transformers 5.
const BLOCKS: [&str; 2] = ["encoder.layer.", "layers."];
/// Queries, keys and values, in the order in which the official `qkv` has them: in files, and in memory since transformers 5.
const QKV: [[&str; 2]; 3] = [
    ["attention.attention.query.", "attention.q_proj."],
    ["attention.attention.key.", "attention.k_proj."],
    ["attention.attention.value.", "attention.v_proj."],
];
/// Names outside blocks, there and here; those that end in a dot are beginnings.
const OUTSIDE: [(&str, &str); 6] = [
    ("embeddings.cls_token", "cls_token"),
    ("embeddings.position_embeddings", "pos_embed"),
    ("embeddings.mask_token", "mask_token"),
    ("embeddings.register_tokens", "register_tokens"),
    ("embeddings.patch_embeddings.projection.", "patch_embed.proj."),
    ("layernorm.", "norm."),
];
/// Names within a block of `ViTModel`.
const IN_VIT: [(&str, &str); 5] = [
    ("layernorm_before.", "norm1."),
    ("attention.output.dense.", "attn.proj."),
    ("layernorm_after.", "norm2."),
    ("intermediate.dense.", "mlp.fc1."),
    ("output.dense.", "mlp.fc2."),
];
/// Names within a block of `Dinov2Model`.
const IN_DINOV2: [(&str, &str); 9] = [
    ("norm1.", "norm1."),
    ("attention.output.dense.", "attn.proj."),
    ("layer_scale1.lambda1", "ls1.gamma"),
    ("norm2.", "norm2."),
    ("mlp.fc1.", "mlp.fc1."),
    ("mlp.fc2.", "mlp.fc2."),
    ("mlp.weights_in.", "mlp.w12."),
    ("mlp.weights_out.", "mlp.w3."),
    ("layer_scale2.lambda1", "ls2.gamma"),
];
/// Names of a ResNet outside its blocks.
const RESNET_STEM: [(&str, &str); 2] =
    [("embedder.embedder.convolution.", "conv1."), ("embedder.embedder.normalization.", "bn1.")];
/// Names of what brings a block's input to its output's shape.
const RESNET_SHORTCUT: [(&str, &str); 2] =
    [("shortcut.convolution.", "downsample.0."), ("shortcut.normalization.", "downsample.1.")];
/// What encodes the positions of an XCiT, here and in timm.
const XCIT_POSITIONS: [&str; 2] = ["pos_embeder.token_projection.", "pos_embed.token_projection."];
/// An XCiT's blocks of class attention; queries, keys and values in one, and apart in timm.
const CLASS_BLOCKS: &str = "cls_attn_blocks.";
const WHOLE: &str = ".attn.qkv.";
const XCIT_PARTS: [&str; 3] = [".attn.q.", ".attn.k.", ".attn.v."];
/// What transformers 5 calls the projection in memory.
const IN_MEMORY: [(&str, &str); 1] = [("attention.o_proj.", "attn.proj.")];
/// What newer versions of PyTorch call the two parts of a weight-normalised weight.
const PARAMETRIZED: [(&str, &str); 2] =
    [(".parametrizations.weight.original0", ".weight_g"), (".parametrizations.weight.original1", ".weight_v")];

/// Which of transformers' models is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HuggingFaceModel {
    /// `ViTModel`.
    Vit,
    /// `Dinov2Model` and `Dinov2WithRegistersModel`.
    Dinov2,
    /// `ResNetModel`.
    ResNet,
}

impl fmt::Display for Dialect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Official => "official (as timm and torchvision)",
            Self::HuggingFace => "Hugging Face transformers",
        })
    }
}

/// Gives all tensors their official names, and puts queries, keys and values together. What has no official name keeps its own.
pub fn official(tensors: Vec<NamedTensor>) -> (Vec<NamedTensor>, Dialect) {
    if tensors.iter().any(|tensor| without_task(&tensor.name).starts_with("embedder.embedder.")) {
        let named = tensors.into_iter().map(|tensor| {
            let name = resnet_official(without_task(&tensor.name));
            NamedTensor { name: name.unwrap_or_else(|| tensor.name.clone()), ..tensor }
        });
        return (named.collect(), Dialect::HuggingFace);
    }
    let is_hugging = |tensor: &NamedTensor| without_task(&tensor.name).starts_with("embeddings.");
    if !tensors.iter().any(is_hugging) {
        let renamed = tensors.into_iter().map(|tensor| NamedTensor { name: plain(&tensor.name), ..tensor });
        return (registers_of_timm(xcit_of_timm(renamed.collect())), Dialect::Official);
    }
    let mut named: Vec<NamedTensor> = Vec::with_capacity(tensors.len());
    let mut thirds = Thirds::default();
    for tensor in tensors {
        match renamed(without_task(&tensor.name)) {
            Renamed::Whole(name) => named.push(NamedTensor { name, ..tensor }),
            Renamed::Third(name, which) => thirds.add(name, which, tensor),
        }
    }
    named.extend(thirds.joined());
    (named, Dialect::HuggingFace)
}

/// Queries, keys and values that wait for each other, by the name of all three together.
#[derive(Default)]
struct Thirds(Vec<(String, [Option<NamedTensor>; 3])>);

impl Thirds {
    fn add(&mut self, name: String, which: usize, tensor: NamedTensor) {
        let place = self.0.iter().position(|(known, _)| *known == name).unwrap_or_else(|| {
            self.0.push((name, [None, None, None]));
            self.0.len() - 1
        });
        self.0[place].1[which] = Some(tensor);
    }

    /// All of them put together; what is incomplete keeps its names, and shows as missing and unexpected.
    fn joined(self) -> impl Iterator<Item = NamedTensor> {
        self.0.into_iter().flat_map(|(name, parts)| match parts {
            [Some(query), Some(key), Some(value)] if same_rows(&query, &key) && same_rows(&query, &value) => {
                vec![joined(name, [query, key, value])]
            }
            parts => parts.into_iter().flatten().collect(),
        })
    }
}

/// timm takes the queries, keys and values of an XCiT's class attention apart, and calls the encoder of positions otherwise.
fn xcit_of_timm(tensors: Vec<NamedTensor>) -> Vec<NamedTensor> {
    if !tensors.iter().any(|tensor| tensor.name.starts_with(XCIT_POSITIONS[1])) {
        return tensors;
    }
    let mut named = Vec::with_capacity(tensors.len());
    let mut thirds = Thirds::default();
    for tensor in tensors {
        if let Some(rest) = tensor.name.strip_prefix(XCIT_POSITIONS[1]) {
            named.push(NamedTensor { name: format!("{}{rest}", XCIT_POSITIONS[0]), ..tensor });
            continue;
        }
        let part = |(which, part): (usize, &&str)| {
            let (block, kind) = tensor.name.strip_prefix(CLASS_BLOCKS)?.split_once(*part)?;
            Some((which, format!("{CLASS_BLOCKS}{block}{WHOLE}{kind}")))
        };
        match XCIT_PARTS.iter().enumerate().find_map(part) {
            Some((which, name)) => thirds.add(name, which, tensor),
            None => named.push(tensor),
        }
    }
    named.extend(thirds.joined());
    named
}

/// The tensors of an XCiT under the names of timm.
pub fn timm_xcit(tensors: Vec<NamedTensor>) -> Vec<NamedTensor> {
    let mut named = Vec::with_capacity(tensors.len());
    for tensor in tensors {
        if let Some(rest) = tensor.name.strip_prefix(XCIT_POSITIONS[0]) {
            named.push(NamedTensor { name: format!("{}{rest}", XCIT_POSITIONS[1]), ..tensor });
            continue;
        }
        match tensor.name.strip_prefix(CLASS_BLOCKS).and_then(|rest| rest.split_once(WHOLE)) {
            Some((block, kind)) => {
                named.extend(taken_apart(&tensor, XCIT_PARTS.map(|part| format!("{CLASS_BLOCKS}{block}{part}{kind}"))));
            }
            None => named.push(tensor),
        }
    }
    named
}

/// Gives the tensors of a network the names of transformers, and takes queries, keys and values apart.
pub fn hugging_face(tensors: Vec<NamedTensor>, model: HuggingFaceModel) -> Vec<NamedTensor> {
    let within: &[(&str, &str)] = match model {
        HuggingFaceModel::Vit => &IN_VIT,
        HuggingFaceModel::Dinov2 => &IN_DINOV2,
        HuggingFaceModel::ResNet => {
            let named = tensors.into_iter().map(|tensor| {
                let name = resnet_hugging(&tensor.name);
                NamedTensor { name: name.unwrap_or_else(|| tensor.name.clone()), ..tensor }
            });
            return named.collect();
        }
    };
    let mut named = Vec::with_capacity(tensors.len());
    for tensor in tensors {
        let Some((number, rest)) = block(&tensor.name, "blocks.") else {
            let name = replaced(&tensor.name, OUTSIDE.iter().map(|(there, here)| (*here, *there)));
            named.push(NamedTensor { name: name.unwrap_or(tensor.name), ..tensor });
            continue;
        };
        match rest.strip_prefix("attn.qkv.") {
            Some(kind) => {
                let names = QKV.map(|[part, _]| format!("{}{number}.{part}{kind}", BLOCKS[0]));
                named.extend(taken_apart(&tensor, names));
            }
            None => {
                let inner = replaced(rest, within.iter().map(|(there, here)| (*here, *there)));
                let name = inner.map(|inner| format!("{}{number}.{inner}", BLOCKS[0]));
                named.push(NamedTensor { name: name.unwrap_or(tensor.name), ..tensor });
            }
        }
    }
    named
}

/// torchvision's name of what transformers calls `encoder.stages.0.layers.1.layer.2.convolution.weight`: `layer1.1.conv3.weight`.
fn resnet_official(name: &str) -> Option<String> {
    let Some((stage, rest)) = block(name, "encoder.stages.") else { return replaced(name, RESNET_STEM) };
    let (number, rest) = block(rest, "layers.")?;
    let inner = match block(rest, "layer.") {
        Some((layer, rest)) => {
            let rules = [("convolution.", "conv"), ("normalization.", "bn")];
            let (there, here) = rules.into_iter().find(|(there, _)| rest.starts_with(there))?;
            format!("{here}{}.{}", layer + 1, &rest[there.len()..])
        }
        None => replaced(rest, RESNET_SHORTCUT)?,
    };
    Some(format!("layer{}.{number}.{inner}", stage + 1))
}

/// The way back.
fn resnet_hugging(name: &str) -> Option<String> {
    let here = |(there, here): (&'static str, &'static str)| (here, there);
    let Some((stage, rest)) = block(name, "layer") else { return replaced(name, RESNET_STEM.map(here)) };
    let (number, rest) = block(rest, "")?;
    let inner = replaced(rest, RESNET_SHORTCUT.map(here)).or_else(|| {
        let rules = [("conv", "convolution"), ("bn", "normalization")];
        let (layer, rest, kind) = rules.iter().find_map(|(here, there)| {
            let (layer, rest) = block(rest, here)?;
            Some((layer, rest, there))
        })?;
        Some(format!("layer.{}.{kind}.{rest}", layer.checked_sub(1)?))
    })?;
    Some(format!("encoder.stages.{}.layers.{number}.{inner}", stage.checked_sub(1)?))
}

/// An official name, or the official name of which this is the first, second or last third.
enum Renamed {
    Whole(String),
    Third(String, usize),
}

fn renamed(name: &str) -> Renamed {
    let Some((number, rest)) = BLOCKS.iter().find_map(|prefix| block(name, prefix)) else {
        return Renamed::Whole(replaced(name, OUTSIDE).unwrap_or_else(|| name.to_owned()));
    };
    for (which, parts) in QKV.iter().enumerate() {
        if let Some(kind) = parts.iter().find_map(|part| rest.strip_prefix(part)) {
            return Renamed::Third(format!("blocks.{number}.attn.qkv.{kind}"), which);
        }
    }
    let inner = replaced(rest, IN_VIT.into_iter().chain(IN_DINOV2).chain(IN_MEMORY));
    Renamed::Whole(inner.map_or_else(|| name.to_owned(), |inner| format!("blocks.{number}.{inner}")))
}

/// The number of a block and the rest of the name.
fn block<'a>(name: &'a str, prefix: &str) -> Option<(usize, &'a str)> {
    let (number, rest) = name.strip_prefix(prefix)?.split_once('.')?;
    Some((number.parse().ok()?, rest))
}

/// The name under the first rule that applies: a beginning if it ends in a dot, else the whole.
fn replaced<'r>(name: &str, rules: impl IntoIterator<Item = (&'r str, &'r str)>) -> Option<String> {
    rules.into_iter().find_map(|(from, to)| {
        let rest = name.strip_prefix(from)?;
        (from.ends_with('.') || rest.is_empty()).then(|| format!("{to}{rest}"))
    })
}

fn without_task(name: &str) -> &str {
    TASK_PREFIXES.iter().find_map(|prefix| name.strip_prefix(prefix)).unwrap_or(name)
}

/// Blocks without the number of their chunk (`block_chunks` of DINOv2: `blocks.1.5.` is block 5), and weight normalisation as it
/// was named first.
fn plain(name: &str) -> String {
    if let Some((_, rest)) = block(name, "blocks.")
        && let Some((number, rest)) = block(rest, "")
    {
        return format!("blocks.{number}.{rest}");
    }
    let old = PARAMETRIZED.iter().find_map(|(new, old)| Some(format!("{}{old}", name.strip_suffix(new)?)));
    old.unwrap_or_else(|| name.to_owned())
}

/// timm keeps registers as `reg_token`, adds the class token's position to the token itself, and calls SwiGLU's layers as those of an
/// MLP: the same network with a position of zero.
fn registers_of_timm(mut tensors: Vec<NamedTensor>) -> Vec<NamedTensor> {
    swiglu_of_timm(&mut tensors);
    let Some(registers) = tensors.iter_mut().find(|tensor| tensor.name == "reg_token") else { return tensors };
    registers.name = "register_tokens".to_owned();
    if let Some(positions) = tensors.iter_mut().find(|tensor| tensor.name == "pos_embed")
        && let [1, grid, width] = positions.shape[..]
    {
        positions.values.splice(0..0, std::iter::repeat_n(0.0, width));
        positions.shape = vec![1, grid + 1, width];
    }
    tensors
}

/// Layers of a SwiGLU show by their sizes: the first one gives twice what the second takes.
fn swiglu_of_timm(tensors: &mut [NamedTensor]) {
    let shape = |name: &str| tensors.iter().find(|tensor| tensor.name == name).map(|tensor| tensor.shape.clone());
    let doubled = match (shape("blocks.0.mlp.fc1.weight").as_deref(), shape("blocks.0.mlp.fc2.weight").as_deref()) {
        (Some([given, _]), Some([_, taken])) => *given == 2 * taken,
        _ => false,
    };
    for tensor in tensors.iter_mut().filter(|tensor| doubled && tensor.name.contains(".mlp.fc")) {
        tensor.name = tensor.name.replace(".mlp.fc1.", ".mlp.w12.").replace(".mlp.fc2.", ".mlp.w3.");
    }
}

fn same_rows(a: &NamedTensor, b: &NamedTensor) -> bool {
    a.shape == b.shape && !a.shape.is_empty()
}

fn joined(name: String, parts: [NamedTensor; 3]) -> NamedTensor {
    let [first, ..] = &parts;
    let (mut shape, stored) = (first.shape.clone(), first.stored);
    shape[0] *= parts.len();
    let values = parts.into_iter().flat_map(|part| part.values).collect();
    NamedTensor { name, shape, values, stored }
}

/// The thirds of a tensor along its rows.
fn taken_apart(tensor: &NamedTensor, names: [String; 3]) -> Vec<NamedTensor> {
    let mut shape = tensor.shape.clone();
    shape.first_mut().into_iter().for_each(|rows| *rows /= 3);
    let third = tensor.values.len() / 3;
    let parts = names.into_iter().zip(tensor.values.chunks_exact(third.max(1)));
    parts
        .map(|(name, values)| NamedTensor {
            name,
            shape: shape.clone(),
            values: values.to_vec(),
            stored: tensor.stored,
        })
        .collect()
}

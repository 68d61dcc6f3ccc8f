//! What kind of network tensors belong to, judged by their names.

use std::fmt;

use super::tensor::NamedTensor;

/// A kind of network, or a part of one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Family {
    /// A ViT as DINO and timm have it.
    Vit,
    /// A ViT with what DINOv2 adds: LayerScale, registers, SwiGLU.
    Dinov2,
    /// XCiT.
    Xcit,
    /// A ResNet as torchvision has it.
    ResNet,
    /// DINO's projection head alone.
    ProjectionHead,
    /// The linear layer of a probe.
    LinearHead,
    /// None of these.
    Unknown,
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Vit => "a ViT",
            Self::Dinov2 => "a ViT of DINOv2",
            Self::Xcit => "an XCiT",
            Self::ResNet => "a ResNet",
            Self::ProjectionHead => "a projection head",
            Self::LinearHead => "a linear head",
            Self::Unknown => "an unknown network",
        })
    }
}

/// Judges tensors under their official names.
pub fn family(tensors: &[NamedTensor]) -> Family {
    let has = |part: &str| tensors.iter().any(|tensor| tensor.name.contains(part));
    let begins = |start: &str| tensors.iter().any(|tensor| tensor.name.starts_with(start));
    if begins("cls_attn_blocks.") {
        return Family::Xcit;
    }
    if begins("patch_embed.") || begins("blocks.") {
        let newer = begins("register_tokens") || has(".ls1.gamma") || has(".mlp.w12.");
        return if newer { Family::Dinov2 } else { Family::Vit };
    }
    if begins("layer1.") && begins("conv1.") {
        return Family::ResNet;
    }
    if has("last_layer.weight_v") {
        return Family::ProjectionHead;
    }
    let is_linear = |tensor: &NamedTensor| matches!(tensor.name.as_str(), "linear.weight" | "linear.bias");
    if !tensors.is_empty() && tensors.iter().all(is_linear) { Family::LinearHead } else { Family::Unknown }
}

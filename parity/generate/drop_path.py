"""Stochastic depth: timm's ViT whose drop-path modules multiply by factors written down here. f64 is the reference."""

from functools import partial

import torch
from timm.models.vision_transformer import VisionTransformer

from filler import centred, images, parameter
from reference import interpolate_positions
from store import save

DIM, DEPTH, HEADS, PATCH, IMAGE, STRIDE = 24, 3, 3, 8, 32, 7
GROUPS = [(32, 4), (16, 4)]  # side, images
COUNT = sum(images for _, images in GROUPS)
ALL, NOBODY = list(range(COUNT)), []
# Attention and MLP branch of each block: who takes it, and the factor. None: everybody, as it is.
CASES = {
    "some": [None, None, ([0, 2, 3, 5, 7], 1.25), (NOBODY, 1.25), ([1, 4, 6], 2.0), (ALL, 2.0)],
    "nobody_last": [([7], 1.5), ([0, 1, 2, 3], 1.5), (ALL, 2.0), ([4, 5, 6], 2.0), (NOBODY, 2.0), ([3, 4], 2.0)],
    "nobody_at_all": [(NOBODY, 2.0)] * 6,
}


class Factors(torch.nn.Module):
    """Multiplies every image of the batch by a factor of its own."""

    def __init__(self, factors: torch.Tensor):
        super().__init__()
        self.factors, self.first = factors, 0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * self.factors[self.first:self.first + len(x), None, None]


def factors(kept) -> torch.Tensor:
    values = torch.zeros(COUNT, dtype=torch.float64)
    if kept is None:
        return values + 1
    values[kept[0]] = kept[1]
    return values


def build(kept: list) -> VisionTransformer:
    model = VisionTransformer(img_size=IMAGE, patch_size=PATCH, embed_dim=DIM, depth=DEPTH, num_heads=HEADS,
                              num_classes=0, norm_layer=partial(torch.nn.LayerNorm, eps=1e-6))
    model.load_state_dict({name: parameter(name, tuple(t.shape)) for name, t in model.state_dict().items()}, strict=True)
    for index, block in enumerate(model.blocks):
        block.attn.fused_attn = False
        block.drop_path1, block.drop_path2 = Factors(factors(kept[2 * index])), Factors(factors(kept[2 * index + 1]))
    return model.double().train()


def class_tokens(model: VisionTransformer, image: torch.Tensor, first: int) -> torch.Tensor:
    for module in model.modules():
        if isinstance(module, Factors):
            module.first = first
    x = model.patch_embed.proj(image).flatten(2).transpose(1, 2)
    x = torch.cat([model.cls_token.expand(len(x), -1, -1), x], dim=1)
    x = x + interpolate_positions(model.pos_embed, image.shape[2], image.shape[3], PATCH)
    for block in model.blocks:
        x = block(x)
    return model.norm(x)[:, 0]


def main() -> None:
    for name, kept in CASES.items():
        model, first, outputs = build(kept), 0, []
        for side, count in GROUPS:
            outputs.append(class_tokens(model, images(f"images.{side}", (count, side, side, 3)).double(), first))
            first += count
        class_rows = torch.cat(outputs)  # [8, D]
        (class_rows * centred("grad", tuple(class_rows.shape), 1.0).double()).sum().backward()
        tensors = {f"grad.{tensor}": p.grad.flatten()[::STRIDE].float() for tensor, p in model.named_parameters()}
        case = {"dim": DIM, "depth": DEPTH, "heads": HEADS, "patch": PATCH, "image": IMAGE, "grad_stride": STRIDE,
                "groups": GROUPS, "kept": kept}
        save("drop_path", name, {"cls": class_rows, **tensors}, case)


if __name__ == "__main__":
    main()

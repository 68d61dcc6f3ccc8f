"""ViT-Ti/S/B of timm with filler weights: CLS, tokens of four blocks, last attention. f64 is the reference."""

from functools import partial

import torch
from timm.models.vision_transformer import VisionTransformer

from filler import images, parameter
from reference import interpolate_positions, vit
from store import save

MODELS = {"tiny": (192, 3), "small": (384, 6), "base": (768, 12)}
SIZES = [(224, 224), (96, 96), (320, 480)]  # height, width
DEPTH, PATCH, ROW_STRIDE, COLUMN_STRIDE = 12, 16, 7, 11


def build(dim: int, heads: int) -> VisionTransformer:
    model = VisionTransformer(img_size=224, patch_size=PATCH, embed_dim=dim, depth=DEPTH, num_heads=heads,
                              num_classes=0, norm_layer=partial(torch.nn.LayerNorm, eps=1e-6))
    filled = {name: parameter(name, tuple(tensor.shape)) for name, tensor in model.state_dict().items()}
    model.load_state_dict(filled, strict=True)
    for block in model.blocks:
        block.attn.fused_attn = False
    return model.eval()


@torch.no_grad()
def outputs(model: VisionTransformer, image: torch.Tensor) -> dict:
    """timm's patch embedding, blocks and norm around officially interpolated positions."""
    seen = {}
    hook = model.blocks[-1].attn.attn_drop.register_forward_pre_hook(lambda _, args: seen.update(attention=args[0]))
    x = model.patch_embed.proj(image).flatten(2).transpose(1, 2)
    x = torch.cat([model.cls_token, x], dim=1)
    x = x + interpolate_positions(model.pos_embed, image.shape[2], image.shape[3], PATCH)
    layers = []
    for block in model.blocks:
        x = block(x)
        layers.append(model.norm(x))
    hook.remove()
    if image.shape[2:] == (224, 224):
        torch.testing.assert_close(model(image), layers[-1][:, 0], rtol=1e-5, atol=1e-5)
    return {"cls": layers[-1][0, 0], "layers": torch.cat(layers[-4:]), "attention": seen["attention"][0, :, 0]}


def relative(a: torch.Tensor, b: torch.Tensor) -> float:
    return float((a.double() - b.double()).abs().max() / b.abs().max())


def main() -> None:
    for name, (dim, heads) in MODELS.items():
        single, double = build(dim, heads), build(dim, heads).double()
        for height, width in SIZES:
            image = images("image", (1, height, width, 3))
            low, out = outputs(single, image), outputs(double, image.double())
            own = vit({k: v for k, v in double.state_dict().items()}, image.double(), heads)
            assert relative(own["cls"][0], out["cls"]) < 1e-12
            assert relative(own["attention"][0, :, 0], out["attention"]) < 1e-12
            layers = out["layers"]  # [4, N+1, D]
            case = {"model": f"vit_{name}", "dim": dim, "depth": DEPTH, "heads": heads, "patch": PATCH,
                    "init_image": 224, "height": height, "width": width, "row_stride": ROW_STRIDE,
                    "column_stride": COLUMN_STRIDE, "f32_relative_difference": {k: relative(low[k], out[k]) for k in out}}
            tensors = {
                "cls": out["cls"],
                "attention": out["attention"].float(),
                "layers.sample": layers[:, ::ROW_STRIDE, ::COLUMN_STRIDE].float(),
                "layers.sum": layers.sum((1, 2)),
                "layers.abs_sum": layers.abs().sum((1, 2)),
                "layers.abs_max": layers.abs().amax((1, 2)),
            }
            print(case["f32_relative_difference"], "attention max", float(out["attention"].max()))
            save("vit", f"vit_{name}_{height}x{width}", tensors, case)


if __name__ == "__main__":
    main()

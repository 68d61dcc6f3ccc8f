"""timm's ViT with what DINOv2 adds, on groups of images: features and gradients, in f64; some images skip branches."""

from functools import partial

import torch
from timm.layers import SwiGLUPacked
from timm.models.vision_transformer import VisionTransformer

import networks
from store import save

SIZES = {"dim": 48, "depth": 2, "heads": 4, "patch": 14, "image": 56}
# Registers, whether SwiGLU, its hidden width or the MLP's, and what skips: images of all groups that take a branch, and the factor;
# attention and MLP of two blocks.
CASES = {
    "layer_scale": (0, False, 192, []),
    "registers": (4, False, 192, []),
    "swiglu": (4, True, 128, []),
    "drop_path": (3, True, 136, [([0, 2, 3], 1.25), ([1, 2, 4], 2.0), None, ([0, 4], 1.5)]),
}
# Of the second group the positions are interpolated.
GROUPS = ((2, 56, 56), (3, 28, 42))


def build(registers: int, swiglu: bool, hidden: int, kept: list) -> VisionTransformer:
    sizes = {"img_size": SIZES["image"], "patch_size": SIZES["patch"], "embed_dim": SIZES["dim"], "depth": SIZES["depth"],
             "num_heads": SIZES["heads"]}
    extras = {"mlp_layer": SwiGLUPacked, "act_layer": torch.nn.SiLU} if swiglu else {}
    # timm counts both halves of a SwiGLU.
    model = VisionTransformer(**sizes, **extras, mlp_ratio=(hidden * (1 + swiglu) + 0.5) / SIZES["dim"], num_classes=0, init_values=1.0,
                              reg_tokens=registers, no_embed_class=True, dynamic_img_size=True,
                              norm_layer=partial(torch.nn.LayerNorm, eps=1e-6))
    for index, skip in enumerate(kept):
        if skip is not None:
            setattr(model.blocks[index // 2], f"drop_path{index % 2 + 1}", networks.Skip(skip))
    return model


def filled(model: VisionTransformer, swiglu: bool) -> dict:
    """Every tensor as DINOv2 names it, with a position of the class token."""
    tensors = {}
    for key, tensor in model.state_dict().items():
        name, shape = key.replace("reg_token", "register_tokens"), list(tensor.shape)
        if swiglu:
            name = name.replace("mlp.fc1", "mlp.w12").replace("mlp.fc2", "mlp.w3")
        if name == "pos_embed":
            shape[1] += 1
        tensors[name] = networks.value(name, tuple(shape))
    return tensors


def timm_state(tensors: dict, model: VisionTransformer) -> dict:
    """The same as timm has it: the position of the class token is added to the token."""
    state = {}
    for name, tensor in tensors.items():
        key = name.replace("register_tokens", "reg_token").replace("mlp.w12", "mlp.fc1").replace("mlp.w3", "mlp.fc2")
        state[key] = tensor
    state["cls_token"] = tensors["cls_token"] + tensors["pos_embed"][:, :1]
    state["pos_embed"] = tensors["pos_embed"][:, 1:]
    return state


def main() -> None:
    for case, (registers, swiglu, hidden, kept) in CASES.items():
        model = build(registers, swiglu, hidden, kept)
        tensors, worst = networks.look_twice(model, filled(model, swiglu), GROUPS, timm_state)
        print(case, "f32 is off by", worst)
        facts = {"registers": registers, "swiglu": swiglu, "hidden": hidden, "kept": kept, "groups": GROUPS}
        save("dinov2", case, tensors, SIZES | facts | {"f32_relative_difference": worst})


if __name__ == "__main__":
    main()

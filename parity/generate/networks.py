"""Networks of torchvision and timm with tensors of a dictionary under the official names, and filler values for them."""

import torch
import torchvision
from timm.models.xcit import Xcit

from filler import centred, images, parameter

# What the last scale of a ResNet's bottleneck is multiplied by: at 1, PyTorch itself is off by 1e-4 in f32, since every block
# normalises what is left of the ones before.
BRANCH = 0.25
# Sizes of the released XCiTs and of a tiny one.
XCITS = {
    "xcit_small_12_p16": {"patch_size": 16, "embed_dim": 384, "depth": 12, "num_heads": 8, "eta": 1.0},
    "xcit_small_12_p8": {"patch_size": 8, "embed_dim": 384, "depth": 12, "num_heads": 8, "eta": 1.0},
    "xcit_medium_24_p16": {"patch_size": 16, "embed_dim": 512, "depth": 24, "num_heads": 8, "eta": 1e-5},
    "xcit_tiny": {"patch_size": 8, "embed_dim": 48, "depth": 2, "num_heads": 4, "eta": 1.0},
}


def build(name: str) -> torch.nn.Module:
    """The network without a classifier; its values do not matter."""
    if name in XCITS:
        return Xcit(num_classes=0, tokens_norm=True, **XCITS[name])
    model = getattr(torchvision.models, name)()
    model.fc = torch.nn.Identity()
    return model


def official(model: torch.nn.Module) -> dict:
    """By official name the names of the model's parts: the queries, keys and values of timm's class attention are one tensor there."""
    names = {}
    for key in model.state_dict():
        name = key.replace("pos_embed.", "pos_embeder.")
        for part in ("q", "k", "v"):
            name = name.replace(f".attn.{part}.", ".attn.qkv.")
        names.setdefault(name, []).append(key)
    return names


def value(name: str, shape: tuple, prefix: str = "") -> torch.Tensor:
    """Filler by the README's rule, but for what would make all channels alike or branches cancel each other."""
    if name.endswith("temperature"):
        return centred(prefix + name, shape, 1.0, 4.0)
    if ".gamma" in name:
        return centred(prefix + name, shape, 0.1, 0.3)
    return parameter(prefix + name, shape) * (BRANCH if name.endswith("bn3.weight") else 1)


def filled(model: torch.nn.Module, prefix: str = "") -> dict:
    """Every tensor by official name, in the model's order; counters are zero."""
    state, tensors = model.state_dict(), {}
    for name, parts in official(model).items():
        first = state[parts[0]]
        if first.dim() == 0:
            tensors[name] = torch.zeros_like(first)
        else:
            tensors[name] = value(name, (sum(len(state[part]) for part in parts), *first.shape[1:]), prefix)
    return tensors


def parts_of(tensors: dict, model: torch.nn.Module) -> dict:
    """The same tensors as the model calls them; running statistics are the very tensors, so that it moves them."""
    state = {}
    for name, parts in official(model).items():
        pieces = [tensors[name]] if len(parts) == 1 else tensors[name].chunk(len(parts))
        state |= dict(zip(parts, pieces))
    return state


def features(model: torch.nn.Module, tensors: dict, images: torch.Tensor, state_of=parts_of) -> torch.Tensor:
    """The model's features of images with these tensors, which `state_of` turns into the model's own."""
    return torch.func.functional_call(model, state_of(tensors, model), images)


class Skip(torch.nn.Module):
    """Drop path with a given mask: in training, images that skip are zero, the others multiplied."""

    def __init__(self, kept: tuple):
        super().__init__()
        self.kept, self.first = kept, 0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if not self.training:
            return x
        taking, factor = self.kept
        mask = [factor if self.first + image in taking else 0.0 for image in range(len(x))]
        return x * torch.tensor(mask, dtype=x.dtype)[:, None, None]


def look(model: torch.nn.Module, tensors: dict, groups: tuple, state_of=parts_of) -> dict:
    """Features of groups of images (count, height, width), gradients, running statistics after it, and features as evaluated."""
    dtype = next(value for value in tensors.values() if value.is_floating_point()).dtype
    leaves = {name: value for name, value in tensors.items() if value.is_floating_point() and "running_" not in name}
    for value in leaves.values():
        value.requires_grad_()
    found, first = {}, 0
    model.train()
    for index, (count, height, width) in enumerate(groups):
        for module in model.modules():
            if isinstance(module, Skip):
                module.first = first
        first += count
        out = features(model, tensors, images(f"image.{index}", (count, height, width, 3)).to(dtype), state_of)
        (out * centred(f"grad.{index}", tuple(out.shape), 1.0).to(dtype)).sum().backward()
        found[f"out.{index}"] = out
    # A number for each tensor is enough to tell a wrong one: its gradient along the filler of its name, and its length.
    for name, value in leaves.items():
        grad, along = value.grad, centred(f"along.{name}", tuple(value.shape), 1.0).to(dtype)
        found[f"grad.{name}"] = torch.stack([(grad * along).sum(), grad.norm()])
    for name, value in tensors.items():
        if "running_" in name:
            found[f"after.{name}"] = torch.stack([value.mean(), value.norm()])
    model.eval()
    count, height, width = groups[0]
    found["evaluated"] = features(model, tensors, images("image.0", (count, height, width, 3)).to(dtype), state_of)
    return found


def look_twice(model: torch.nn.Module, tensors: dict, groups: tuple, state_of=parts_of) -> tuple:
    """The same in f64, and how far PyTorch's own f32 is off, by kind."""
    cast = lambda dtype: {n: v.detach().clone().to(dtype) if v.is_floating_point() else v.clone() for n, v in tensors.items()}
    single = look(model.float(), cast(torch.float32), groups, state_of)
    double = look(model.double(), cast(torch.float64), groups, state_of)
    worst = {}
    for key, tensor in double.items():
        # The first of a gradient's two numbers is a sum of terms of both signs, as large as the second one's.
        scale = tensor[1] if key.startswith("grad.") else tensor.abs().max()
        kind, apart = key.split(".")[0], (single[key].double() - tensor).abs().max() / scale.abs()
        worst[kind] = max(worst.get(kind, 0.0), float(apart.detach()))
    return double, worst

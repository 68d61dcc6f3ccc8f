"""timm's XCiT on groups of images: features, gradients and running statistics, in f64; and with some images skipping branches."""

import torch
from timm.models.xcit import Xcit

from filler import centred, images, parameter
from store import save

# Sizes; then images, height, width of each group, and what skips: (block, branch) -> images of all groups that take it, and the factor.
SMALL = {"embed_dim": 384, "depth": 12, "num_heads": 8, "eta": 1.0}
MEDIUM = {"embed_dim": 512, "depth": 24, "num_heads": 8, "eta": 1e-5}
TINY = {"embed_dim": 48, "depth": 2, "num_heads": 4, "eta": 1.0}
CASES = {
    "small_12_p16": (SMALL, 16, ((3, 64, 64), (2, 48, 80))),
    "small_12_p8": (SMALL, 8, ((2, 32, 32), (3, 24, 40))),
    "medium_24_p16": (MEDIUM, 16, ((2, 48, 48),)),
    "drop_path": (TINY, 8, ((4, 32, 32), (6, 16, 24))),
}
# In the order of the branches: attention, local patch interaction, MLP; two blocks.
KEPT = [([0, 2, 3, 4, 7, 9], 1.25), ([1, 2, 5, 6, 8], 2.0), ([], 4.0), ([0, 1, 4], 1.5), None, ([4, 5, 6, 7, 8, 9], 1.0)]


def official(model: Xcit) -> dict:
    """Tensors by official name, each a list of timm's parts: class attention's queries, keys and values are one there."""
    names = {}
    for key, tensor in [*model.named_parameters(), *model.named_buffers()]:
        name = key.replace("pos_embed.", "pos_embeder.")
        for part in ("q", "k", "v"):
            name = name.replace(f".attn.{part}.", ".attn.qkv.")
        names.setdefault(name, []).append(tensor)
    return names


def value(name: str, shape: tuple) -> torch.Tensor:
    """Filler by the README's rule, but for what would make all channels alike or branches cancel each other."""
    if name.endswith("temperature"):
        return centred(name, shape, 1.0, 4.0)
    if ".gamma" in name:
        return centred(name, shape, 0.1, 0.3)
    return parameter(name, shape)


class Skip(torch.nn.Module):
    """Drop path with a given mask: in training, images that skip are zero, the others multiplied."""

    def __init__(self, kept: tuple):
        super().__init__()
        self.kept, self.first = kept, 0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if not self.training:
            return x
        images, factor = self.kept
        mask = [factor if self.first + image in images else 0.0 for image in range(len(x))]
        return x * torch.tensor(mask, dtype=x.dtype)[:, None, None]


def build(sizes: dict, patch: int) -> Xcit:
    model = Xcit(patch_size=patch, num_classes=0, tokens_norm=True, **sizes)
    with torch.no_grad():
        for name, parts in official(model).items():
            if parts[0].dim() > 0:
                rows = sum(len(part) for part in parts)
                filled = value(name, (rows, *parts[0].shape[1:]))
                for part, values in zip(parts, filled.split([len(part) for part in parts])):
                    part.copy_(values)
    return model


def run(model: Xcit, groups: tuple, dtype: torch.dtype, skips: list) -> dict:
    tensors, first = {}, 0
    for index, (count, height, width) in enumerate(groups):
        for skip in skips:
            skip.first = first
        first += count
        out = model(images(f"image.{index}", (count, height, width, 3)).to(dtype))
        (out * centred(f"grad.{index}", tuple(out.shape), 1.0).to(dtype)).sum().backward()
        tensors[f"out.{index}"] = out
    # A number for each tensor is enough to tell a wrong one: its gradient along the filler of its name, and its length.
    for name, parts in official(model).items():
        if parts[0].grad is not None:
            grad = torch.cat([part.grad for part in parts])
            along = centred(f"along.{name}", tuple(grad.shape), 1.0).to(dtype)
            tensors[f"grad.{name}"] = torch.stack([(grad * along).sum(), grad.norm()])
        elif parts[0].dim() > 0:
            tensors[f"after.{name}"] = torch.stack([parts[0].mean(), parts[0].norm()])
    model.eval()
    count, height, width = groups[0]
    tensors["evaluated"] = model(images("image.0", (count, height, width, 3)).to(dtype))
    return tensors


def main() -> None:
    for case, (sizes, patch, groups) in CASES.items():
        results, kept = [], KEPT if case == "drop_path" else []
        for dtype in (torch.float32, torch.float64):
            model, skips = build(sizes, patch).to(dtype), []
            for index, skip in enumerate(kept):
                if skip is not None:
                    skips.append(Skip(skip))
                    setattr(model.blocks[index // 3], ("drop_path1", "drop_path3", "drop_path2")[index % 3], skips[-1])
            results.append(run(model, groups, dtype, skips))
        single, double = results
        worst = {}
        for key, tensor in double.items():
            # The first of a gradient's two numbers is a sum of terms of both signs, as large as the second one's.
            scale = tensor[1] if key.startswith("grad.") else tensor.abs().max()
            kind = key.split(".")[0]
            worst[kind] = max(worst.get(kind, 0.0), float(((single[key].double() - tensor).abs().max() / scale.abs()).detach()))
        print(case, "f32 is off by", worst)
        save("xcit", case, double, {"groups": groups, "patch": patch, **sizes, "kept": kept, "f32_relative_difference": worst})


if __name__ == "__main__":
    main()

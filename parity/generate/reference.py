"""Plain PyTorch DINO, written from the formulas: ViT, head, loss, update. Parameters are a dict from name to tensor."""

import math

import numpy as np
import torch
import torch.nn.functional as F


def vit_shapes(dim: int, depth: int, patch: int, grid: int) -> dict:
    """Names and shapes of a ViT backbone with an initial `grid` x `grid` position table."""
    shapes = {
        "cls_token": (1, 1, dim),
        "pos_embed": (1, grid * grid + 1, dim),
        "patch_embed.proj.weight": (dim, 3, patch, patch),
        "patch_embed.proj.bias": (dim,),
    }
    for i in range(depth):
        block = f"blocks.{i}."
        shapes[block + "norm1.weight"] = shapes[block + "norm1.bias"] = (dim,)
        shapes[block + "attn.qkv.weight"] = (3 * dim, dim)
        shapes[block + "attn.qkv.bias"] = (3 * dim,)
        shapes[block + "attn.proj.weight"] = (dim, dim)
        shapes[block + "attn.proj.bias"] = (dim,)
        shapes[block + "norm2.weight"] = shapes[block + "norm2.bias"] = (dim,)
        shapes[block + "mlp.fc1.weight"] = (4 * dim, dim)
        shapes[block + "mlp.fc1.bias"] = (4 * dim,)
        shapes[block + "mlp.fc2.weight"] = (dim, 4 * dim)
        shapes[block + "mlp.fc2.bias"] = (dim,)
    shapes["norm.weight"] = shapes["norm.bias"] = (dim,)
    return shapes


def head_shapes(sizes: dict) -> dict:
    """Names and shapes of a projection head; `sizes`: in_dim, hidden, bottleneck, out_dim, nlayers, use_bn."""
    hidden, bottleneck, layers = sizes["hidden"], sizes["bottleneck"], max(sizes["nlayers"], 1)
    stride = 3 if sizes["use_bn"] else 2
    shapes = {}
    width = sizes["in_dim"]
    for layer in range(layers):
        out = bottleneck if layer == layers - 1 else hidden
        name = "mlp." if layers == 1 else f"mlp.{layer * stride}."
        shapes[name + "weight"], shapes[name + "bias"] = (out, width), (out,)
        if sizes["use_bn"] and layer < layers - 1:
            norm = f"mlp.{layer * stride + 1}."
            for tensor in ("weight", "bias", "running_mean", "running_var"):
                shapes[norm + tensor] = (hidden,)
        width = out
    shapes["last_layer.weight_g"] = (sizes["out_dim"], 1)
    shapes["last_layer.weight_v"] = (sizes["out_dim"], bottleneck)
    return shapes


def interpolate_positions(pos_embed: torch.Tensor, height: int, width: int, patch: int) -> torch.Tensor:
    """Position table for an image: official rule, factor (target + 0.1) / side, bicubic A = -0.75, no antialias."""
    count, dim = pos_embed.shape[1] - 1, pos_embed.shape[2]
    side = math.isqrt(count)
    rows, columns = height // patch, width // patch
    if rows * columns == count and height == width:
        return pos_embed
    table = pos_embed[:, 1:].reshape(1, side, side, dim).permute(0, 3, 1, 2)
    factors = ((rows + 0.1) / side, (columns + 0.1) / side)
    table = F.interpolate(table, scale_factor=factors, mode="bicubic", align_corners=False)
    assert table.shape[2:] == (rows, columns)
    table = table.permute(0, 2, 3, 1).reshape(1, rows * columns, dim)
    return torch.cat([pos_embed[:, :1], table], dim=1)


def layer_norm(x: torch.Tensor, p: dict, name: str) -> torch.Tensor:
    return F.layer_norm(x, x.shape[-1:], p[name + ".weight"], p[name + ".bias"], eps=1e-6)


def linear(x: torch.Tensor, p: dict, name: str) -> torch.Tensor:
    return F.linear(x, p[name + ".weight"], p[name + ".bias"])


def attention(x: torch.Tensor, p: dict, name: str, heads: int) -> tuple:
    """Output and softmaxed attention [B, heads, N, N]."""
    batch, tokens, dim = x.shape
    qkv = linear(x, p, name + ".qkv").reshape(batch, tokens, 3, heads, dim // heads)
    query, key, value = qkv.permute(2, 0, 3, 1, 4)  # each [B, heads, N, head_dim]
    weights = ((query @ key.transpose(-2, -1)) * (dim // heads) ** -0.5).softmax(-1)
    mixed = (weights @ value).transpose(1, 2).reshape(batch, tokens, dim)
    return linear(mixed, p, name + ".proj"), weights


def vit(p: dict, images: torch.Tensor, heads: int, masked: torch.Tensor | None = None) -> dict:
    """`cls`, normed output of every block (`layers`), last `attention`. `p` without prefix; the mask token stands for `masked` patches."""
    patch = p["patch_embed.proj.weight"].shape[-1]
    x = F.conv2d(images, p["patch_embed.proj.weight"], p["patch_embed.proj.bias"], stride=patch)
    x = x.flatten(2).transpose(1, 2)  # [B, N, D]
    if masked is not None:
        x = torch.where(masked[..., None], p["mask_token"], x)
    x = torch.cat([p["cls_token"].expand(len(x), -1, -1), x], dim=1)
    x = x + interpolate_positions(p["pos_embed"], images.shape[2], images.shape[3], patch)
    layers, i = [], 0
    while f"blocks.{i}.norm1.weight" in p:
        block = f"blocks.{i}."
        mixed, weights = attention(layer_norm(x, p, block + "norm1"), p, block + "attn", heads)
        x = x + mixed
        hidden = F.gelu(linear(layer_norm(x, p, block + "norm2"), p, block + "mlp.fc1"))
        x = x + linear(hidden, p, block + "mlp.fc2")
        layers.append(layer_norm(x, p, "norm"))
        i += 1
    return {"cls": layers[-1][:, 0], "layers": layers, "attention": weights}


def head(p: dict, x: torch.Tensor, training: bool = True) -> torch.Tensor:
    """Logits [B, K] of the projection head; running statistics in `p` are updated in training."""
    names = ["mlp"] if "mlp.weight" in p else [f"mlp.{i}" for i in range(9) if f"mlp.{i}.weight" in p]
    for i, name in enumerate(names):
        if p[name + ".weight"].dim() == 2:
            x = linear(x, p, name)
        else:
            mean, var = p[name + ".running_mean"], p[name + ".running_var"]
            x = F.batch_norm(x, mean, var, p[name + ".weight"], p[name + ".bias"], training, 0.1, 1e-5)
        followed_by_norm = i + 1 < len(names) and p[names[i + 1] + ".weight"].dim() == 1
        if i + 1 < len(names) and not followed_by_norm:
            x = F.gelu(x)
    x = x / x.norm(dim=-1, keepdim=True).clamp_min(1e-12)
    v = p["last_layer.weight_v"]
    return x @ (p["last_layer.weight_g"] * v / v.norm(dim=1, keepdim=True)).T


def dino_loss(student: torch.Tensor, teacher: torch.Tensor, center: torch.Tensor, temps: tuple) -> tuple:
    """Double loop over (teacher view, student view) pairs. Returns the loss and the mean teacher entropy."""
    teacher_temp, student_temp = temps
    batch = len(teacher) // 2
    log_probs = (student / student_temp).log_softmax(-1).split(batch)
    targets = ((teacher.detach() - center) / teacher_temp).softmax(-1).split(batch)
    total, pairs = 0.0, 0
    for i, target in enumerate(targets):
        for v, log_prob in enumerate(log_probs):
            if v != i:
                total = total - (target * log_prob).sum(-1).mean()
                pairs += 1
    probs = torch.cat(targets)
    entropy = torch.special.entr(probs).sum(-1).mean()
    return total / pairs, entropy


def cosine_schedule(base: float, final: float, total: int, warmup: int = 0) -> np.ndarray:
    """Linear warm-up from 0 (both ends included), then half a cosine that never reaches `final`."""
    steps = np.arange(total - warmup, dtype=np.float64)
    cosine = final + 0.5 * (base - final) * (1.0 + np.cos(np.pi * steps / max(total - warmup, 1)))
    return np.concatenate([np.linspace(0.0, base, warmup), cosine])


def temperature_schedule(start: float, end: float, warmup: int, epochs: int) -> np.ndarray:
    """Teacher temperature of every epoch."""
    return np.concatenate([np.linspace(start, end, warmup), np.full(epochs - warmup, end)])


def decays(name: str, shape: tuple) -> bool:
    """Whether weight decay applies to a tensor."""
    return not (name.endswith(".bias") or len(shape) == 1)


def clip_each(tensors: list, clip: float) -> None:
    """Scales every gradient tensor on its own to a norm of at most `clip`."""
    for tensor in tensors:
        if tensor.grad is not None:
            factor = clip / (tensor.grad.norm() + 1e-6)
            if factor < 1:
                tensor.grad.mul_(factor)


class Lars(torch.optim.Optimizer):
    """LARS: trust ratio and decay for tensors of more than one dimension, momentum 0.9, eta 0.001."""

    def __init__(self, groups):
        super().__init__(groups, {"lr": 0.0, "weight_decay": 0.0})

    @torch.no_grad()
    def step(self):
        for group in self.param_groups:
            for tensor in group["params"]:
                if tensor.grad is None:
                    continue
                update = tensor.grad
                if tensor.dim() != 1:
                    update = update + group["weight_decay"] * tensor
                    size, slope = tensor.norm(), update.norm()
                    if size > 0 and slope > 0:
                        update = update * (0.001 * size / slope)
                momentum = self.state[tensor].setdefault("mu", torch.zeros_like(tensor))
                momentum.mul_(0.9).add_(update)
                tensor.sub_(group["lr"] * momentum)


def optimizer(kind: str, named: dict) -> torch.optim.Optimizer:
    """Two groups: decayed tensors, then the others, whose decay stays 0."""
    groups = [
        {"params": [t for n, t in named.items() if decays(n, t.shape)]},
        {"params": [t for n, t in named.items() if not decays(n, t.shape)], "weight_decay": 0.0},
    ]
    if kind == "adamw":
        return torch.optim.AdamW(groups, lr=0.0)
    return torch.optim.SGD(groups, lr=0.0, momentum=0.9) if kind == "sgd" else Lars(groups)

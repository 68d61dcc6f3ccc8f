"""Milliseconds of one DINO training step in PyTorch: by default eager f32, the way the official program does it.

Explicit attention, one backbone pass per resolution, a loop over view pairs, clipping and EMA in Python loops over
parameters, torch's default AdamW. Random data, made before the clock starts. Prints one JSON object: the median over
`--steps` steps, after `--warmup` steps, of every phase and of the whole step.

`--dtype bf16` computes under autocast. `--fast` is what one would write for speed: one soft cross-entropy per student view, fused
AdamW, clipping and EMA over all tensors at once; `--fused-attention` is PyTorch's, whose backward pass is slower on processors
than the explicit one. `--compile` runs both networks through torch.compile.
`--no-head` times the backbone alone on the global crops of one view, forward and backward.

Default: ViT-S/16, 2 x 224 + 8 x 96, K = 65536, batch 8. CIFAR setting:
  dino_step.py --arch 192,6,3 --patch 8 --image 32,16 --locals 4 --out-dim 4096 --batch 64 --drop-path 0
"""

import argparse
import json
import math
import platform
import resource
import statistics
import time

import torch
import torch.nn.functional as F
from torch import nn

ARCHS = {"vit_tiny": (192, 12, 3), "vit_small": (384, 12, 6), "vit_base": (768, 12, 12)}


class DropPath(nn.Module):
    """Drops the residual of a sample with probability `rate`, scales the kept ones."""

    def __init__(self, rate: float):
        super().__init__()
        self.rate = rate

    def forward(self, x):
        if self.rate == 0.0 or not self.training:
            return x
        keep = 1.0 - self.rate
        mask = torch.rand(x.shape[0], 1, 1).add_(keep).floor_()
        return x / keep * mask


class Attention(nn.Module):
    fused = False

    def __init__(self, dim: int, heads: int):
        super().__init__()
        self.heads, self.scale = heads, (dim // heads) ** -0.5
        self.qkv, self.proj = nn.Linear(dim, 3 * dim), nn.Linear(dim, dim)

    def forward(self, x):
        batch, tokens, dim = x.shape
        qkv = self.qkv(x).reshape(batch, tokens, 3, self.heads, dim // self.heads).permute(2, 0, 3, 1, 4)
        query, key, value = qkv.unbind(0)  # each [B, heads, N, head_dim]
        if Attention.fused:
            mixed = F.scaled_dot_product_attention(query, key, value)
        else:
            mixed = ((query @ key.transpose(-2, -1)) * self.scale).softmax(dim=-1) @ value
        return self.proj(mixed.transpose(1, 2).reshape(batch, tokens, dim))


class Block(nn.Module):
    def __init__(self, dim: int, heads: int, rate: float):
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(dim, eps=1e-6), nn.LayerNorm(dim, eps=1e-6)
        self.attn = Attention(dim, heads)
        self.mlp = nn.Sequential(nn.Linear(dim, 4 * dim), nn.GELU(), nn.Linear(4 * dim, dim))
        self.drop_path = DropPath(rate)

    def forward(self, x):
        x = x + self.drop_path(self.attn(self.norm1(x)))
        return x + self.drop_path(self.mlp(self.norm2(x)))


class Vit(nn.Module):
    def __init__(self, arch: tuple, patch: int, side: int, drop_path: float):
        super().__init__()
        dim, depth, heads = arch
        self.patch, self.grid = patch, side // patch
        self.patch_embed = nn.Conv2d(3, dim, patch, patch)
        self.cls_token = nn.Parameter(torch.randn(1, 1, dim) * 0.02)
        self.pos_embed = nn.Parameter(torch.randn(1, self.grid**2 + 1, dim) * 0.02)
        rates = torch.linspace(0, drop_path, depth).tolist()
        self.blocks = nn.ModuleList(Block(dim, heads, rate) for rate in rates)
        self.norm = nn.LayerNorm(dim, eps=1e-6)

    def positions(self, side: int):
        target = side // self.patch
        if target == self.grid:
            return self.pos_embed
        table = self.pos_embed[:, 1:].reshape(1, self.grid, self.grid, -1).permute(0, 3, 1, 2)
        table = F.interpolate(table, scale_factor=((target + 0.1) / self.grid,) * 2, mode="bicubic")
        table = table.permute(0, 2, 3, 1).flatten(1, 2)
        return torch.cat([self.pos_embed[:, :1], table], dim=1)

    def forward(self, images):
        x = self.patch_embed(images).flatten(2).transpose(1, 2)
        x = torch.cat([self.cls_token.expand(len(x), -1, -1), x], dim=1) + self.positions(images.shape[-1])
        for block in self.blocks:
            x = block(x)
        return self.norm(x)[:, 0]


class Head(nn.Module):
    def __init__(self, dim: int, args):
        super().__init__()
        hidden, bottleneck = args.hidden, args.bottleneck
        self.mlp = nn.Sequential(nn.Linear(dim, hidden), nn.GELU(), nn.Linear(hidden, hidden), nn.GELU(),
                                 nn.Linear(hidden, bottleneck))
        self.last_layer = nn.utils.weight_norm(nn.Linear(bottleneck, args.out_dim, bias=False))
        self.last_layer.weight_g.data.fill_(1)
        self.last_layer.weight_g.requires_grad = False

    def forward(self, x):
        return self.last_layer(F.normalize(self.mlp(x), dim=-1))


class Network(nn.Module):
    """Backbone and head; views of one size share a backbone pass."""

    def __init__(self, args, drop_path: float):
        super().__init__()
        self.backbone = Vit(args.arch, args.patch, args.image[0], drop_path)
        self.head = Head(args.arch[0], args)

    def forward(self, groups: list):
        return self.head(torch.cat([self.backbone(torch.cat(group)) for group in groups]))


class Loss(nn.Module):
    def __init__(self, out_dim: int, fast: bool):
        super().__init__()
        self.fast = fast
        self.register_buffer("center", torch.zeros(1, out_dim))

    def forward(self, student, teacher, views: int):
        targets = F.softmax((teacher - self.center) / 0.04, dim=-1).detach().chunk(2)
        log_inputs = (student / 0.1).chunk(views)
        if self.fast:
            return self.at_once(targets, log_inputs, teacher)
        total, pairs = 0.0, 0
        for i, target in enumerate(targets):
            for v, logits in enumerate(log_inputs):
                if i != v:
                    total = total + torch.sum(-target * F.log_softmax(logits, dim=-1), dim=-1).mean()
                    pairs += 1
        self.move_center(teacher)
        return total / pairs

    def at_once(self, targets: tuple, log_inputs: tuple, teacher):
        """The same, with one log-softmax for each student view against the sum of the other views' targets."""
        total, both = 0.0, targets[0] + targets[1]
        for v, logits in enumerate(log_inputs):
            target = targets[1 - v] if v < 2 else both
            total = total - torch.sum(target * F.log_softmax(logits, dim=-1), dim=-1).mean()
        self.move_center(teacher)
        return total / (2 * len(log_inputs) - 2)

    @torch.no_grad()
    def move_center(self, teacher) -> None:
        self.center = self.center * 0.9 + teacher.mean(0, keepdim=True) * 0.1


def clip_each(model: nn.Module, limit: float, at_once: bool) -> None:
    if at_once:
        grads = [p.grad for p in model.parameters() if p.grad is not None]
        factors = [torch.clamp(limit / (norm + 1e-6), max=1.0) for norm in torch._foreach_norm(grads)]
        torch._foreach_mul_(grads, factors)
        return
    for parameter in model.parameters():
        if parameter.grad is not None:
            factor = limit / (parameter.grad.norm(2) + 1e-6)
            if factor < 1:
                parameter.grad.mul_(factor)


@torch.no_grad()
def move_teacher(student: nn.Module, teacher: nn.Module, momentum: float, at_once: bool) -> None:
    if at_once:
        torch._foreach_lerp_(list(teacher.parameters()), list(student.parameters()), 1 - momentum)
        return
    for ours, theirs in zip(student.parameters(), teacher.parameters()):
        theirs.mul_(momentum).add_((1 - momentum) * ours)


def groups(model: nn.Module) -> list:
    named = [(n, p) for n, p in model.named_parameters() if p.requires_grad]
    plain = [p for n, p in named if n.endswith(".bias") or p.dim() == 1]
    decayed = [p for n, p in named if not (n.endswith(".bias") or p.dim() == 1)]
    return [{"params": decayed, "weight_decay": 0.04}, {"params": plain, "weight_decay": 0.0}]


def parse() -> argparse.Namespace:
    def numbers(text: str) -> tuple:
        return tuple(int(part) for part in text.split(","))

    def arch(text: str) -> tuple:
        return ARCHS[text] if text in ARCHS else numbers(text)

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--arch", type=arch, default=ARCHS["vit_small"], help="vit_tiny|vit_small|vit_base or dim,depth,heads")
    parser.add_argument("--image", type=numbers, default=(224, 96), help="global,local side in pixels")
    for name, default in (("patch", 16), ("batch", 8), ("locals", 8), ("out-dim", 65536), ("hidden", 2048),
                          ("bottleneck", 256), ("steps", 10), ("warmup", 2), ("threads", 2)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--drop-path", type=float, default=0.1)
    parser.add_argument("--clip", type=float, default=3.0)
    parser.add_argument("--lr", type=float, default=1e-5)
    parser.add_argument("--dtype", choices=("f32", "bf16"), default="f32")
    for name in ("fast", "fused-attention", "compile", "no-head"):
        parser.add_argument(f"--{name}", action="store_true")
    return parser.parse_args()


class Clock:
    """Milliseconds of the phases of every step after the warm-up."""

    def __init__(self, warmup: int):
        self.warmup, self.step, self.times, self.marks = warmup, 0, {}, []

    def start(self) -> None:
        self.marks = [("start", time.perf_counter())]

    def mark(self, phase: str) -> None:
        self.marks.append((phase, time.perf_counter()))

    def stop(self) -> None:
        self.step += 1
        if self.step > self.warmup:
            for (_, before), (phase, after) in zip(self.marks, self.marks[1:]):
                self.times.setdefault(phase, []).append(1e3 * (after - before))
            self.times.setdefault("total", []).append(1e3 * (self.marks[-1][1] - self.marks[0][1]))

    def medians(self) -> dict:
        return {phase: round(statistics.median(values), 3) for phase, values in self.times.items()}


def backbone_steps(args, clock: Clock) -> None:
    """Forward and backward of the backbone on images of the global crops' size."""
    backbone = Vit(args.arch, args.patch, args.image[0], 0.0)
    run = torch.compile(backbone) if args.compile else backbone
    images = torch.randn(args.batch, 3, args.image[0], args.image[0])
    for _ in range(args.warmup + args.steps):
        backbone.zero_grad()
        clock.start()
        with torch.autocast("cpu", torch.bfloat16, enabled=args.dtype == "bf16"):
            features = run(images)
        clock.mark("student")
        features.float().square().mean().backward()
        clock.mark("backward")
        clock.stop()


def dino_steps(args, clock: Clock) -> list:
    """Whole steps; returns their losses."""
    student, teacher = Network(args, args.drop_path), Network(args, 0.0)
    teacher.load_state_dict(student.state_dict())
    teacher.requires_grad_(False)
    loss_of = Loss(args.out_dim, args.fast)
    optimizer = torch.optim.AdamW(groups(student), lr=args.lr, fused=args.fast or None)
    forward = [torch.compile(network) if args.compile else network for network in (student, teacher)]
    sides = [args.image[0]] * 2 + [args.image[1]] * args.locals
    views = [torch.randn(args.batch, 3, side, side) for side in sides]
    globals_, locals_ = views[:2], views[2:]
    losses = []
    for _ in range(args.warmup + args.steps):
        clock.start()
        with torch.autocast("cpu", torch.bfloat16, enabled=args.dtype == "bf16"):
            target = forward[1]([globals_])
            clock.mark("teacher")
            logits = forward[0]([globals_, locals_] if locals_ else [globals_])
            clock.mark("student")
            loss = loss_of(logits, target, len(views))
        losses.append(loss.item())
        assert math.isfinite(losses[-1]), "loss is not finite"
        clock.mark("loss")
        optimizer.zero_grad()
        loss.backward()
        clock.mark("backward")
        clip_each(student, args.clip, args.fast)
        clock.mark("clip")
        optimizer.step()
        clock.mark("optimizer")
        move_teacher(student, teacher, 0.996, args.fast)
        clock.mark("ema")
        clock.stop()
    return losses


def main() -> None:
    args = parse()
    torch.manual_seed(0)
    torch.set_num_threads(args.threads)
    Attention.fused = args.fused_attention
    clock = Clock(args.warmup)
    losses = [] if args.no_head else dino_steps(args, clock)
    if args.no_head:
        backbone_steps(args, clock)
    median = clock.medians()
    print(json.dumps({
        "program": "pytorch", "torch": torch.__version__, "machine": platform.machine(), **vars(args),
        "ms": median, "images_per_second": round(1e3 * args.batch / median["total"], 3),
        "first_loss": losses[0] if losses else None, "ln_k": math.log(args.out_dim),
        "peak_rss_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6),
    }))


if __name__ == "__main__":
    main()

"""Whole DINO trainings on filler data: twenty losses in a row, first gradients, final student and teacher.

Student and teacher stay in training mode; the teacher's average leaves running statistics alone, which follow from its own forward
passes; each resolution is a forward pass of its own."""

import numpy as np
import torch

import networks
import reference as ref
from filler import images, parameter
from store import save

EPOCH_STEPS, FREEZE_EPOCHS, CLIP, SAMPLES = 5, 1, 3.0, 16
STUDENT_TEMP, CENTER_MOMENTUM = 0.1, 0.9
STATISTICS = ("running_mean", "running_var", "num_batches_tracked")

TINY = {"dim": 192, "depth": 12, "heads": 3, "patch": 16, "global": 64, "local": 32, "locals": 4, "batch": 4,
        "hidden": 256, "bottleneck": 64, "out_dim": 512, "norm_last_layer": True, "steps": 20, "peak_lr": 1e-3}
SMALL = TINY | {"dim": 48, "depth": 2, "patch": 8, "global": 32, "local": 16, "hidden": 64, "bottleneck": 32,
                "out_dim": 64, "norm_last_layer": False}
NET = TINY | {"local": 48, "hidden": 64, "bottleneck": 32, "out_dim": 256, "locals": 2, "norm_last_layer": False}
CASES = {
    "vit_tiny_adamw": TINY | {"optimizer": "adamw"},
    "small_adamw": SMALL | {"optimizer": "adamw"},
    "small_sgd": SMALL | {"optimizer": "sgd", "steps": 5, "peak_lr": 0.03},
    "small_lars": SMALL | {"optimizer": "lars", "steps": 5, "peak_lr": 0.3},
    "resnet18_adamw": NET | {"network": "resnet18", "dim": 512, "optimizer": "adamw", "peak_lr": 1e-5},
    "resnet50_sgd": NET | {"network": "resnet50", "dim": 2048, "optimizer": "sgd", "peak_lr": 0.003},
    "xcit_tiny_adamw": NET | {"network": "xcit_tiny", "dim": 48, "optimizer": "adamw"},
}


def schedules(case: dict) -> dict:
    """Per step: lr, weight decay, momentum, teacher temperature. All are cut from twenty-step schedules."""
    temps = ref.temperature_schedule(0.04, 0.07, 2, 4)
    full = {
        "lr": ref.cosine_schedule(case["peak_lr"], 1e-6, 20, EPOCH_STEPS),
        "weight_decay": ref.cosine_schedule(0.04, 0.4, 20),
        "momentum": ref.cosine_schedule(0.99, 1.0, 20),
        "teacher_temp": np.repeat(temps, EPOCH_STEPS),
    }
    if case["steps"] < 20:
        # The short runs use a constant rate so that every step moves.
        full["lr"] = np.full(20, case["peak_lr"])
    return {key: values[: case["steps"]] for key, values in full.items()}


class Network:
    """A backbone and a head as functions of a dictionary of tensors: `backbone.` then `head.`, as the official program names them."""

    def __init__(self, case: dict):
        self.case = case
        self.model = networks.build(case["network"]) if "network" in case else None

    def fresh(self, dtype: torch.dtype) -> dict:
        case = self.case
        if self.model is None:
            shapes = ref.vit_shapes(case["dim"], case["depth"], case["patch"], case["global"] // case["patch"])
            tensors = {"backbone." + name: parameter("backbone." + name, shape) for name, shape in shapes.items()}
        else:
            tensors = {"backbone." + name: value for name, value in networks.filled(self.model, "backbone.").items()}
        shapes = ref.head_shapes(case | {"in_dim": case["dim"], "nlayers": 3, "use_bn": False})
        tensors |= {"head." + name: parameter("head." + name, shape) for name, shape in shapes.items()}
        return {name: value.to(dtype) if value.is_floating_point() else value for name, value in tensors.items()}

    def logits(self, tensors: dict, views: list) -> torch.Tensor:
        """One backbone pass per resolution, one head pass over everything."""
        part = lambda prefix: {n.removeprefix(prefix): t for n, t in tensors.items() if n.startswith(prefix)}
        backbone = part("backbone.")
        if self.model is None:
            features = [ref.vit(backbone, view, self.case["heads"])["cls"] for view in views]
        else:
            features = [networks.features(self.model, backbone, view) for view in views]
        return ref.head(part("head."), torch.cat(features))


def micro(view: torch.Tensor, batch: int, part: slice) -> torch.Tensor:
    """The images of one micro-batch out of a crop-major view tensor [V*B, 3, H, W]."""
    return view.unflatten(0, (-1, batch))[:, part].flatten(0, 1)


def summary(tensors: dict, samples: int) -> dict:
    """Norm and strided entries of each tensor. The key third of qkv.bias is zeroed: its true gradient is 0."""
    norms, rows = [], []
    for name, tensor in tensors.items():
        flat = tensor.detach().double().flatten().clone()
        if name.endswith("attn.qkv.bias"):
            flat[len(flat) // 3 : 2 * len(flat) // 3] = 0.0
        kept = min(samples, len(flat))
        row = torch.zeros(samples, dtype=torch.float64)
        row[:kept] = flat[[k * len(flat) // kept for k in range(kept)]]
        norms.append(flat.norm())
        rows.append(row)
    return {"norm": torch.stack(norms), "samples": torch.stack(rows)}


def train(case: dict, dtype: torch.dtype, parts: int = 1) -> dict:
    """Runs one training; `parts` micro-batches per step."""
    plan, batch, network = schedules(case), case["batch"], Network(case)
    samples = case.get("samples", SAMPLES)
    student, teacher = network.fresh(dtype), network.fresh(dtype)
    frozen = ["head.last_layer.weight_g"] if case["norm_last_layer"] else []
    trained = {n: t.requires_grad_() for n, t in student.items() if n not in frozen and not n.endswith(STATISTICS)}
    optimizer = ref.optimizer(case["optimizer"], trained)
    center = torch.zeros(1, case["out_dim"], dtype=dtype)
    out = {"loss": [], "entropy": [], "center": []}
    for step in range(case["steps"]):
        for index, group in enumerate(optimizer.param_groups):
            group["lr"] = float(plan["lr"][step])
            group["weight_decay"] = float(plan["weight_decay"][step]) if index == 0 else 0.0
        side = case["global"]
        globals_ = images(f"global.{step}", (2 * batch, side, side, 3)).to(dtype)
        side = case["local"]
        locals_ = images(f"local.{step}", (case["locals"] * batch, side, side, 3)).to(dtype)
        optimizer.zero_grad()
        losses, entropies, means = [], [], []
        for part in range(parts):
            rows = slice(part * batch // parts, (part + 1) * batch // parts)
            big, small = micro(globals_, batch, rows), micro(locals_, batch, rows)
            with torch.no_grad():
                target = network.logits(teacher, [big])
            temps = (float(plan["teacher_temp"][step]), STUDENT_TEMP)
            loss, entropy = ref.dino_loss(network.logits(student, [big, small]), target, center, temps)
            (loss / parts).backward()
            losses.append(loss.detach())
            entropies.append(entropy)
            means.append(target.mean(0, keepdim=True))
        center = CENTER_MOMENTUM * center + (1.0 - CENTER_MOMENTUM) * sum(means) / parts
        if step == 0:
            grads = {n: t.grad if n in trained else torch.zeros_like(t) for n, t in student.items()}
            out["grad"] = summary(grads, samples)
        ref.clip_each(list(trained.values()), CLIP)
        if step // EPOCH_STEPS < FREEZE_EPOCHS and case["steps"] == 20:
            for name, tensor in trained.items():
                if "last_layer" in name:
                    tensor.grad = None
        optimizer.step()
        momentum = float(plan["momentum"][step])
        with torch.no_grad():
            for name, tensor in trained.items():
                teacher[name].mul_(momentum).add_(tensor, alpha=1.0 - momentum)
        out["loss"].append(sum(losses) / parts)
        out["entropy"].append(sum(entropies) / parts)
        if (step + 1) % EPOCH_STEPS == 0:
            out["center"].append(center[0])
    out["student"], out["teacher"], out["names"] = summary(student, samples), summary(teacher, samples), list(student)
    return out | {key: torch.stack(out[key]) for key in ("loss", "entropy", "center")}


def differences(single: dict, exact: dict) -> dict:
    """How far PyTorch's own f32 is: of each loss, and of the largest sample of each table."""
    apart = {"loss": ((single["loss"].double() - exact["loss"]) / exact["loss"]).abs().max().item()}
    for table in ("grad", "student", "teacher"):
        ours, theirs = single[table]["samples"], exact[table]["samples"]
        apart[table] = ((ours - theirs).abs().max() / theirs.abs().max()).item()
    return apart


def main() -> None:
    for name, case in CASES.items():
        exact, single = train(case, torch.float64), train(case, torch.float32)
        if "network" not in case:
            # No batch is normalised, so that a micro-batch is a part of the batch.
            split = train(case, torch.float64, 2)
            torch.testing.assert_close(split["loss"], exact["loss"], rtol=1e-9, atol=0)
            torch.testing.assert_close(split["center"], exact["center"], rtol=1e-7, atol=1e-10)
            torch.testing.assert_close(split["teacher"]["norm"], exact["teacher"]["norm"], rtol=1e-7, atol=0)
        apart = differences(single, exact)
        print(name, exact["loss"].tolist(), "f32 is off by", apart, "entropy", exact["entropy"].tolist())
        tensors = {key: exact[key] for key in ("loss", "entropy", "center")}
        for table in ("grad", "student", "teacher"):
            for key, value in exact[table].items():
                tensors[f"{table}.{key}"] = value
        tensors |= {"schedule." + key: value for key, value in schedules(case).items()}
        facts = {"names": exact["names"], "student_temp": STUDENT_TEMP, "center_momentum": CENTER_MOMENTUM, "clip": CLIP,
                 "epoch_steps": EPOCH_STEPS, "freeze_last_layer_epochs": FREEZE_EPOCHS if case["steps"] == 20 else 0,
                 "samples": case.get("samples", SAMPLES), "f32_relative_difference": apart["loss"]}
        save("twenty", name, tensors, case | facts)


if __name__ == "__main__":
    main()

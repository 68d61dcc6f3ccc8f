"""Whole DINO trainings on filler data: twenty losses in a row, first gradients, final student and teacher."""

import numpy as np
import torch

import reference as ref
from filler import images, parameter
from store import save

EPOCH_STEPS, FREEZE_EPOCHS, CLIP, SAMPLES = 5, 1, 3.0, 16
STUDENT_TEMP, CENTER_MOMENTUM = 0.1, 0.9

TINY = {"dim": 192, "depth": 12, "heads": 3, "patch": 16, "global": 64, "local": 32, "locals": 4, "batch": 4,
        "hidden": 256, "bottleneck": 64, "out_dim": 512, "norm_last_layer": True, "steps": 20, "peak_lr": 1e-3}
SMALL = TINY | {"dim": 48, "depth": 2, "patch": 8, "global": 32, "local": 16, "hidden": 64, "bottleneck": 32,
                "out_dim": 64, "norm_last_layer": False}
CASES = {
    "vit_tiny_adamw": TINY | {"optimizer": "adamw"},
    "small_adamw": SMALL | {"optimizer": "adamw"},
    "small_sgd": SMALL | {"optimizer": "sgd", "steps": 5, "peak_lr": 0.03},
    "small_lars": SMALL | {"optimizer": "lars", "steps": 5, "peak_lr": 0.3},
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


def fresh(case: dict, dtype: torch.dtype) -> dict:
    """All parameters by name; `backbone.` then `head.`."""
    grid = case["global"] // case["patch"]
    sizes = {"in_dim": case["dim"], "nlayers": 3, "use_bn": False}
    shapes = {"backbone." + n: s for n, s in ref.vit_shapes(case["dim"], case["depth"], case["patch"], grid).items()}
    shapes |= {"head." + n: s for n, s in ref.head_shapes(case | sizes).items()}
    return {name: parameter(name, shape).to(dtype) for name, shape in shapes.items()}


def logits(p: dict, views: list, heads: int) -> torch.Tensor:
    """One backbone pass per resolution, one head pass over everything."""
    backbone = {n.removeprefix("backbone."): t for n, t in p.items() if n.startswith("backbone.")}
    head = {n.removeprefix("head."): t for n, t in p.items() if n.startswith("head.")}
    features = torch.cat([ref.vit(backbone, view, heads)["cls"] for view in views])
    return ref.head(head, features)


def micro(view: torch.Tensor, batch: int, part: slice) -> torch.Tensor:
    """The images of one micro-batch out of a crop-major view tensor [V*B, 3, H, W]."""
    return view.unflatten(0, (-1, batch))[:, part].flatten(0, 1)


def summary(tensors: dict) -> dict:
    """norm, sum, 16 strided entries per tensor. The key third of qkv.bias is zeroed: its true gradient is 0."""
    rows = []
    for name, tensor in tensors.items():
        flat = tensor.detach().double().flatten().clone()
        if name.endswith("attn.qkv.bias"):
            flat[len(flat) // 3 : 2 * len(flat) // 3] = 0.0
        kept = min(SAMPLES, len(flat))
        samples = torch.zeros(SAMPLES, dtype=torch.float64)
        samples[:kept] = flat[[k * len(flat) // kept for k in range(kept)]]
        rows.append((flat.norm(), flat.sum(), samples))
    norm, total, samples = zip(*rows)
    return {"norm": torch.stack(norm), "sum": torch.stack(total), "samples": torch.stack(samples)}


def train(case: dict, dtype: torch.dtype, parts: int = 1) -> dict:
    """Runs one training; `parts` micro-batches per step."""
    plan, batch = schedules(case), case["batch"]
    student, teacher = fresh(case, dtype), fresh(case, dtype)
    frozen = ["head.last_layer.weight_g"] if case["norm_last_layer"] else []
    trained = {n: t.requires_grad_() for n, t in student.items() if n not in frozen}
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
                target = logits(teacher, [big], case["heads"])
            temps = (float(plan["teacher_temp"][step]), STUDENT_TEMP)
            loss, entropy = ref.dino_loss(logits(student, [big, small], case["heads"]), target, center, temps)
            (loss / parts).backward()
            losses.append(loss.detach())
            entropies.append(entropy)
            means.append(target.mean(0, keepdim=True))
        center = CENTER_MOMENTUM * center + (1.0 - CENTER_MOMENTUM) * sum(means) / parts
        if step == 0:
            zero = {n: torch.zeros_like(student[n]) for n in frozen}
            out["grad"] = summary({n: zero[n] if n in zero else t.grad for n, t in student.items()})
        ref.clip_each(list(trained.values()), CLIP)
        if step // EPOCH_STEPS < FREEZE_EPOCHS and case["steps"] == 20:
            for name, tensor in trained.items():
                if "last_layer" in name:
                    tensor.grad = None
        optimizer.step()
        momentum = float(plan["momentum"][step])
        with torch.no_grad():
            for name, tensor in teacher.items():
                tensor.mul_(momentum).add_(student[name], alpha=1.0 - momentum)
        out["loss"].append(sum(losses) / parts)
        out["entropy"].append(sum(entropies) / parts)
        if (step + 1) % EPOCH_STEPS == 0:
            out["center"].append(center[0])
    out["student"], out["teacher"], out["names"] = summary(student), summary(teacher), list(student)
    return out | {key: torch.stack(out[key]) for key in ("loss", "entropy", "center")}


def main() -> None:
    for name, case in CASES.items():
        exact, single, split = train(case, torch.float64), train(case, torch.float32), train(case, torch.float64, 2)
        torch.testing.assert_close(split["loss"], exact["loss"], rtol=1e-9, atol=0)
        torch.testing.assert_close(split["center"], exact["center"], rtol=1e-7, atol=1e-10)
        torch.testing.assert_close(split["teacher"]["norm"], exact["teacher"]["norm"], rtol=1e-7, atol=0)
        spread = ((single["loss"].double() - exact["loss"]) / exact["loss"]).abs()
        print(name, exact["loss"].tolist(), "f32 spread", spread.max().item(), "entropy", exact["entropy"].tolist())
        tensors = {key: exact[key] for key in ("loss", "entropy", "center")} | {"loss_f32": single["loss"]}
        for table in ("grad", "student", "teacher"):
            for key, value in exact[table].items():
                tensors[f"{table}.{key}"] = value
        tensors |= {"grad_f32.samples": single["grad"]["samples"], "student_f32.samples": single["student"]["samples"]}
        tensors |= {"schedule." + key: value for key, value in schedules(case).items()}
        freeze = FREEZE_EPOCHS if case["steps"] == 20 else 0
        facts = {"names": exact["names"], "student_temp": STUDENT_TEMP, "center_momentum": CENTER_MOMENTUM, "clip": CLIP,
                 "epoch_steps": EPOCH_STEPS, "freeze_last_layer_epochs": freeze, "sgd_and_lars_momentum": 0.9}
        save("twenty", name, tensors, case | facts)


if __name__ == "__main__":
    main()

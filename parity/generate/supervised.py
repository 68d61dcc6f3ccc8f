"""Supervised learning: the loss of timm for smoothed and mixed classes, and ten steps of a small ViT with a classifier whose images are
mixed by timm's `FastCollateMixup` with given shares. Loss in f64; weights, steps and schedule as in `methods.py`."""

from unittest import mock

import numpy as np
import torch
import torch.nn.functional as F
from timm.loss import SoftTargetCrossEntropy

import reference as ref
from augment import Given
from filler import MEAN, STD, centred, image_bytes, parameter
from methods import features
from store import save
from twenty import SAMPLES, summary

STEPS, CLIP, CLASSES = 10, 3.0, 5
CASE = {"dim": 48, "depth": 2, "heads": 3, "patch": 8, "global": 32, "batch": 6, "steps": STEPS, "classes": CLASSES,
        "smoothing": 0.1, "momentum": [0.9, 0.9]}
# Share of the image, and the centre of the rectangle (x, y) where one is pasted.
MIXES = [(1.0, None), (0.3, None), (0.6, (10, 20)), (0.9, None), (0.25, (31, 3)), (0.5, None), (0.75, (16, 16)), (0.05, None),
         (0.99, None), (0.4, (0, 31))]


def targets_of(labels: list, share: float, smoothing: float) -> torch.Tensor:
    off = smoothing / CLASSES
    one = F.one_hot(torch.tensor(labels), CLASSES).double() * (1 - smoothing) + off
    return one * share + one.flip(0) * (1 - share)


def losses() -> None:
    labels, tensors = [3, 0, 4, 4, 1, 2], {}
    for name, share, smoothing in [("plain", 1.0, 0.0), ("smoothed", 1.0, 0.1), ("mixed", 0.3, 0.1), ("sharp", 0.8, 0.0)]:
        scale = 30.0 if name == "sharp" else 2.0
        logits = centred(f"logits.{name}", (6, CLASSES), scale).double().requires_grad_()
        value = SoftTargetCrossEntropy()(logits, targets_of(labels, share, smoothing))
        value.backward()
        tensors |= {f"{name}.loss": value.detach().reshape(1), f"{name}.grad": logits.grad}
        tensors |= {f"{name}.options": np.array([share, smoothing, scale])}
    save("supervised", "losses", tensors, {"labels": labels, "classes": CLASSES})


def mixed(step: int, labels: list) -> tuple:
    """Normalised images of a step and the share of each image that is its own."""
    share, center = MIXES[step]
    pixels = image_bytes(f"global.{step}", (CASE["batch"], CASE["global"], CASE["global"], 3))
    mixup = Given(share, center is not None, num_classes=CLASSES, label_smoothing=CASE["smoothing"])
    places = iter([center[1], center[0]] if center else [])
    with mock.patch.object(np.random, "randint", lambda *_, **__: next(places)):
        pixels, targets = mixup([(image.transpose(2, 0, 1).copy(), label) for image, label in zip(pixels, labels)])
    pixels = pixels.numpy().astype(np.float32).transpose(0, 2, 3, 1) / np.float32(255.0)
    pixels = np.ascontiguousarray(((pixels - MEAN) / STD).transpose(0, 3, 1, 2))
    return torch.from_numpy(pixels).double(), targets.double()


def train() -> None:
    grid = CASE["global"] // CASE["patch"]
    shapes = {"backbone." + n: s for n, s in ref.vit_shapes(CASE["dim"], CASE["depth"], CASE["patch"], grid).items()}
    shapes |= {"head.weight": (CLASSES, CASE["dim"]), "head.bias": (CLASSES,)}
    student = {name: parameter(name, shape).double().requires_grad_() for name, shape in shapes.items()}
    average = {name: tensor.detach().clone() for name, tensor in student.items()}
    optimizer = ref.optimizer("adamw", student)
    lr = ref.cosine_schedule(1e-3, 1e-6, STEPS, 2)
    tensors, values = {}, []
    for step in range(STEPS):
        for index, group in enumerate(optimizer.param_groups):
            group["lr"], group["weight_decay"] = float(lr[step]), 0.05 if index == 0 else 0.0
        pixels, targets = mixed(step, [(step + image) % CLASSES for image in range(CASE["batch"])])
        logits = F.linear(features(student, [pixels], CASE["heads"]), student["head.weight"], student["head.bias"])
        optimizer.zero_grad()
        loss = SoftTargetCrossEntropy()(logits, targets)
        loss.backward()
        values.append(loss.detach())
        ref.clip_each(list(student.values()), CLIP)
        optimizer.step()
        with torch.no_grad():
            for name, tensor in average.items():
                tensor.mul_(CASE["momentum"][0]).add_(student[name], alpha=1.0 - CASE["momentum"][0])
    tensors |= {"loss": torch.stack(values), "schedule.lr": lr}
    tensors |= {f"student.{key}": value for key, value in summary(student, SAMPLES).items()}
    tensors |= {f"average.{key}": value for key, value in summary(average, SAMPLES).items()}
    save("supervised", "small", tensors, CASE | {"mixes": MIXES})


if __name__ == "__main__":
    losses()
    train()

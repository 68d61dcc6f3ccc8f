"""Writes parity/fixtures/augment/cases.json: what timm makes of the pictures of `views` with RandAugment's operations, mixup and
CutMix, for given parameters. Pixels are stored as SHA-256 of their bytes [H, W, C]."""

import hashlib
import math
import random
from unittest import mock

import numpy as np
import torch
from PIL import Image
from timm.data import auto_augment
from timm.data.constants import IMAGENET_DEFAULT_MEAN
from timm.data.mixup import FastCollateMixup
from timm.data.random_erasing import RandomErasing

from store import FIXTURES, save_json

FILL = tuple(min(255, round(255 * mean)) for mean in IMAGENET_DEFAULT_MEAN)
AFFINE = {"fillcolor": FILL, "resample": Image.BICUBIC}

OPERATIONS = {
    "auto_contrast": [()],
    "equalize": [()],
    "invert": [()],
    "rotate": [(27.0,), (-13.37,), (0.5,), (30.0,), (-0.01,)],
    "posterize": [(1,), (2,), (4,)],
    "solarize": [(0,), (26,), (128,), (256,)],
    "solarize_add": [(0,), (99,), (110,)],
    "color": [(0.19,), (1.81,)],
    "contrast": [(0.19,), (1.81,)],
    "brightness": [(0.19,), (1.81,)],
    "sharpness": [(0.1,), (0.19,), (1.0,), (1.81,)],
    "shear_x": [(0.27,), (-0.3,), (0.013,)],
    "shear_y": [(0.27,), (-0.3,), (0.013,)],
    "translate_x_rel": [(0.405,), (-0.45,), (0.1,)],
    "translate_y_rel": [(0.405,), (-0.45,), (0.1,)],
}


def digest(pixels: np.ndarray) -> str:
    return hashlib.sha256(np.ascontiguousarray(pixels, dtype=np.uint8).tobytes()).hexdigest()


def operations(sources: dict) -> list:
    cases = []
    for source, image in sources.items():
        for name, arguments in OPERATIONS.items():
            for argument in arguments:
                pixels = np.asarray(getattr(auto_augment, name)(image, *argument, **dict(AFFINE)))
                case = {"source": source, "operation": name, "sha256": digest(pixels)}
                cases.append(case | ({"argument": argument[0]} if argument else {}))
    return cases


def strengths() -> list:
    """The argument of every operation of `rand-…-inc1` in its positive direction; null for those without."""
    rows = []
    for kind, name in enumerate(auto_augment._RAND_INCREASING_TRANSFORMS):
        to_argument = auto_augment.LEVEL_TO_ARG[name]
        for magnitude in [0.0, 2.3, 9.0, 9.71]:
            with mock.patch.object(random, "random", lambda: 0.0):
                argument = to_argument(magnitude, {})[0] if to_argument else None
            rows.append({"kind": kind, "name": name, "magnitude": magnitude, "argument": argument})
    return rows


class Given(FastCollateMixup):
    def __init__(self, share: float, pastes: bool, **options):
        super().__init__(mixup_alpha=1.0, cutmix_alpha=1.0, **options)
        self.given = (share, pastes)

    def _params_per_batch(self):
        return self.given


def mixtures(image: Image.Image) -> list:
    """Four crops of 32 pixels of one picture, classes 2, 0, 1, 2 of three."""
    crops = [np.asarray(image.crop((x, y, x + 32, y + 32))) for x, y in [(0, 0), (60, 7), (120, 55), (166, 100)]]
    batch = [(crop.transpose(2, 0, 1), target) for crop, target in zip(crops, [2, 0, 1, 2])]
    cases = []
    for share, center, smoothing in [(0.3, None, 0.1), (0.77, None, 0.0), (0.9999, None, 0.1), (0.4, (5, 20), 0.1),
                                     (0.75, (16, 16), 0.1), (0.05, (31, 0), 0.0), (0.999, (3, 4), 0.1)]:
        mixup = Given(share, center is not None, num_classes=3, label_smoothing=smoothing)
        places = iter([center[1], center[0]] if center else [])  # rand_bbox draws y, then x
        with mock.patch.object(np.random, "randint", lambda *_, **__: next(places)):
            pixels, targets = mixup([(crop.copy(), target) for crop, target in batch])
        cases.append({"share": share, "center": center, "smoothing": smoothing, "targets": targets.double().tolist(),
                      "sha256": digest(pixels.numpy().transpose(0, 2, 3, 1))})
    return cases


def erasing() -> dict:
    """Mean share of the area and mean absolute logarithm of the aspect over 40,000 rectangles in images of 64 pixels."""
    random.seed(0)
    erase = RandomErasing(probability=1.0, mode="const", device="cpu")
    areas, aspects = [], []
    for _ in range(40_000):
        image = torch.ones(1, 64, 64)
        erase(image)
        rows, columns = (image[0] == 0).any(1).sum().item(), (image[0] == 0).any(0).sum().item()
        if rows:
            areas.append(rows * columns / 64**2)
            aspects.append(abs(math.log(rows / columns)))
    return {"area": float(np.mean(areas)), "aspect": float(np.mean(aspects)), "share": len(areas) / 40_000}


def main() -> None:
    sources = {name: Image.open(FIXTURES / "views" / f"source_{name}.png").convert("RGB") for name in ["small", "large"]}
    flat = Image.new("RGB", (9, 7), (3, 3, 3))
    cases = {
        "operations": operations(sources) + operations({"flat": flat}),
        "strengths": strengths(),
        "mixtures": mixtures(sources["large"]),
        "erasing": erasing(),
    }
    save_json("augment", "cases", cases)


if __name__ == "__main__":
    main()

"""Masks of a share of the attention as `visualize_attention.py` makes them, against objects: Jaccard indices by scikit-learn.

Saliency maps against masks likewise, mean absolute errors by scikit-learn.
"""

import numpy as np
import torch
from PIL import Image
from sklearn.metrics import jaccard_score, mean_absolute_error
from torch.nn.functional import interpolate

from filler import centred, image_bytes
from store import save_json

VOID, UNKNOWN, MIDDLE = 255, 128, 128
# Heads, rows, columns, patch; width and height that the image is resized to; width and height of the mask; share.
CASES = [(3, 5, 7, 8, 56, 40, 97, 61, 0.6), (6, 4, 4, 16, 64, 64, 64, 64, 0.6), (2, 3, 6, 8, 53, 31, 40, 25, 0.8),
         (12, 6, 5, 4, 20, 24, 211, 240, 0.3)]
# Width and height of a map.
MAPS = [(31, 17), (64, 48)]


def coarse(name: str, size: tuple, values: list) -> np.ndarray:
    """A picture of 6 x 4 blocks of these values."""
    width, height = size
    cells = image_bytes(name, (4, 6))
    rows, columns = np.arange(height) * 4 // height, np.arange(width) * 6 // width
    return np.array(values, dtype=np.uint8)[cells[rows][:, columns] % len(values)]


def masks(attention: torch.Tensor, share: float) -> torch.Tensor:
    """[heads, patches] to true and false: ascending order, sums of shares, those above 1 - share."""
    values, order = torch.sort(attention)
    values = values / values.sum(dim=1, keepdim=True)
    kept = torch.cumsum(values, dim=1) > 1 - share
    return torch.gather(kept, 1, torch.argsort(order))


def main() -> None:
    found = []
    for number, (heads, rows, columns, patch, width, height, mask_width, mask_height, share) in enumerate(CASES):
        attention = centred(f"attention.{number}", (heads, rows * columns), 0.5, 0.5).double() ** 3
        mean = attention.float().double().mean(dim=0, keepdim=True).float().double()
        kept = masks(torch.cat((attention.float().double(), mean)), share).reshape(1, heads + 1, rows, columns)
        kept = interpolate(kept.float(), scale_factor=patch, mode="nearest")[0].bool().numpy()
        stored = coarse(f"mask.{number}", (mask_width, mask_height), [0, 0, 1, 7, VOID])
        labels = np.asarray(Image.fromarray(stored).resize((width, height), Image.Resampling.NEAREST))
        labels = labels[: rows * patch, : columns * patch]
        judged = labels != VOID
        objects = []
        for index in sorted(set(labels[judged]) - {0}):
            truth = labels[judged] == index
            scores = [float(jaccard_score(truth, one[judged])) for one in kept]
            best = int(np.argmax(scores[:-1]))
            objects.append([int(index), best, scores[best], scores[-1], float(truth.mean())])
        found.append({"heads": heads, "grid": [rows, columns], "patch": patch, "shown": [width, height],
                      "mask": [mask_width, mask_height], "share": share, "objects": objects})
    save_json("segmentation", "objects", found)
    maps = []
    for number, (width, height) in enumerate(MAPS):
        levels = image_bytes(f"map.{number}", (height, width))
        mask = coarse(f"truth.{number}", (width, height), [0, UNKNOWN, 255, 200])
        for unknown in (UNKNOWN, None):
            judged = np.ones_like(mask, dtype=bool) if unknown is None else mask != unknown
            truth, level = mask[judged] > MIDDLE, levels[judged]
            error = float(mean_absolute_error(truth.astype(np.float64), level.astype(np.float64) / 255))
            maps.append({"size": [width, height], "number": number, "unknown": unknown, "mae": error,
                         "jaccard": float(jaccard_score(truth, level >= 128))})
    save_json("segmentation", "saliency", maps)


if __name__ == "__main__":
    main()

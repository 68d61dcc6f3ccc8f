"""Video segmentation: labels handed on by plain PyTorch in f64, J and F by NumPy and cv2, sizes by cv2 and Pillow.

Written from the descriptions in DINO's and DAVIS's papers and programs; full matrices, as simple as they come.
"""

import hashlib
from collections import deque

import cv2
import numpy as np
import torch
from PIL import Image

from filler import centred, words
from store import save, save_json

# (rows, columns, width, frames, objects, last frames, neighbourhood, top k, temperature, factor)
PROPAGATIONS = [
    (9, 13, 16, 12, 2, 7, 3, 5, 0.1, 8),
    (8, 6, 24, 5, 1, 2, 12, 1, 0.1, 16),
    (7, 10, 8, 6, 3, 3, 0, 9, 0.2, 4),
    (5, 33, 12, 4, 2, 7, 2, 300, 0.05, 8),
]
# Old and new (width, height).
FRAMES = [((854, 480), (832, 480)), ((480, 854), (480, 832)), ((1280, 720), (832, 480)), ((1920, 1080), (832, 480)),
          ((640, 360), (832, 480)), ((960, 960), (480, 480)), ((480, 480), (448, 480)), ((37, 29), (64, 64)), ((5, 3), (64, 128)),
          ((1, 1), (64, 64)), ((2, 2), (3, 3)), ((100, 50), (50, 50)), ((64, 128), (32, 64)), ((333, 777), (480, 1088)), ((7, 9), (3, 2))]
MASKS = [((854, 480), (52, 30)), ((832, 480), (854, 480)), ((1280, 720), (104, 60)), ((480, 854), (30, 53)), ((30, 52), (97, 31)), ((1, 7), (3, 3))]
# (width, height, cell, objects)
SCORES = [(61, 40, 7, 2), (120, 200, 11, 1), (854, 480, 37, 3), (9, 1, 2, 1), (1, 12, 3, 1), (16, 16, 16, 2)]
VALUES = [1, 2, 3, 4, 5, 6, 7, 9, 14, 33, 48, 78, 102]


def image_bytes(name: str, size: tuple) -> np.ndarray:
    return (words(name, int(np.prod(size))) >> np.uint64(56)).astype(np.uint8).reshape(size)


def blocks(name: str, width: int, height: int, cell: int, objects: int) -> np.ndarray:
    """Labels 0..objects in cells, about half of them background."""
    rows, columns = -(-height // cell), -(-width // cell)
    labels = image_bytes(name, (rows, columns)) % (2 * objects)
    labels = np.where(labels > objects, 0, labels).astype(np.uint8)
    return labels.repeat(cell, 0).repeat(cell, 1)[:height, :width]


def sha256(array: np.ndarray) -> str:
    return hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()


def near(rows: int, columns: int, reach: int) -> torch.Tensor:
    """[N, N]: 1 where two places are at most `reach` rows and columns apart."""
    row, column = torch.arange(rows * columns) // columns, torch.arange(rows * columns) % columns
    apart = torch.maximum((row[:, None] - row).abs(), (column[:, None] - column).abs())
    return (apart <= reach).double() if reach > 0 else torch.ones(rows * columns, rows * columns, dtype=torch.float64)


def propagate(features: torch.Tensor, first: torch.Tensor, grid: tuple, last_frames: int, reach: int, k: int, temperature: float):
    """Soft labels [frames - 1, N, C] of all frames but the first. `features` is [frames, N, D], `first` [N, C]."""
    features = torch.nn.functional.normalize(features.double(), dim=2)
    mask, queue, found = near(*grid, reach), deque(maxlen=last_frames), []
    for target in features[1:]:
        context = [(features[0], first), *queue]
        affinity = torch.cat([torch.exp(source @ target.T / temperature) * mask for source, _ in context])  # [keys, queries]
        labels = torch.cat([labels for _, labels in context])
        kept = torch.topk(affinity, min(k, len(affinity)), dim=0).values.min(dim=0).values
        affinity[affinity < kept] = 0
        affinity /= affinity.sum(dim=0, keepdim=True)
        own = affinity.T @ labels
        found.append(own)
        queue.append((target, own))
    return torch.stack(found)


def to_mask(labels: torch.Tensor, grid: tuple, factor: int) -> np.ndarray:
    """[N, C] in f32 to the labels of pixels."""
    soft = labels.T.reshape(1, -1, *grid).float()
    soft = torch.nn.functional.interpolate(soft, scale_factor=factor, mode="bilinear", align_corners=False)[0]
    for channel in soft:
        if channel.max() > 0:
            channel -= channel.min()
            channel /= channel.max()
    return soft.max(dim=0).indices.numpy().astype(np.uint8)


def region(truth: np.ndarray, own: np.ndarray) -> float:
    either = (truth | own).sum()
    return 1.0 if either == 0 else float((truth & own).sum() / either)


def boundary_map(mask: np.ndarray) -> np.ndarray:
    right, below, both = mask.copy(), mask.copy(), mask.copy()
    right[:, :-1], below[:-1, :], both[:-1, :-1] = mask[:, 1:], mask[1:, :], mask[1:, 1:]
    edge = (mask ^ right) | (mask ^ below) | (mask ^ both)
    edge[-1, :], edge[:, -1] = (mask ^ right)[-1, :], (mask ^ below)[:, -1]
    edge[-1, -1] = False
    return edge


def boundary(truth: np.ndarray, own: np.ndarray) -> float:
    radius = int(np.ceil(0.008 * np.hypot(*truth.shape)))
    y, x = np.mgrid[-radius:radius + 1, -radius:radius + 1]
    disk = (x * x + y * y <= radius * radius).astype(np.uint8)
    truth, own = boundary_map(truth), boundary_map(own)
    if own.sum() == 0 or truth.sum() == 0:
        return 1.0 if own.sum() == truth.sum() else 0.0
    precision = (own & (cv2.dilate(truth.astype(np.uint8), disk) > 0)).sum() / own.sum()
    recall = (truth & (cv2.dilate(own.astype(np.uint8), disk) > 0)).sum() / truth.sum()
    return 0.0 if precision + recall == 0 else float(2 * precision * recall / (precision + recall))


def statistics(values: np.ndarray) -> list:
    edges = np.round(np.linspace(1, len(values), 5) + 1e-10).astype(int) - 1
    parts = [values[edges[part]:edges[part + 1] + 1] for part in range(4)]
    return [float(np.mean(values)), float(np.mean(values > 0.5)), float(np.mean(parts[0]) - np.mean(parts[3]))]


def save_propagations() -> None:
    for rows, columns, width, frames, objects, last, reach, k, temperature, factor in PROPAGATIONS:
        name = f"grid{rows}x{columns}_last{last}_reach{reach}_top{k}"
        features = centred(f"{name}.features", (frames, rows * columns, width), 1.0)
        mask = blocks(f"{name}.mask", columns * factor, rows * factor, factor + 3, objects)
        small = np.array(Image.fromarray(mask).resize((columns, rows), Image.NEAREST)).reshape(-1).astype(int)
        first = torch.eye(int(small.max()) + 1, dtype=torch.float64)[torch.from_numpy(small)]
        labels = propagate(features, first, (rows, columns), last, reach, k, temperature)
        save("video", name, {"labels": labels.float(), "mask": to_mask(labels[-1], (rows, columns), factor).astype(np.float32)},
             {"rows": rows, "columns": columns, "width": width, "frames": frames, "objects": objects, "last_frames": last,
              "neighborhood": reach, "top_k": k, "temperature": temperature, "factor": factor})


def save_sizes() -> None:
    frames = [{"from": old, "to": new, "sha256": sha256(cv2.resize(image_bytes(f"frame.{old}", (old[1], old[0], 3)), new))} for old, new in FRAMES]
    masks = [{"from": old, "to": new, "sha256": sha256(np.array(
        Image.fromarray(image_bytes(f"mask.{old}", (old[1], old[0]))).resize(new, Image.NEAREST)))} for old, new in MASKS]
    save_json("video", "sizes", {"frames": [dict(case, name=f"frame.{case['from']}") for case in frames],
                                 "masks": [dict(case, name=f"mask.{case['from']}") for case in masks]})


def save_scores() -> None:
    cases = []
    for width, height, cell, objects in SCORES:
        name = f"score.{width}x{height}"
        truth, own = blocks(f"{name}.truth", width, height, cell, objects), blocks(f"{name}.own", width, height, cell, objects)
        # The prediction is mostly the truth, a few pixels further down and right.
        own = np.where(np.arange(width) < width // 3, own, np.roll(truth, (2, 3), (0, 1)))
        scores = [[region(truth == label, own == label), boundary(truth == label, own == label)] for label in range(1, objects + 1)]
        cases.append({"name": name, "width": width, "height": height, "cell": cell, "objects": objects, "scores": scores})
    values = [centred(f"values.{count}", (count,), 0.5, 0.5).double().numpy() for count in VALUES]
    series = [{"count": count, "statistics": statistics(own)} for count, own in zip(VALUES, values)]
    save_json("video", "scores", {"frames": cases, "series": series})


def main() -> None:
    save_propagations()
    save_sizes()
    save_scores()


if __name__ == "__main__":
    main()

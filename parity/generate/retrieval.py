"""Retrieval and copy detection by NumPy and PyTorch, written from the formulas of the papers and of the official evaluation."""

import pickle

import numpy as np
import torch
import torch.nn.functional as F

from filler import MEAN, STD, image_bytes, parameter
from reference import vit, vit_shapes
from store import check_size, place, save, save_json

CUTS = [1, 5, 10]
IMAGES, QUERIES = 60, 14


def area(relevant: list, wanted: int) -> float:
    """Area under precision over recall; `relevant` says of each place of the ranking whether it is right."""
    total, found = 0.0, 0
    for seen, right in enumerate(relevant):
        if right:
            before = found / seen if seen else 1.0
            found += 1
            total += (before + found / (seen + 1)) / 2 / wanted
    return total


def query_scores(ranking: list, ok: set, junk: set) -> list | None:
    """Average precision, then precision at each cut; the cut is not beyond the last right image."""
    if not ok:
        return None
    relevant = [image in ok for image in ranking if image not in junk]
    last = max(place for place, right in enumerate(relevant) if right) + 1
    return [area(relevant, len(ok)), *(sum(relevant[: min(last, cut)]) / min(last, cut) for cut in CUTS)]


def scores() -> None:
    draws = np.random.default_rng(5)
    queries, rankings = [], []
    for query in range(QUERIES):
        kinds = draws.choice(["easy", "hard", "junk", "none"], IMAGES, p=[0.08, 0.08, 0.1, 0.74])
        lists = {kind: [int(i) for i in np.flatnonzero(kinds == kind)] for kind in ("easy", "hard", "junk")}
        if query == 3:
            lists["hard"] = []
        if query == 7:
            lists["easy"] = []
        queries.append(lists)
        rankings.append([int(i) for i in draws.permutation(IMAGES)])
    roles = {"easy": (["easy"], ["junk", "hard"]), "medium": (["easy", "hard"], ["junk"]), "hard": (["hard"], ["junk", "easy"])}
    expected = {}
    for setting, (ok, junk) in roles.items():
        union = lambda lists, names: set().union(*(lists[name] for name in names))
        each = [query_scores(r, union(q, ok), union(q, junk)) for q, r in zip(queries, rankings)]
        expected[setting] = {"queries": each, "means": np.mean([s for s in each if s], axis=0).tolist()}
    save_json("retrieval", "scores", {"images": IMAGES, "queries": queries, "rankings": rankings, "expected": expected})


def descriptors() -> None:
    images, places, dim = 3, 12, 16
    tokens = parameter("retrieval.tokens", (images, 1 + places, dim)) * 3
    patches = tokens[:, 1:].double().clamp(min=1e-6)
    pooled = patches.pow(4).mean(1).pow(0.25)
    save("retrieval", "descriptors", {"tokens": tokens, "descriptors": torch.cat([tokens[:, 0].double(), pooled], 1)},
         {"images": images, "dim": dim})


def whitening() -> None:
    for rows, dim in [(200, 24), (10, 24)]:
        learnt = parameter(f"whitening{rows}.learnt", (rows, dim)).double().numpy() * np.logspace(0, -3, dim) + 0.2
        learnt = learnt.astype(np.float32)
        base, queries = (parameter(f"whitening{rows}.{name}", (count, dim)).numpy() for name, count in [("base", 7), ("queries", 5)])
        wide = learnt.astype(np.float64)
        values, vectors = np.linalg.eigh(wide.T @ wide / rows)
        values = np.maximum(values, values.max() * 1e-5)
        projection = (vectors / np.sqrt(values)).T
        unit = lambda x: x / np.linalg.norm(x, axis=1, keepdims=True)
        white = [unit((x.astype(np.float64) - wide.mean(0)) @ projection.T) for x in (queries, base)]
        save("retrieval", f"whitening_{rows}", {"learnt": learnt, "base": base, "queries": queries, "cosines": white[0] @ white[1].T},
             {"dim": dim})


def copies() -> None:
    database, queries, dim = 45, 12, 8
    rows = parameter("copies.database", (database, dim)).numpy()
    noise = parameter("copies.noise", (queries, dim)).numpy()
    originals = [[query, query + 20] if query % 3 == 0 else [query] for query in range(queries)]
    originals[5] = []
    asked = (0.4 * rows[:queries] + noise).astype(np.float32)
    cosine = (asked / np.linalg.norm(asked, axis=1, keepdims=True)) @ (rows / np.linalg.norm(rows, axis=1, keepdims=True)).T
    expected = []
    for query, wanted in enumerate(originals):
        first = np.argsort(-cosine[query])[:20]
        expected.append(area([image in wanted for image in first], len(wanted)) if wanted else None)
    assert 0.0 in expected and any(e and e < 0.1 for e in expected), expected
    save("retrieval", "copies", {"database": rows, "queries": asked}, {"dim": dim, "originals": originals, "expected": expected})


@torch.no_grad()
def multi_scale() -> None:
    dim, depth, patch, grid, heads = 32, 2, 8, 7, 2
    params = {name: parameter(name, shape).double() for name, shape in vit_shapes(dim, depth, patch, grid).items()}
    tensors, sizes = {}, [(30, 45), (56, 56), (17, 501)]
    for height, width in sizes:
        name = f"{height}x{width}"
        pixels = image_bytes(f"scaled.{name}", (height, width, 3)).astype(np.float32) / np.float32(255)
        images = torch.from_numpy(np.ascontiguousarray(((pixels - MEAN) / STD).transpose(2, 0, 1)))[None]
        total = 0
        for scale in [1, 1 / 2 ** (1 / 2), 1 / 2]:
            shown = images if scale == 1 else F.interpolate(images, scale_factor=scale, mode="bilinear", align_corners=False)
            total = total + vit(params, shown.double(), heads)["cls"][0]
            if scale != 1:
                tensors[f"{name}.{round(100 * scale)}"] = shown[0, :, ::3, ::5]
        tensors[f"{name}.features"] = total / total.norm()
    save("retrieval", "multi_scale", tensors,
         {"dim": dim, "depth": depth, "patch": patch, "grid": grid, "heads": heads, "sizes": sizes, "image": grid * patch})


def ground_truth() -> None:
    small = {
        "imlist": ["tower_000", "tower_001", "bridge_000", "oxford_42"],
        "qimlist": ["tower_q", "bridge_q"],
        "gnd": [{"bbx": [1.5, 2.0, 30.25, 40.0], "easy": [0], "hard": [1], "junk": [3]},
                {"bbx": [0, 0, 10, 10], "easy": [], "hard": [2], "junk": []}],
    }
    for protocol in (2, 3, 4, 5):
        path = place("retrieval", f"gnd_small{protocol}.pkl")
        path.write_bytes(pickle.dumps(small, protocol=protocol))
        check_size(path)


if __name__ == "__main__":
    scores()
    descriptors()
    whitening()
    copies()
    multi_scale()
    ground_truth()

"""Milliseconds of handing labels on by one frame of a video, in PyTorch, the way the official program does it.

Random unit features of a 480p frame (30 x 52 places of width 384, as ViT-S/16 gives them) and seven earlier frames beside the first: full
matrices of cosines, their exponentials times a matrix of zeros and ones, the greatest five of every column. With `--network` also the features
of a frame by a ViT with random weights. Prints one JSON object: medians over `--steps` frames after `--warmup`.
"""

import argparse
import json
import statistics
import time

import torch

from dino_step import ARCHS, Attention, Vit

MEASURED = ("propagation", "mask", "features")


def neighbourhood(rows: int, columns: int, reach: int) -> torch.Tensor:
    """[N, N]: 1 where two places are at most `reach` rows and columns apart."""
    row, column = torch.arange(rows * columns) // columns, torch.arange(rows * columns) % columns
    apart = torch.maximum((row[:, None] - row).abs(), (column[:, None] - column).abs())
    return (apart <= reach).float()


def propagate(target, sources, labels, near, args):
    """Labels [C, N] of a frame: `target` [N, D], `sources` [frames, N, D], `labels` [frames, C, N]."""
    frames, places = sources.shape[:2]
    target = torch.nn.functional.normalize(target, dim=1)
    sources = torch.nn.functional.normalize(sources, dim=2)
    affinity = torch.exp(torch.bmm(target.expand(frames, -1, -1), sources.transpose(1, 2)) / args.temperature)
    affinity = affinity * near  # [frames, N targets, N sources]
    affinity = affinity.transpose(2, 1).reshape(frames * places, places)
    least = torch.topk(affinity, args.top_k, dim=0).values.min(dim=0).values
    affinity[affinity < least] = 0
    affinity = affinity / affinity.sum(dim=0, keepdim=True)
    return labels.transpose(0, 1).reshape(labels.shape[1], -1) @ affinity


def to_mask(labels, grid, patch):
    soft = torch.nn.functional.interpolate(labels.reshape(1, -1, *grid), scale_factor=patch, mode="bilinear", align_corners=False)[0]
    for channel in soft:
        if channel.max() > 0:
            channel -= channel.min()
            channel /= channel.max()
    return soft.max(dim=0).indices


def features(network, image, positions):
    """Every patch's token after the last norm, of an image that is no square."""
    x = network.patch_embed(image).flatten(2).transpose(1, 2)
    x = torch.cat([network.cls_token, x], dim=1) + positions
    for block in network.blocks:
        x = block(x)
    return network.norm(x)[0, 1:]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--network", action="store_true", help="also time the features")
    parser.add_argument("--arch", choices=ARCHS, default="vit_small")
    for name, default in (("rows", 30), ("columns", 52), ("patch", 16), ("objects", 2), ("last_frames", 7), ("reach", 12), ("top_k", 5),
                          ("steps", 10), ("warmup", 2), ("threads", 2)):
        parser.add_argument(f"--{name.replace('_', '-')}", type=int, default=default)
    parser.add_argument("--temperature", type=float, default=0.1)
    args = parser.parse_args()
    torch.manual_seed(0)
    torch.set_num_threads(args.threads)
    grid, places, width = (args.rows, args.columns), args.rows * args.columns, ARCHS[args.arch][0]
    sources = torch.randn(args.last_frames + 1, places, width)
    labels = torch.randn(args.last_frames + 1, args.objects + 1, places).softmax(dim=1)
    near, target = neighbourhood(*grid, args.reach), torch.randn(places, width)
    times = {name: [] for name in MEASURED}
    Attention.fused = True
    network = Vit(ARCHS[args.arch], args.patch, 224, 0.0).eval() if args.network else None
    positions = torch.randn(1, places + 1, width)
    image = torch.randn(1, 3, args.patch * args.rows, args.patch * args.columns)
    with torch.inference_mode():
        for step in range(args.warmup + args.steps):
            taken, begun = {}, time.perf_counter()
            own = propagate(target, sources, labels, near, args)
            taken["propagation"] = time.perf_counter() - begun
            begun = time.perf_counter()
            to_mask(own, grid, args.patch)
            taken["mask"] = time.perf_counter() - begun
            if network is not None:
                begun = time.perf_counter()
                features(network, image, positions)
                taken["features"] = time.perf_counter() - begun
            if step >= args.warmup:
                for name, seconds in taken.items():
                    times[name].append(1e3 * seconds)
    medians = {name: round(statistics.median(own), 3) for name, own in times.items() if own}
    print(json.dumps({"program": "torch", **vars(args), "ms": {**medians, "total": round(sum(medians.values()), 3)}}))


if __name__ == "__main__":
    main()

"""Milliseconds of one epoch of a linear probe on features in memory, several learning rates side by side, in PyTorch.

As DINOv2 does: one layer and one loss for each learning rate, one SGD over all. `--stacked` puts the layers into one matrix instead, as
dinoxide does. Rows of a step are taken from one tensor by a random order; the slower loader of the official programs is left out.
Prints one JSON object.
"""

import argparse
import json
import statistics
import time

import torch
from torch.nn.functional import cross_entropy


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--stacked", action="store_true")
    for name, default in (("train", 50000), ("dim", 1536), ("classes", 10), ("rates", 6), ("batch", 256), ("steps", 10),
                          ("warmup", 2), ("threads", 2)):
        parser.add_argument(f"--{name}", type=int, default=default)
    args = parser.parse_args()
    torch.manual_seed(0)
    torch.set_num_threads(args.threads)
    features, labels = torch.randn(args.train, args.dim), torch.arange(args.train) % args.classes
    rate = 0.01 * args.batch / 256
    count = 1 if args.stacked else args.rates
    layers = [torch.nn.Linear(args.dim, args.classes * args.rates // count) for _ in range(count)]
    groups = [{"params": layer.parameters(), "lr": rate} for layer in layers]
    optimizer = torch.optim.SGD(groups, momentum=0.9, weight_decay=0)

    def epoch() -> None:
        for places in torch.randperm(args.train).split(args.batch):
            x, y = features[places], labels[places]
            if args.stacked:
                logits = layers[0](x).view(len(y), args.rates, args.classes)
                loss = cross_entropy(logits.flatten(0, 1), y.repeat_interleave(args.rates)) * args.rates
            else:
                loss = sum(cross_entropy(layer(x), y) for layer in layers)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()

    times = []
    for step in range(args.warmup + args.steps):
        begun = time.perf_counter()
        epoch()
        if step >= args.warmup:
            times.append(1e3 * (time.perf_counter() - begun))
    print(json.dumps({"program": "torch", **vars(args), "ms": {"total": round(statistics.median(times), 3)}}))


if __name__ == "__main__":
    main()

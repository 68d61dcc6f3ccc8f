"""Milliseconds of forward and backward of a backbone on random images, torchvision's or timm's, f32 or bf16 under autocast.

Images and weights are channels-last, which is what PyTorch recommends on processors. Prints one JSON object: medians over
`--steps` steps after `--warmup`. To hold against
`dinoxide bench step --model resnet50 --views 1x224 --no-head --batch 8`.
"""

import argparse
import json
import statistics
import time

import timm
import torch
import torchvision


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--arch", default="resnet50")
    parser.add_argument("--dtype", choices=("f32", "bf16"), default="f32")
    for name, default in (("image", 224), ("batch", 8), ("steps", 10), ("warmup", 3), ("threads", 2)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--contiguous", action="store_true", help="channels first")
    parser.add_argument("--compile", action="store_true")
    args = parser.parse_args()
    torch.manual_seed(0)
    torch.set_num_threads(args.threads)
    layout = torch.contiguous_format if args.contiguous else torch.channels_last
    if args.arch.startswith("resnet"):
        network = torchvision.models.get_model(args.arch, weights=None)
        network.fc = torch.nn.Identity()
    else:
        network = timm.create_model(args.arch, num_classes=0)
    network = network.train().to(memory_format=layout)
    run = torch.compile(network) if args.compile else network
    images = torch.randn(args.batch, 3, args.image, args.image).to(memory_format=layout)
    forward, total, processor = [], [], []
    for step in range(args.warmup + args.steps):
        network.zero_grad()
        begun, used = time.perf_counter(), time.process_time()
        with torch.autocast("cpu", torch.bfloat16, enabled=args.dtype == "bf16"):
            features = run(images)
        middle = time.perf_counter()
        features.float().square().mean().backward()
        if step >= args.warmup:
            forward.append(1e3 * (middle - begun))
            total.append(1e3 * (time.perf_counter() - begun))
            processor.append(1e3 * (time.process_time() - used))
    median = statistics.median(total)
    print(json.dumps({
        "program": "pytorch", "torch": torch.__version__, **vars(args),
        "ms": {"student": round(statistics.median(forward), 3), "total": round(median, 3)},
        "cpu_ms": round(statistics.median(processor), 3),
        "images_per_second": round(1e3 * args.batch / median, 3),
    }))


if __name__ == "__main__":
    main()

#!/usr/bin/env python3
"""Times dinoxide and another program in turns on the same task, and prints the ratios with their spread.

    python bench/compare.py step --pairs 5
    python bench/compare.py infer8 --against openvino
    python bench/compare.py views --against pil --data photos

Machines are noisy: only ratios of neighbouring runs mean something, so every run of ours has its own run of theirs right
after it, and both orders take turns. A ratio above 1 means that dinoxide is faster. The task is the same, the arithmetic is
not: dinoxide leaves out what has no effect on the result (other tokens than the class token in the last projection and MLP,
branches that drop path drops, one of two passes over a pair of views), which is a part of the ratio. Needs `cargo build --release` and, in
the Python that runs this, what `bench/peers/requirements.txt` lists.
"""

import argparse
import json
import statistics
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PEERS = ROOT / "bench" / "peers"

# What is measured: our arguments, their program and its arguments.
SETTINGS = {
    "plain": ("step --views 1x224 --no-head --batch 8", "dino_step.py", "--no-head --batch 8"),
    "step": ("step --views 2x224,8x96 --out-dim 65536 --batch 8", "dino_step.py", "--batch 8"),
    "laptop": ("step --model vit_tiny_patch8_64 --views 2x64,8x32 --out-dim 4096 --batch 32", "dino_step.py",
               "--arch vit_tiny --patch 8 --image 64,32 --out-dim 4096 --batch 32"),
    "resnet50": ("step --model resnet50 --views 1x224 --no-head --batch 8", "backbone_step.py", "--batch 8"),
    "xcit": ("step --model xcit_small_12_p16 --views 1x224 --no-head --batch 8", "backbone_step.py",
             "--arch xcit_small_12_p16_224 --batch 8"),
    "infer8": ("infer --batch 8", "infer.py", "--batch 8"),
    "infer1": ("infer --batch 1", "infer.py", "--batch 1"),
    "knn": ("knn --train 50000 --queries 10000 --dim 384 --k 20", "knn.py", ""),
    "linear": ("linear", "linear_probe.py", ""),
    "linear1": ("linear --rates 1", "linear_probe.py", "--rates 1"),
    "linear100": ("linear --classes 100", "linear_probe.py", "--classes 100"),
    "views": ("views --views 2x224,8x96", "views.py", "--views 2x224,8x96"),
}
# Options of their program for each peer.
PEER_OPTIONS = {
    "official": "",
    "fast": "--fast",
    "fused": "--fast --fused-attention",
    "compile": "--fast --compile",
    "compile-only": "--compile",
    "eager": "",
    "modules": "",
    "stacked": "--stacked",
    "torch": "--engine torch",
    "onnxruntime": "--engine onnxruntime",
    "openvino": "--engine openvino",
    "faiss": "--engine faiss",
    "pil": "--engine pil",
    "torchvision": "--engine torchvision",
    "albumentations": "--engine albumentations",
    "opencv": "--engine opencv",
}
# Peers of each program, the usual one first.
PEERS_OF = {
    "dino_step.py": ("official", "fast", "fused", "compile"),
    "backbone_step.py": ("eager", "compile-only"),
    "infer.py": ("torch", "onnxruntime", "openvino"),
    "knn.py": ("faiss", "torch"),
    "linear_probe.py": ("modules", "stacked"),
    "views.py": ("pil", "torchvision", "albumentations", "opencv"),
}


def run(command: list) -> dict:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise SystemExit(f"{' '.join(map(str, command))}\nended with {done.returncode}:\n{done.stderr}")
    return json.loads(done.stdout.strip().splitlines()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("setting", choices=SETTINGS)
    parser.add_argument("--against", choices=PEER_OPTIONS, help="default: official for steps, torch for infer, pil for views")
    parser.add_argument("--dtype", choices=("f32", "bf16"), default="f32", help="of both programs")
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--steps", type=int, default=10, help="steps of a run that count")
    parser.add_argument("--threads", type=int, help="default: 1 for views, else 2")
    parser.add_argument("--data", type=Path, help="folder of JPEG files, for views")
    parser.add_argument("--dinoxide", type=Path, default=ROOT / "target" / "release" / "dinoxide")
    args = parser.parse_args()
    ours, program, theirs = SETTINGS[args.setting]
    against = args.against or PEERS_OF[program][0]
    if against not in PEERS_OF[program]:
        parser.error(f"{against} does not do {args.setting}")
    if (args.data is None) == (args.setting == "views"):
        parser.error("--data goes with views, and views needs it")
    if args.data and args.threads not in (None, 1):
        parser.error("views are compared on one thread: theirs follow one another, ours do not")
    threads = args.threads or (1 if args.data else 2)
    # Views have no number format: they are bytes. Linear layers and searches are f32.
    kind = [[args.data], [args.data]] if args.data else [["--precision", args.dtype], ["--dtype", args.dtype]]
    if program in ("knn.py", "linear_probe.py"):
        kind = [[], []]
    shared = ["--steps", str(args.steps), "--threads", str(threads)]
    our_command = [args.dinoxide, "bench", *ours.split(), *kind[0], *shared, "--json"]
    their_command = [sys.executable, PEERS / program, *theirs.split(), *PEER_OPTIONS[against].split(), *kind[1], *shared]
    ratios, our_times, their_times, memory = [], [], [], []
    for pair in range(args.pairs):
        if pair % 2 == 0:
            mine, other = run(our_command), run(their_command)
        else:
            other, mine = run(their_command), run(our_command)
        if args.data and mine["images"] != other["images"]:
            raise SystemExit(f"{mine['images']} images here, {other['images']} there: give a folder of JPEG files only")
        our_times.append(mine["ms"] if "ms" in mine else 1e3 * mine["seconds"])
        their_times.append(other["ms"]["total"])
        ratios.append(their_times[-1] / our_times[-1])
        if "peak_rss_mb" in mine and "peak_rss_mb" in other:
            memory.append(mine["peak_rss_mb"] / other["peak_rss_mb"])
        print(f"pair {pair + 1}: dinoxide {our_times[-1]:.1f} ms, {against} {their_times[-1]:.1f} ms, "
              f"ratio {ratios[-1]:.3f}", file=sys.stderr, flush=True)
    print(json.dumps({
        "setting": args.setting, "cpu": mine["cpu"] if "cpu" in mine else mine["place"]["cpu"], "against": against,
        "dtype": None if args.data else args.dtype, "data": args.data and str(args.data), "pairs": args.pairs,
        "steps": args.steps, "threads": threads, "ratio": round(statistics.median(ratios), 3),
        "ratio_min": round(min(ratios), 3), "ratio_max": round(max(ratios), 3),
        "memory_ratio": round(statistics.median(memory), 3) if memory else None,
        **{key: round(mine[key.removeprefix("dinoxide_")], 1) for key in ("dinoxide_gflops", "peak_gflops")
           if key.removeprefix("dinoxide_") in mine},
        "dinoxide_ms": round(statistics.median(our_times), 2), "peer_ms": round(statistics.median(their_times), 2),
    }))


if __name__ == "__main__":
    main()

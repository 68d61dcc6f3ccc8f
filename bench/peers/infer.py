"""Milliseconds of one forward pass of a ViT to its class token, f32 or bf16, in PyTorch, ONNX Runtime or OpenVINO.

Random weights (time does not depend on them), random images in memory, medians over `--steps` passes after `--warmup`.
Prints one JSON object. The network is the one of `dino_step.py`; the two other engines get it as ONNX.
"""

import argparse
import json
import statistics
import tempfile
import time

import torch

from dino_step import ARCHS, Attention, Vit


def runner(args: argparse.Namespace, network: torch.nn.Module, images: torch.Tensor, folder: str):
    """A function without arguments that computes the features of `images` once."""
    if args.engine == "torch":
        dtype = torch.bfloat16 if args.dtype == "bf16" else torch.float32
        network, images = network.to(dtype), images.to(dtype)

        def run():
            with torch.inference_mode():
                return network(images)
        return run
    path, array = f"{folder}/vit.onnx", images.numpy()
    torch.onnx.export(network, (images,), path, input_names=["images"], dynamo=False, opset_version=17)
    if args.engine == "onnxruntime":
        import onnxruntime

        if args.dtype != "f32":
            raise SystemExit("ONNX Runtime has no bf16 on processors")
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = args.threads
        session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        return lambda: session.run(None, {"images": array})
    import openvino

    hints = {"INFERENCE_NUM_THREADS": args.threads, "INFERENCE_PRECISION_HINT": args.dtype, "PERFORMANCE_HINT": "LATENCY"}
    compiled = openvino.Core().compile_model(path, "CPU", hints)
    return lambda: compiled(array)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--engine", choices=("torch", "onnxruntime", "openvino"), default="torch")
    parser.add_argument("--arch", choices=ARCHS, default="vit_small")
    parser.add_argument("--dtype", choices=("f32", "bf16"), default="f32")
    for name, default in (("patch", 16), ("image", 224), ("batch", 8), ("steps", 10), ("warmup", 2), ("threads", 2)):
        parser.add_argument(f"--{name}", type=int, default=default)
    args = parser.parse_args()
    torch.manual_seed(0)
    torch.set_num_threads(args.threads)
    Attention.fused = True
    network = Vit(ARCHS[args.arch], args.patch, args.image, 0.0).eval()
    times = []
    with tempfile.TemporaryDirectory() as folder:
        run = runner(args, network, torch.randn(args.batch, 3, args.image, args.image), folder)
        for step in range(args.warmup + args.steps):
            begun = time.perf_counter()
            run()
            if step >= args.warmup:
                times.append(1e3 * (time.perf_counter() - begun))
    median = statistics.median(times)
    print(json.dumps({"program": args.engine, **vars(args), "ms": {"total": round(median, 3)},
                      "images_per_second": round(1e3 * args.batch / median, 3)}))


if __name__ == "__main__":
    main()

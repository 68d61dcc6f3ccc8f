"""Compares what ONNX Runtime computes from an exported file with what dinoxide computes from the same network.

    python tests/interop/onnx_runtime.py DINOXIDE MODEL FILE.onnx

MODEL is a run folder or the weights that FILE.onnx was made from. For images of several sizes, one and five at a time,
every output of the file has to equal the features of `dinoxide embed`.
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from PIL import Image

# Width and height: the stored grid, a smaller one, a larger one, and one that is not square.
SIZES = [(224, 224), (96, 96), (384, 384), (480, 320)]
# Not whole patches; as many patches as a square of 224 has, in another form; and the same grid of patches, of an image that is not square.
ODD_SIZES = [(100, 75), (448, 112), (230, 224)]
BATCHES = [1, 5]
# Output of the file: what `dinoxide embed` is asked for, and the array that it writes.
KINDS = {"features": ("cls", "embeddings"), "tokens": ("tokens", "tokens"), "attention": ("attention", "attention")}
# Both compute in f32; the largest difference over the largest value.
TOLERANCE = 1e-4


def pictures(width: int, height: int, channels: int) -> np.ndarray:
    """Waves and noise as bytes, `[images, height, width, channels]`."""
    rng = np.random.default_rng(width * 10_000 + height)
    y, x = np.mgrid[0:height, 0:width]
    images = []
    for _ in range(max(BATCHES)):
        speed, phase = rng.uniform(0.01, 0.2, (2, channels)), rng.uniform(0, 6, channels)
        waves = np.sin(x[..., None] * speed[0] + y[..., None] * speed[1] + phase)
        images.append(127 + 90 * waves + rng.normal(0, 15, (height, width, channels)))
    return np.clip(np.rint(images), 0, 255).astype(np.uint8)


def embedded(dinoxide: str, model: str, images: np.ndarray, what: str, array: str) -> np.ndarray:
    """What dinoxide computes from files of these images; they have the size asked for, so that nothing is resized."""
    with tempfile.TemporaryDirectory() as folder:
        files = [Path(folder) / f"{number}.png" for number in range(len(images))]
        for file, image in zip(files, images):
            Image.fromarray(image.squeeze(-1) if image.shape[-1] == 1 else image).save(file)
        out, (height, width) = Path(folder) / "features.npz", images.shape[1:3]
        command = [dinoxide, "embed", model, folder, "-o", out, "--what", what, "--image-size", f"{width}x{height}"]
        result = subprocess.run(command, capture_output=True, text=True)
        assert result.returncode == 0, result.stderr
        written = np.load(out)
        names = [Path(name).name for name in written["filenames"]]
        assert names == [file.name for file in files], f"other images: {names}"
        return written[array]


def main(dinoxide: str, model: str, file: str) -> bool:
    onnx.checker.check_model(file, full_check=True)
    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    texts = session.get_modelmeta().custom_metadata_map
    mean, std = (np.array(json.loads(texts[key]), np.float32) for key in ("mean", "std"))
    [pixel_values] = session.get_inputs()
    names = [output.name for output in session.get_outputs()]
    assert pixel_values.name == "pixel_values" and names[0] == "features", (pixel_values.name, names)
    good = True
    for width, height in SIZES + ODD_SIZES:
        images = pictures(width, height, len(mean))
        pixels = ((images / np.float32(255) - mean) / std).astype(np.float32).transpose(0, 3, 1, 2)
        ours = {name: embedded(dinoxide, model, images, *KINDS[name]) for name in names}
        for batch in BATCHES:
            theirs = session.run(names, {"pixel_values": pixels[:batch]})
            for name, values in zip(names, theirs):
                expected = ours[name][:batch]
                assert values.shape == expected.shape, f"{name} is {values.shape}, not {expected.shape}"
                error = np.abs(values - expected).max() / np.abs(expected).max()
                fits = bool(error <= TOLERANCE)
                good &= fits
                print(f"{'ok' if fits else 'BAD'}  {width}x{height}  batch {batch}  {name:9} {error:.1e}", flush=True)
    return good


if __name__ == "__main__":
    sys.exit(0 if main(*sys.argv[1:4]) else 1)

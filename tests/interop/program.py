"""The command line of dinoxide, images, and what agrees with what."""

import shlex
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy
import torch
from PIL import Image

ROOT = Path(__file__).resolve().parents[2]
BOUND = 1e-4
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class Program:
    """The command line of dinoxide."""

    def __init__(self, path: Path):
        self.path = path.resolve()

    def run(self, *arguments: str) -> str:
        done = subprocess.run([self.path, *map(str, arguments)], capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{shlex.join(map(str, arguments))}\n{done.stderr}"
        return done.stdout

    def refuses(self, *arguments: str) -> str:
        done = subprocess.run([self.path, *map(str, arguments)], capture_output=True, text=True, check=False)
        assert done.returncode == 1 and "error: " in done.stderr, f"{arguments}: {done.stderr}"
        assert "panicked" not in done.stderr, done.stderr
        return done.stderr[done.stderr.index("error: "):]

    def features(self, model: Path, image: Path, *options: str) -> numpy.ndarray:
        with tempfile.TemporaryDirectory() as folder:
            out = Path(folder) / "features.npz"
            self.run("embed", model, image, "-o", out, "--precision", "f32", *options)
            return numpy.load(out)["embeddings"]

    def graph(self, model: Path, *outputs: str) -> None:
        """ONNX files of a model, with these outputs and without the first; ONNX Runtime computes from them what we compute. Without
        `tokens`, only the class token goes through the last block."""
        for names in dict.fromkeys((outputs, outputs[1:])):
            file = model.with_suffix(".onnx")
            self.run("export", model, "-o", file, *(["--outputs", ",".join(names)] if names else []))
            self.run("verify-export", model, file)
            self.runs_as_here(model, file)

    def runs_as_here(self, model: Path, file: Path) -> None:
        """What ONNX Runtime computes from a file is what we compute from its source."""
        print(f"{file}:", flush=True)
        subprocess.run([sys.executable, ROOT / "tests" / "interop" / "onnx_runtime.py", self.path, model, file], check=True)


def photo(path: Path, width: int, height: int) -> None:
    """An image without pattern on smooth colours."""
    rows, columns = numpy.mgrid[0:height, 0:width]
    smooth = numpy.stack([rows * 255 / height, columns * 255 / width, (rows + columns) * 255 / (height + width)], -1)
    noise = numpy.random.default_rng(0).normal(0, 40, smooth.shape)
    Image.fromarray(numpy.clip(smooth + noise, 0, 255).astype(numpy.uint8)).save(path)


def pixels(path: Path) -> torch.Tensor:
    """The normalised image, [1, 3, height, width]."""
    image = torch.from_numpy(numpy.array(Image.open(path).convert("RGB"))).permute(2, 0, 1) / 255
    return ((image - torch.tensor(MEAN)[:, None, None]) / torch.tensor(STD)[:, None, None])[None]


def agree(what: str, ours: numpy.ndarray, theirs: torch.Tensor) -> None:
    theirs = numpy.asarray(theirs.detach())
    assert ours.shape == theirs.shape, f"{what}: {ours.shape} and {theirs.shape}"
    error = numpy.abs(ours - theirs).max() / numpy.abs(theirs).max()
    assert error <= BOUND, f"{what}: off by {error}"
    print(f"ok: {what}, off by {error:.1e}")


def same(what: str, ours: dict, theirs: dict) -> None:
    assert set(ours) == set(theirs), f"{what}: other names {sorted(set(ours) ^ set(theirs))[:6]}"
    for name, value in theirs.items():
        assert torch.equal(ours[name], value) and ours[name].dtype == value.dtype, f"{what}: another `{name}`"
    print(f"ok: {what}, {len(theirs)} tensors have the same bits")


def shaken(model: torch.nn.Module) -> torch.nn.Module:
    """Every parameter moved, so that none is 0, 1 or 1e-5 everywhere."""
    for parameter in model.parameters():
        parameter.add_(torch.randn_like(parameter) * 0.05)
    return model

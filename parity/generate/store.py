"""Writes fixtures: safetensors with one metadata entry `case` (a JSON object), or JSON; at most 200 KB each."""

import json
from pathlib import Path

import numpy as np
import torch
from safetensors.numpy import save_file

FIXTURES = Path(__file__).resolve().parent.parent / "fixtures"
LIMIT_BYTES = 200_000

torch.set_num_threads(2)
torch.use_deterministic_algorithms(True)


def place(topic: str, name: str) -> Path:
    """Path of a fixture; makes its folder."""
    path = FIXTURES / topic / name
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def check_size(path: Path) -> None:
    size = path.stat().st_size
    assert size < LIMIT_BYTES, f"{path} has {size} bytes"
    print(f"{path.relative_to(FIXTURES)} {size}")


def save(topic: str, name: str, tensors: dict, case: dict) -> None:
    """Writes fixtures/<topic>/<name>.safetensors."""
    path = place(topic, name + ".safetensors")
    arrays = {}
    for key, value in tensors.items():
        value = value.detach().numpy() if isinstance(value, torch.Tensor) else np.asarray(value)
        arrays[key] = np.ascontiguousarray(value).reshape(value.shape)
    save_file(arrays, path, metadata={"case": json.dumps(case, sort_keys=True)})
    check_size(path)


def save_json(topic: str, name: str, value) -> None:
    """Writes fixtures/<topic>/<name>.json; floats keep all digits of f64."""
    path = place(topic, name + ".json")
    path.write_text(json.dumps(value, sort_keys=True, indent=None, separators=(",", ":")) + "\n")
    check_size(path)

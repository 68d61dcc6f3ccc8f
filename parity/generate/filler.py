"""Deterministic values that Python and Rust compute alike, so that fixtures need not store weights.

The rule is stated in parity/README.md, section "Filler". Nothing here depends on a library's random generator.
"""

import math

import numpy as np
import torch

MASK = (1 << 64) - 1
MEAN = np.array([0.485, 0.456, 0.406], dtype=np.float32)
STD = np.array([0.229, 0.224, 0.225], dtype=np.float32)


def fnv1a(name: str) -> int:
    """FNV-1a, 64 bits, of the UTF-8 bytes of `name`."""
    hashed = 0xCBF29CE484222325
    for byte in name.encode("utf-8"):
        hashed = ((hashed ^ byte) * 0x100000001B3) & MASK
    return hashed


def words(name: str, count: int) -> np.ndarray:
    """`count` u64 words: splitmix64(fnv1a(name) + i), i = 0..count."""
    with np.errstate(over="ignore"):
        z = np.uint64(fnv1a(name)) + np.arange(count, dtype=np.uint64)
        z = z + np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return z ^ (z >> np.uint64(31))


def centred(name: str, shape: tuple, scale: float, offset: float = 0.0) -> torch.Tensor:
    """f32(offset + (u - 0.5) * 2 * scale), u = (word >> 40) / 2^24, all in f64 before the last rounding."""
    count = math.prod(shape)
    u = (words(name, count) >> np.uint64(40)).astype(np.float64) / float(1 << 24)
    values = (offset + (u - 0.5) * 2.0 * scale).astype(np.float32)
    return torch.from_numpy(values.reshape(shape))


def rule(name: str, shape: tuple) -> tuple:
    """(scale, offset) of a parameter or buffer: the first matching line of the table in the README."""
    if name.endswith("running_var") or (len(shape) == 1 and name.endswith(".weight")):
        return 0.1, 1.0
    if name.endswith(".bias") or name.endswith("running_mean"):
        return 0.05, 0.0
    if name.endswith("cls_token") or name.endswith("pos_embed"):
        return 1.0, 0.0
    unit = math.sqrt(3.0 / math.prod(shape[1:]))
    return (1.5 * unit if name.endswith("attn.qkv.weight") else unit), 0.0


def parameter(name: str, shape: tuple) -> torch.Tensor:
    """The f32 value of a named parameter; `weight_g` is 1."""
    if name.endswith("weight_g"):
        return torch.ones(shape)
    scale, offset = rule(name, shape)
    return centred(name, shape, scale, offset)


def image_bytes(name: str, shape: tuple) -> np.ndarray:
    """u8 pixels: word >> 56, in the order of `shape` (... H, W, 3)."""
    return (words(name, math.prod(shape)) >> np.uint64(56)).astype(np.uint8).reshape(shape)


def images(name: str, shape: tuple) -> torch.Tensor:
    """Normalised f32 images [N, 3, H, W] of the bytes [N, H, W, 3]: ((byte / 255) - mean) / std, each step in f32."""
    pixels = image_bytes(name, shape).astype(np.float32) / np.float32(255.0)
    pixels = (pixels - MEAN) / STD
    return torch.from_numpy(np.ascontiguousarray(pixels.transpose(0, 3, 1, 2)))

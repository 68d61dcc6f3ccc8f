"""A few filler values, so that a second implementation can test itself."""

from filler import fnv1a, image_bytes, images, parameter, words
from store import save_json


def main() -> None:
    names = ["", "image", "cls_token", "backbone.blocks.0.attn.qkv.weight"]
    qkv = parameter("backbone.blocks.0.attn.qkv.weight", (36, 12)).flatten()
    norm = parameter("norm.weight", (12,))
    save_json("filler", "check", {
        "fnv1a": {n: f"{fnv1a(n):016x}" for n in names},
        "words": {n: [f"{int(w):016x}" for w in words(n, 3)] for n in names},
        "qkv_36x12": [float(v) for v in qkv[:4]],
        "norm_12": [float(v) for v in norm[:4]],
        "image_bytes": image_bytes("image", (1, 2, 2, 3)).flatten().tolist(),
        "image_chw": images("image", (1, 2, 2, 3)).flatten().tolist(),
    })


if __name__ == "__main__":
    main()

"""Digests of thumbnails: Pillow's `Image.thumbnail(size, LANCZOS)` of noise that was not decoded from a file, so that `draft` has no part."""

import random

from PIL import Image

from filler import fnv1a, image_bytes
from store import save_json

# (width, height, side of the box or its two sides)
FIXED = [(640, 480, 224), (480, 640, 224), (1024, 768, 224), (1000, 700, 100), (897, 300, 224), (224, 224, 224), (225, 10, 224),
         (3000, 4, 224), (4, 3000, 224), (100, 90, 224), (450, 449, 224), (449, 449, 224), (1023, 681, (512, 100)), (61, 47, 1),
         (500, 333, (100, 300))]
RANDOM = 300


def fnv1a_bytes(data: bytes) -> int:
    hashed = 0xCBF29CE484222325
    for byte in data:
        hashed = ((hashed ^ byte) * 0x100000001B3) & ((1 << 64) - 1)
    return hashed


def main() -> None:
    assert fnv1a_bytes(b"image") == fnv1a("image")
    draws = random.Random(0)
    drawn = [(draws.randint(1, 420), draws.randint(1, 420), draws.randint(1, 90)) for _ in range(RANDOM)]
    cases = []
    for number, (width, height, within) in enumerate([*FIXED, *drawn]):
        within = within if isinstance(within, tuple) else (within, within)
        image = Image.fromarray(image_bytes(f"thumbnail.{number}", (height, width, 3)))
        image.thumbnail(within, Image.Resampling.LANCZOS)
        cases.append([width, height, *within, *image.size, f"{fnv1a_bytes(image.tobytes()):016x}"])
    save_json("thumbnails", "cases", cases)


if __name__ == "__main__":
    main()

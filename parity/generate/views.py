"""Writes parity/fixtures/views: what Pillow and torchvision make of procedural images.

Pinned: Python 3.11, Pillow 13.0.0, torchvision 0.29.2, torch 2.15.0, numpy 2.4.6.
Run: python parity/generate/views.py   (from the repository root; a run overwrites the folder's files)

cases.json lists every case: file, source image, operation and its parameters. Pixels are stored as PNG.
`odd/` holds small files of unusual kinds, each with Pillow's `convert("RGB")` beside it.
"""

import json
from pathlib import Path

import numpy as np
import torchvision.transforms.functional as F
from PIL import Image, ImageFilter, ImageOps
from torchvision.transforms import CenterCrop, InterpolationMode, Resize

OUT = Path("parity/fixtures/views")
FILTERS = {"bicubic": Image.BICUBIC, "bilinear": Image.BILINEAR, "nearest": Image.NEAREST}


def procedural(width, height, seed):
    """Gradients, hard edges and a noisy patch: every level of every channel occurs."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0:height, 0:width].astype(np.float64)
    image = np.stack([255 * x / (width - 1), 255 * y / (height - 1), 127.5 + 127.5 * np.sin(x / 3 + y / 5)], -1)
    image[height // 4 : height // 2, width // 3 : width // 2] = (250, 20, 30)
    image[(x - width * 0.7) ** 2 + (y - height * 0.6) ** 2 < (height / 4) ** 2] = (10, 200, 240)
    image[height * 3 // 4 :, : width // 6] = rng.integers(0, 256, (height - height * 3 // 4, width // 6, 3))
    image[:3, :9] = 255
    image[-2:, -7:] = 0
    return Image.fromarray(image.astype(np.uint8))


def color_cube():
    """Sixteen levels of each channel, every combination."""
    levels = np.arange(16, dtype=np.uint8) * 17
    cube = np.stack(np.meshgrid(levels, levels, levels, indexing="ij"), -1)
    return Image.fromarray(cube.reshape(64, 64, 3))


def jittered(image, order, factors):
    for op in order:
        image = getattr(F, f"adjust_{op}")(image, factors[op])
    return image


def drawn_view(image, size, crop, flip, order, factors, gray, blur, solarize):
    x, y, w, h = crop
    image = F.resized_crop(image, y, x, h, w, [size, size], InterpolationMode.BICUBIC)
    if flip:
        image = F.hflip(image)
    if order:
        image = jittered(image, order, factors)
    if gray:
        image = F.rgb_to_grayscale(image, num_output_channels=3)
    if blur is not None:
        image = image.filter(ImageFilter.GaussianBlur(radius=blur))
    return ImageOps.solarize(image) if solarize else image


def resize_cases():
    # Pillow 13 begins with the columns for (128, 31) and (58, 20), not for (50, 25): twice 11 is not less than 22.
    wholes = [(24, 24), (96, 96), (61, 20), (17, 47), (128, 31), (58, 20), (50, 25), (1, 1)]
    crops = [((5, 3, 40, 31), (24, 24)), ((60, 46, 1, 1), (8, 8)), ((0, 20, 61, 2), (16, 16))]
    for size in wholes:
        yield "small", "resize", {"filter": "bicubic", "crop": [0, 0, 61, 47], "size": list(size)}
    for crop, size in crops:
        yield "small", "resize", {"filter": "bicubic", "crop": list(crop), "size": list(size)}
    for name, size in [("bilinear", (24, 24)), ("bilinear", (96, 70)), ("nearest", (24, 17)), ("nearest", (70, 60))]:
        yield "small", "resize", {"filter": name, "crop": [0, 0, 61, 47], "size": list(size)}
    yield "large", "resize", {"filter": "bicubic", "crop": [20, 10, 150, 101], "size": [48, 48]}
    yield "large", "resize", {"filter": "bicubic", "crop": [0, 0, 200, 133], "size": [70, 96]}


def color_cases():
    for radius in [0.1, 0.5, 1.0, 1.37, 2.0, 5.0, 40.0]:
        yield "small", "blur", {"radius": radius}
    for factor in [0.0, 0.6137, 1.3999, 2.5]:
        yield "small", "brightness", {"factor": factor}
        yield "small", "contrast", {"factor": factor}
    for factor in [0.0, 0.8, 1.1731, 3.0]:
        yield "small", "saturation", {"factor": factor}
    for factor in [-0.5, -0.0987, -0.013, 0.0, 0.031, 0.1]:
        yield "small", "hue", {"factor": factor}
    yield "cube", "hue", {"factor": 0.0}
    yield "cube", "hue", {"factor": -0.07}
    yield "cube", "saturation", {"factor": 0.9}
    for threshold in [128, 100]:
        yield "small", "solarize", {"threshold": threshold}
    yield "small", "gray", {}
    yield "cube", "gray", {}
    yield "small", "flip", {}


def eval_cases():
    for source, resize, crop in [("small", 40, 32), ("large", 41, 32), ("large", 32, 32), ("small", 24, 32)]:
        yield source, "eval", {"resize": resize, "crop": crop}


def chain_cases():
    ops = ["brightness", "contrast", "saturation", "hue"]
    factors = [
        dict(zip(ops, values))
        for values in [(0.71, 1.32, 0.93, -0.08), (1.39, 0.62, 1.19, 0.055), (1.0, 1.17, 0.81, 0.1)]
    ]
    draws = [
        ("large", 48, (11, 7, 160, 120), True, ops, factors[0], False, 1.234, False),
        ("large", 48, (0, 0, 133, 133), False, ops[::-1], factors[1], False, None, True),
        ("large", 32, (150, 90, 30, 37), True, [ops[i] for i in (2, 0, 3, 1)], factors[2], False, 0.3, False),
        ("small", 32, (3, 9, 22, 17), False, None, None, True, 1.9, True),
        ("small", 48, (20, 0, 40, 47), True, [ops[i] for i in (1, 3, 2, 0)], factors[0], True, None, False),
    ]
    keys = ["size", "crop", "flip", "order", "factors", "gray", "blur", "solarize"]
    for source, *values in draws:
        yield source, "view", dict(zip(keys, values))


def compute(image, op, p):
    if op == "resize":
        x, y, w, h = p["crop"]
        return image.crop((x, y, x + w, y + h)).resize(p["size"], FILTERS[p["filter"]])
    if op == "blur":
        return image.filter(ImageFilter.GaussianBlur(radius=p["radius"]))
    if op in ("brightness", "contrast", "saturation", "hue"):
        return getattr(F, f"adjust_{op}")(image, p["factor"])
    if op == "solarize":
        return ImageOps.solarize(image, p["threshold"])
    if op == "gray":
        return F.rgb_to_grayscale(image, num_output_channels=3)
    if op == "flip":
        return F.hflip(image)
    if op == "eval":
        return CenterCrop(p["crop"])(Resize(p["resize"], InterpolationMode.BICUBIC)(image))
    return drawn_view(image, **p)


def file_name(number, source, op, p):
    shown = [f"{k}={'x'.join(map(str, v)) if isinstance(v, (list, tuple)) else v}" for k, v in p.items()]
    return f"view_{number}_{source}_{p['size']}.png" if op == "view" else "_".join([op, source, *shown]) + ".png"


def save_png(image, path):
    image.save(path, optimize=True)


def write_cases():
    sources = {"small": procedural(61, 47, 1), "large": procedural(200, 133, 2), "cube": color_cube()}
    for name, image in sources.items():
        save_png(image, OUT / f"source_{name}.png")
    cases = []
    for source, op, p in [*resize_cases(), *color_cases(), *eval_cases(), *chain_cases()]:
        name = file_name(len(cases), source, op, p)
        save_png(compute(sources[source], op, p), OUT / name)
        cases.append({"file": name, "source": source, "op": op, **p})
    (OUT / "cases.json").write_text(json.dumps(cases, indent=0) + "\n")


def write_odd():
    odd = OUT / "odd"
    odd.mkdir(exist_ok=True)
    image = procedural(24, 17, 3)
    ramp = np.linspace(0, 65535, 24 * 17).astype(np.uint16).reshape(17, 24)
    alpha = Image.fromarray((ramp >> 8).astype(np.uint8))
    rgba = image.copy()
    rgba.putalpha(alpha)
    palette = image.quantize(32)
    exif = Image.Exif()
    exif[0x0112] = 6
    image.convert("CMYK").save(odd / "cmyk.jpg", quality=95)
    # Transform 2 in the Adobe marker makes the same file YCCK.
    adobe = (odd / "cmyk.jpg").read_bytes().partition(b"Adobe")
    (odd / "ycck.jpg").write_bytes(adobe[0] + adobe[1] + adobe[2][:6] + b"\x02" + adobe[2][7:])
    image.convert("L").save(odd / "gray.jpg", quality=95)
    gray = (odd / "gray.jpg").read_bytes()
    (odd / "gray_adobe.jpg").write_bytes(gray[:2] + b"\xff\xee\x00\x0eAdobe\x00\x64\x00\x00\x00\x00\x00" + gray[2:])
    image.save(odd / "exif6.jpg", quality=95, exif=exif)
    image.save(odd / "progressive.jpg", quality=95, progressive=True)
    Image.fromarray(ramp).save(odd / "gray16.png")
    palette.save(odd / "palette_alpha.png", transparency=bytes(range(0, 256, 8)))
    rgba.save(odd / "rgba.png")
    Image.merge("LA", (image.convert("L"), alpha)).save(odd / "gray_alpha.png")
    image.convert("1").save(odd / "bilevel.png")
    palette.save(odd / "plain.gif")
    image.save(odd / "lossless.webp", lossless=True)
    image.save(odd / "lzw.tif", compression="tiff_lzw")
    image.save(odd / "plain.bmp")
    image.save(odd / "plain.ppm")
    image.convert("L").save(odd / "plain.pgm")
    for path in sorted(odd.iterdir()):
        if not path.name.endswith(".expected.png"):
            save_png(Image.open(path).convert("RGB"), odd / f"{path.name}.expected.png")


if __name__ == "__main__":
    OUT.mkdir(parents=True, exist_ok=True)
    write_cases()
    write_odd()
    total = sum(path.stat().st_size for path in OUT.rglob("*") if path.is_file())
    print(f"{total} bytes in {OUT}")

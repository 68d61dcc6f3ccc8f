"""Milliseconds from an image file to DINO's views, decoding included, with Pillow, torchvision v2, albumentations or OpenCV.

The parameters are the official ones: crops of 40 to 100 % and 5 to 40 % of the area, bicubic, mirrored half of the time, color jitter
(.4, .4, .2, .1) for 80 %, gray for 20 %, blur for 100, 10 and 50 %, solarisation for 20 % of the second global crop. `pil` is the official
pipeline, float tensors at its end; the others do what their users do: torchvision v2 antialiases on tensors, albumentations and OpenCV do
not antialias at all, which is less work and another picture. Prints one JSON object; files are read once before the clock starts.
"""

import argparse
import json
import random
import statistics
import time
from pathlib import Path

import numpy as np

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
GLOBAL, LOCAL = (0.4, 1.0), (0.05, 0.4)
RATIO = (3 / 4, 4 / 3)


def pil(sizes):
    """The official pipeline."""
    from PIL import Image, ImageFilter, ImageOps
    from torchvision import transforms as T

    def blur(p):
        def apply(image):
            radius = random.uniform(0.1, 2.0)
            return image.filter(ImageFilter.GaussianBlur(radius)) if random.random() <= p else image
        return apply

    def crop(size, scale, p_blur, p_solarize):
        return T.Compose([
            T.RandomResizedCrop(size, scale=scale, interpolation=T.InterpolationMode.BICUBIC),
            T.RandomHorizontalFlip(0.5),
            T.RandomApply([T.ColorJitter(0.4, 0.4, 0.2, 0.1)], p=0.8),
            T.RandomGrayscale(0.2),
            blur(p_blur),
            lambda image: ImageOps.solarize(image) if random.random() < p_solarize else image,
            T.ToTensor(),
            T.Normalize(MEAN, STD),
        ])
    crops = arrange(sizes, crop)
    return lambda path: Image.open(path).convert("RGB"), crops


def torchvision(sizes):
    """Transforms v2 on tensors of bytes, antialiased."""
    import torch
    from torchvision.io import ImageReadMode, decode_image
    from torchvision.transforms import v2 as T

    def crop(size, scale, p_blur, p_solarize):
        return T.Compose([
            T.RandomResizedCrop(size, scale=scale, interpolation=T.InterpolationMode.BICUBIC, antialias=True),
            T.RandomHorizontalFlip(0.5),
            T.RandomApply([T.ColorJitter(0.4, 0.4, 0.2, 0.1)], p=0.8),
            T.RandomGrayscale(0.2),
            T.RandomApply([T.GaussianBlur(9, (0.1, 2.0))], p=p_blur),
            T.RandomSolarize(128, p_solarize),
            T.ToDtype(torch.float32, scale=True),
            T.Normalize(MEAN, STD),
        ])
    return lambda path: decode_image(str(path), mode=ImageReadMode.RGB), arrange(sizes, crop)


def albumentations(sizes):
    """No antialiasing."""
    import albumentations as A
    import cv2
    from albumentations.pytorch import ToTensorV2

    def crop(size, scale, p_blur, p_solarize):
        composed = A.Compose([
            A.RandomResizedCrop(size=(size, size), scale=scale, ratio=RATIO, interpolation=cv2.INTER_CUBIC),
            A.HorizontalFlip(p=0.5),
            A.ColorJitter((0.6, 1.4), (0.6, 1.4), (0.8, 1.2), (-0.1, 0.1), p=0.8),
            A.ToGray(p=0.2),
            A.GaussianBlur(blur_limit=0, sigma_limit=(0.1, 2.0), p=p_blur),
            A.Solarize(threshold_range=(0.5, 0.5), p=p_solarize),
            A.Normalize(MEAN, STD),
            ToTensorV2(),
        ])
        return lambda image: composed(image=image)["image"]
    return opencv_decode, arrange(sizes, crop)


def opencv(sizes):
    """OpenCV's own functions with the same draws, no antialiasing, bytes at the end."""
    import cv2

    def crop(size, scale, p_blur, p_solarize):
        def apply(image):
            x, y, width, height = draw_crop(image.shape[1], image.shape[0], scale)
            view = cv2.resize(image[y:y + height, x:x + width], (size, size), interpolation=cv2.INTER_CUBIC)
            if random.random() < 0.5:
                view = cv2.flip(view, 1)
            if random.random() < 0.8:
                view = opencv_jitter(cv2, view)
            if random.random() < 0.2:
                view = cv2.cvtColor(cv2.cvtColor(view, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
            if random.random() < p_blur:
                view = cv2.GaussianBlur(view, (9, 9), random.uniform(0.1, 2.0))
            if random.random() < p_solarize:
                view = np.where(view < 128, view, 255 - view)
            return view
        return apply
    return opencv_decode, arrange(sizes, crop)


def opencv_decode(path):
    import cv2

    return cv2.cvtColor(cv2.imread(str(path)), cv2.COLOR_BGR2RGB)


def opencv_jitter(cv2, view):
    operations = [0, 1, 2, 3]
    random.shuffle(operations)
    for operation in operations:
        if operation == 0:
            view = cv2.convertScaleAbs(view, alpha=random.uniform(0.6, 1.4))
        elif operation == 1:
            factor = random.uniform(0.6, 1.4)
            mean = cv2.cvtColor(view, cv2.COLOR_RGB2GRAY).mean()
            view = cv2.addWeighted(view, factor, view, 0, (1 - factor) * mean)
        elif operation == 2:
            factor = random.uniform(0.8, 1.2)
            gray = cv2.cvtColor(cv2.cvtColor(view, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
            view = cv2.addWeighted(view, factor, gray, 1 - factor, 0)
        else:
            hsv = cv2.cvtColor(view, cv2.COLOR_RGB2HSV_FULL)
            hsv[..., 0] += np.uint8(int(random.uniform(-0.1, 0.1) * 255) % 256)
            view = cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB_FULL)
    return view


def draw_crop(width, height, scale):
    for _ in range(10):
        target = width * height * random.uniform(*scale)
        ratio = np.exp(random.uniform(np.log(RATIO[0]), np.log(RATIO[1])))
        w, h = round((target * ratio) ** 0.5), round((target / ratio) ** 0.5)
        if 0 < w <= width and 0 < h <= height:
            return random.randint(0, width - w), random.randint(0, height - h), w, h
    return 0, 0, width, height


def arrange(sizes, crop):
    """One function for each view: first global crop, other global crops, local crops."""
    (count, size), *rest = sizes
    views = [crop(size, GLOBAL, 1.0, 0.0)] + [crop(size, GLOBAL, 0.1, 0.2)] * (count - 1)
    for count, size in rest:
        views += [crop(size, LOCAL, 0.5, 0.0)] * count
    return views


ENGINES = {"pil": pil, "torchvision": torchvision, "albumentations": albumentations, "opencv": opencv}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, nargs="+", help="folders of JPEG files")
    parser.add_argument("--engine", choices=ENGINES, default="pil")
    parser.add_argument("--views", default="2x224,8x96")
    parser.add_argument("--images", type=int, default=200, help="images at most, spread over the data")
    parser.add_argument("--steps", type=int, default=3, help="passes over the images that count")
    parser.add_argument("--warmup", type=int, default=1)
    parser.add_argument("--threads", type=int, default=1, help="of the library; images follow one another")
    args = parser.parse_args()
    import torch

    torch.set_num_threads(args.threads)
    if args.engine in ("opencv", "albumentations"):
        import cv2

        cv2.setNumThreads(args.threads)
    random.seed(0)
    torch.manual_seed(0)
    sizes = [tuple(map(int, size.split("x"))) for size in args.views.split(",")]
    found = sorted(path for folder in args.data for path in folder.rglob("*") if path.suffix.lower() in (".jpg", ".jpeg"))
    if not found:
        parser.error("no JPEG files in " + ", ".join(map(str, args.data)))
    count = min(len(found), args.images)
    paths = [found[at * len(found) // count] for at in range(count)]
    for path in paths:
        path.read_bytes()
    decode, crops = ENGINES[args.engine](sizes)
    times, decoding = [], 0.0
    for step in range(args.warmup + args.steps):
        begun = time.perf_counter()
        for path in paths:
            start = time.perf_counter()
            image = decode(path)
            decoding += (time.perf_counter() - start) if step >= args.warmup else 0.0
            for crop in crops:
                crop(image)
        if step >= args.warmup:
            times.append((time.perf_counter() - begun) / count)
    ms = 1e3 * statistics.median(times)
    print(json.dumps({"program": args.engine, "images": count, "threads": args.threads,
                      "ms": {"total": round(ms, 3), "decode": round(1e3 * decoding / args.steps / count, 3)},
                      "images_per_second": round(1e3 / ms, 2)}))


if __name__ == "__main__":
    main()

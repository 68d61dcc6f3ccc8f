"""Writes parity/fixtures/channels: images that are not 8-bit RGB, as files, and what NumPy, Pillow and timm make of them.

Files are written by NumPy, tifffile and Pillow. `cases.json` holds for each the form it is read in and the bytes expected:
floor((value - low) * 255 / (high - low) + 1/2), clipped, 0 for NaN; 8 bits as they are; gray and color as Pillow converts them.
`views` are what Pillow and torchvision make of a gray image (mode L), each channel for itself. `inflate.safetensors` is timm's
adaptation of a patch embedding from red, green and blue to other numbers of channels.
"""

import base64
import json

import numpy as np
import pydicom
import tifffile
import torch
import torchvision.transforms.functional as F
from PIL import Image, ImageFilter, ImageOps
from timm.models import adapt_input_conv
from torchvision.transforms import InterpolationMode

from filler import parameter
from store import check_size, place, save

HEIGHT, WIDTH = 5, 7
WHOLE = {"u1": None, "u2": None, "i2": (-32768, 32767), "f4": (0, 1), "f8": (0, 1)}
RNG = np.random.default_rng(3)


def numbers(kind, *shape):
    if kind.startswith("f"):
        return RNG.uniform(-0.2, 1.2, shape).astype(kind)
    info = np.iinfo(kind)
    return RNG.integers(info.min, info.max, shape, endpoint=True).astype(kind)


def expected(values, ranges):
    """[H, W, C] numbers to bytes."""
    kind = values.dtype.newbyteorder("=").str[1:]
    if kind == "u1":
        return values
    if not ranges and kind == "u2":
        return (values >> 8).astype(np.uint8)
    low, high = np.array(ranges or [WHOLE[kind]], np.float64).T
    scaled = np.floor((values.astype(np.float64) - low) * (255 / (high - low)) + 0.5)
    return np.nan_to_num(np.clip(scaled, 0, 255)).astype(np.uint8)


def tiff(path, array, **options):
    tifffile.imwrite(path, array, metadata=None, **options)


def arrays():
    """(name, channels read, ranges, stored [H, W, C], how it is written)."""
    per_channel = [[100.0 * channel, 40_000.0 - 500.0 * channel] for channel in range(13)]
    odd = numbers("f4", HEIGHT, WIDTH, 4)
    odd[0, 0], odd[1, 2], odd[2, 3] = np.nan, np.inf, -np.inf
    u1, u2, i2, f4 = (numbers(kind, HEIGHT, WIDTH, 1) for kind in ("u1", "u2", "i2", "f4"))
    bands, many, four = numbers("u1", HEIGHT, WIDTH, 5), numbers("u2", HEIGHT, WIDTH, 13), numbers("u2", HEIGHT, WIDTH, 4)
    chw = lambda path, array: np.save(path, np.ascontiguousarray(array.transpose(2, 0, 1)))
    hw = lambda path, array: np.save(path, array[..., 0])
    planes = lambda path, array: tiff(path, array.transpose(2, 0, 1), photometric="minisblack", planarconfig="separate")
    chunky = lambda path, array: tiff(path, array, photometric="minisblack", planarconfig="contig")
    pages = lambda path, array: tiff(path, np.ascontiguousarray(array.transpose(2, 0, 1)), photometric="minisblack")
    single = lambda path, array: tiff(path, array[..., 0], photometric="minisblack")
    yield "u1-hwc.npy", 5, [], bands, np.save
    yield "u1-chw.npy", 5, [], bands, chw
    yield "u1-hw.npy", 1, [], u1, hw
    yield "u2-hw.npy", 1, [], u2, hw
    yield "u2-hw-range.npy", 1, [[500, 20_000]], u2, hw
    yield "u2-big-endian.npy", 1, [[500, 20_000]], u2, lambda path, array: np.save(path, array[..., 0].astype(">u2"))
    yield "u2-each.npy", 13, per_channel, many, np.save
    yield "i2-hw.npy", 1, [], i2, hw
    yield "i2-hw-range.npy", 1, [[-1000, 5000]], i2, hw
    yield "f4-odd.npy", 4, [], odd, np.save
    yield "f4-odd-range.npy", 4, [[-0.5, 2.0]], odd, chw
    yield "f8-hwc.npy", 2, [[0, 0.5]], numbers("f8", HEIGHT, WIDTH, 2), np.save
    yield "u1-chunky.tif", 5, [], bands, chunky
    yield "u1-planes.tif", 5, [], bands, planes
    yield "u2-chunky.tif", 13, per_channel, many, chunky
    yield "u2-planes.tif", 4, [[0, 30_000]], four, planes
    yield "u2-pages.tif", 13, per_channel, many, pages
    yield "u1-pages.tif", 5, [], bands, pages
    yield "u2-gray.tif", 1, [[500, 20_000]], u2, single
    yield "i2-gray.tif", 1, [[-1000, 5000]], i2, single
    yield "f4-gray.tif", 1, [], f4, single
    yield "f4-four.tif", 4, [[-0.5, 2.0]], numbers("f4", HEIGHT, WIDTH, 4), chunky
    yield "f8-four.tif", 4, [[-0.5, 2.0]], numbers("f8", HEIGHT, WIDTH, 4), planes


def turned():
    """(name, channels, ranges, bytes as a viewer shows them): the eight orientations of TIFF, as Pillow turns pictures."""
    turns = {2: Image.Transpose.FLIP_LEFT_RIGHT, 3: Image.Transpose.ROTATE_180, 4: Image.Transpose.FLIP_TOP_BOTTOM,
             5: Image.Transpose.TRANSPOSE, 6: Image.Transpose.ROTATE_270, 7: Image.Transpose.TRANSVERSE, 8: Image.Transpose.ROTATE_90}
    bands = numbers("u1", HEIGHT, WIDTH, 2)
    for number, turn in turns.items():
        name = f"turned-{number}.tif"
        tiff(place("channels", name), bands, photometric="minisblack", planarconfig="contig", extratags=[(274, 3, 1, number, True)])
        layers = [np.asarray(Image.fromarray(bands[..., channel]).transpose(turn)) for channel in range(2)]
        yield name, 2, [], np.stack(layers, -1)


def pictures():
    """(name, channels read, image, expected image or array): what Pillow converts."""
    rgba = Image.fromarray(numbers("u1", HEIGHT, WIDTH, 4), "RGBA")
    rgb, gray = Image.fromarray(numbers("u1", HEIGHT, WIDTH, 3)), Image.fromarray(numbers("u1", HEIGHT, WIDTH))
    yield "rgb.png", 1, rgb, rgb.convert("L")
    # Red, green, blue and infrared: the colors alone can be read.
    four = numbers("u1", HEIGHT, WIDTH, 4)
    tiff(place("channels", "colors-and-one.tif"), four, photometric="rgb", planarconfig="contig", extrasamples=["unspecified"])
    yield "colors-and-one.tif", 3, None, four[..., :3]
    yield "rgba.png", 4, rgba, rgba
    yield "rgba-3.png", 3, rgba, rgba.convert("RGB")
    yield "rgba-1.png", 1, rgba, rgba.convert("RGB").convert("L")
    yield "gray-1.png", 1, gray, gray
    yield "gray-3.png", 3, gray, gray.convert("RGB")
    both = Image.merge("LA", [gray, rgba.getchannel("A")])
    yield "gray-alpha.png", 2, both, both
    yield "gray-alpha-1.png", 1, both, gray
    yield "gray-alpha.tif", 1, both, gray
    yield "gray-alpha-3.tif", 3, both, gray.convert("RGB")


def view_cases():
    y, x = np.mgrid[0:47, 0:61].astype(np.float64)
    image = 127.5 + 100 * np.sin(x / 5 + y / 9) + RNG.uniform(-30, 30, (47, 61))
    image = Image.fromarray(np.clip(image, 0, 255).astype(np.uint8))
    settings = [
        ([5, 3, 40, 31], 24, ["brightness", "contrast"], {"brightness": 1.3, "contrast": 0.7}, 0.8, True),
        ([0, 0, 61, 47], 32, ["contrast", "brightness"], {"brightness": 0.65, "contrast": 1.39}, None, False),
        ([20, 1, 11, 40], 16, ["contrast"], {"contrast": 1.2}, 1.9, True),
    ]
    for crop, size, order, factors, blur, solarize in settings:
        left, top, width, height = crop
        view = F.resized_crop(image, top, left, height, width, [size, size], InterpolationMode.BICUBIC)
        for op in order:
            view = getattr(F, f"adjust_{op}")(view, factors[op])
        view = view.filter(ImageFilter.GaussianBlur(radius=blur)) if blur else view
        view = ImageOps.solarize(view) if solarize else view
        yield {"crop": crop, "size": size, "order": order, "factors": factors, "blur": blur, "solarize": solarize,
               "bytes": text(view)}
    image.save(place("channels", "gray.png"))


def dicom(name, array, photometric, slope, intercept, encapsulate=None):
    file = pydicom.FileDataset(name, {}, preamble=b"\0" * 128)
    file.file_meta = pydicom.dataset.FileMetaDataset()
    file.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    file.file_meta.MediaStorageSOPClassUID = file.SOPClassUID = pydicom.uid.SecondaryCaptureImageStorage
    file.file_meta.MediaStorageSOPInstanceUID = file.SOPInstanceUID = "1.2.3"
    file.Rows, file.Columns = array.shape[:2]
    file.SamplesPerPixel = array.shape[2] if array.ndim == 3 else 1
    file.PhotometricInterpretation = photometric
    file.BitsAllocated = 8 * array.dtype.itemsize
    file.BitsStored = 8 if array.dtype.itemsize == 1 else 12
    file.HighBit, file.PixelRepresentation = file.BitsStored - 1, int(array.dtype.kind == "i")
    file.PlanarConfiguration = 0
    if (slope, intercept) != (1, 0):
        file.RescaleSlope, file.RescaleIntercept = slope, intercept
    file.PixelData = array.tobytes()
    if encapsulate:
        file.compress(encapsulate)
    file.save_as(place("channels", name), enforce_file_format=True)


def dicoms():
    """(name, channels, ranges, bytes expected): values times slope plus intercept; MONOCHROME1 is bright where values are small."""
    ct = RNG.integers(0, 4096, (HEIGHT, WIDTH)).astype(np.uint16)
    dicom("ct.dcm", ct, "MONOCHROME2", 1, -1024)
    yield "ct.dcm", 1, [[-160, 240]], expected((ct.astype(np.float32) - 1024)[..., None], [[-160, 240]])
    signed = RNG.integers(-2048, 2048, (HEIGHT, WIDTH)).astype(np.int16)
    dicom("signed.dcm", signed, "MONOCHROME2", 2, 100)
    yield "signed.dcm", 1, [], expected((signed.astype(np.float32) * 2 + 100)[..., None], [[-3996, 4194]])
    xray = numbers("u1", HEIGHT, WIDTH)
    dicom("xray.dcm", xray, "MONOCHROME1", 1, 0)
    yield "xray.dcm", 3, [], np.repeat((255 - xray)[..., None], 3, -1)
    dicom("runs.dcm", ct, "MONOCHROME2", 1, -1024, pydicom.uid.RLELossless)
    yield "runs.dcm", 1, [[-160, 240]], expected((ct.astype(np.float32) - 1024)[..., None], [[-160, 240]])
    color = numbers("u1", HEIGHT, WIDTH, 3)
    dicom("color.dcm", color, "RGB", 1, 0)
    yield "color.dcm", 3, [], color


def text(image):
    return base64.b64encode(np.asarray(image).tobytes()).decode()


def inflate():
    weight = parameter("patch_embed.proj.weight", (4, 3, 4, 4)).float()
    tensors = {str(channels): adapt_input_conv(channels, weight) for channels in (1, 2, 4, 13)}
    save("channels", "inflate", {"rgb": weight, **tensors}, {"source": "timm.models.adapt_input_conv"})


def main():
    cases = []
    for name, channels, ranges, array, write in arrays():
        path = place("channels", name)
        write(path, array)
        cases.append({"file": name, "channels": channels, "range": ranges, "bytes": text(expected(array, ranges))})
        check_size(path)
    for name, channels, image, result in pictures():
        if image:
            image.save(place("channels", name))
        cases.append({"file": name, "channels": channels, "range": [], "bytes": text(result)})
    # 16 bits of a PNG: OpenCV and Pillow do not write RGB, so gray alone.
    deep = numbers("u2", HEIGHT, WIDTH)
    Image.fromarray(deep).save(place("channels", "deep.png"))
    cases.append({"file": "deep.png", "channels": 1, "range": [[500, 20_000]],
                  "bytes": text(expected(deep[..., None], [[500, 20_000]]))})
    cases.append({"file": "deep.png", "channels": 3, "range": [], "bytes": text(np.repeat((deep >> 8).astype(np.uint8)[..., None], 3, -1))})
    scans = [{"file": name, "channels": channels, "range": ranges, "bytes": text(values)}
             for name, channels, ranges, values in dicoms()]
    upright = [{"file": name, "channels": channels, "range": ranges, "bytes": text(values)}
               for name, channels, ranges, values in turned()]
    value = {"upright": upright, "dicom": scans, "width": WIDTH, "height": HEIGHT, "cases": cases, "views": list(view_cases())}
    place("channels", "cases.json").write_text(json.dumps(value, separators=(",", ":")) + "\n")
    inflate()


if __name__ == "__main__":
    main()

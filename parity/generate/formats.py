"""Writes the tiny `.pth` files that tests/checkpoint_formats.rs reads.

Values are closed formulas (element i of tensor t is (i + 1) * scale(t)), so that the tests need no second file.
Run: python parity/generate/formats.py     (torch 2.15.0, numpy 2)
"""

import argparse
import collections
import pathlib

import torch

FOLDER = pathlib.Path(__file__).resolve().parent.parent / "fixtures" / "formats"


def ramp(*shape, scale=0.5):
    count = 1
    for dim in shape:
        count *= dim
    return ((torch.arange(count, dtype=torch.float32) + 1) * scale).reshape(shape)


def backbone(prefix="", scale=0.5):
    names = {
        "cls_token": (1, 1, 4),
        "pos_embed": (1, 5, 4),
        "patch_embed.proj.weight": (4, 3, 2, 2),
        "patch_embed.proj.bias": (4,),
        "norm.weight": (4,),
        "norm.bias": (4,),
    }
    return collections.OrderedDict((prefix + name, ramp(*shape, scale=scale)) for name, shape in names.items())


def odd_tensors():
    """One tensor per way in which a storage can be read."""
    shared = ramp(12, scale=1.0)
    return {
        "half": ramp(2, 3).half(),
        "bfloat16": ramp(2, 3).bfloat16(),
        "double": ramp(2, 3).double(),
        "int64": torch.arange(4) + 1,
        "int32": torch.arange(4, dtype=torch.int32) - 2,
        "uint8": torch.arange(4, dtype=torch.uint8) + 252,
        "bool": torch.tensor([True, False, True]),
        "zero_dim": torch.tensor(7, dtype=torch.int64),
        "empty": torch.zeros(0, 3),
        "transposed": ramp(2, 3, scale=1.0).t(),
        "shared_head": shared[:4],
        "shared_tail": shared[4:].reshape(2, 4),
        "every_third": shared[1::3],
        "expanded": torch.tensor([3.0]).expand(4),
        "parameter": torch.nn.Parameter(ramp(3)),
    }


def full_checkpoint():
    student = torch.nn.Linear(3, 2)
    with torch.no_grad():
        student.weight.copy_(ramp(2, 3))
        student.bias.copy_(ramp(2))
    optimizer = torch.optim.AdamW(student.parameters(), lr=0.001)
    student(torch.ones(1, 3)).sum().backward()
    optimizer.step()
    head = collections.OrderedDict([("head.mlp.0.weight", ramp(2, 4)), ("head.last_layer.weight_g", torch.ones(3, 1))])
    return {
        "student": collections.OrderedDict(
            [("module." + name, value) for name, value in (backbone("backbone.", 0.25) | head).items()]
        ),
        "teacher": backbone("backbone.") | head,
        "optimizer": optimizer.state_dict(),
        "epoch": 20,
        "args": argparse.Namespace(
            arch="vit_small", patch_size=16, lr=0.0005, use_fp16=True, global_crops_scale=(0.4, 1.0), dist_url=None,
            output_dir=pathlib.PurePosixPath("out/run"),
        ),
        "dino_loss": {"center": ramp(1, 3, scale=-1.0)},
    }


class Trap:
    """Unpickled by Python, this object would write a file."""

    def __reduce__(self):
        return (exec, ("open('pickle_was_executed', 'w').close()",))


def main():
    FOLDER.mkdir(parents=True, exist_ok=True)
    legacy = {"_use_new_zipfile_serialization": False}
    torch.save(backbone(), FOLDER / "backbone_zip.pth")
    torch.save(backbone(), FOLDER / "backbone_legacy.pth", **legacy)
    torch.save(odd_tensors(), FOLDER / "odd_zip.pth")
    torch.save(odd_tensors(), FOLDER / "odd_legacy.pth", **legacy)
    torch.save(odd_tensors(), FOLDER / "odd_zip_protocol5.pth", pickle_protocol=5)
    torch.save(full_checkpoint(), FOLDER / "full_zip.pth")
    torch.save(full_checkpoint(), FOLDER / "full_legacy.pth", **legacy)
    torch.save({"weight": ramp(2), "trap": Trap()}, FOLDER / "trap_zip.pth")
    torch.save(torch.nn.Linear(2, 2), FOLDER / "whole_module_zip.pth")


if __name__ == "__main__":
    main()

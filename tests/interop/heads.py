"""Linear heads: ours in PyTorch, loaded as `eval_linear.py` loads its checkpoints, and PyTorch's here."""

import json
from pathlib import Path

import numpy
import torch

from program import Program, photo


def heads(program: Program, folder: Path, run: Path) -> None:
    """Trains a head, goes on with it in PyTorch, and evaluates what PyTorch has written."""
    for part, count in (("train", 6), ("val", 4)):
        for label in ("one", "two", "three"):
            (folder / part / label).mkdir(parents=True)
            for number in range(count):
                photo(folder / part / label / f"{number}.png", 60 + 40 * len(label) + number, 70)
    val = ("--val", folder / "val")
    program.run("eval", "linear", run, "--train", folder / "train", *val, "-o", folder / "ours", "--epochs", "4", "--batch", "6")
    ours = json.loads((folder / "ours" / "results.json").read_text())
    file = torch.load(folder / "ours" / "head.pth", weights_only=True)
    state = {name.removeprefix("module.linear."): tensor for name, tensor in file["state_dict"].items()}
    layer = torch.nn.Linear(ours["dim"], 3)
    layer.load_state_dict(state, strict=True)
    assert (file["epoch"], file["best_acc"]) == (ours["best"]["epoch"], ours["top1"]), file["best_acc"]
    optimizer = torch.optim.SGD(layer.parameters(), 1.0, momentum=0.9, weight_decay=0)
    optimizer.load_state_dict(file["optimizer"])
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 1, eta_min=0)
    scheduler.load_state_dict(file["scheduler"])
    rate = ours["best"]["lr"] * ours["batch"] / 256
    expected = rate * (1 + numpy.cos(numpy.pi * file["epoch"] / 4)) / 2
    assert abs(optimizer.param_groups[0]["lr"] - expected) < 1e-12 and scheduler.base_lrs == [rate]
    assert float(optimizer.state[layer.weight]["momentum_buffer"].abs().max()) > 0
    for name, written in (("plain.pth", state), ("again.pth", {"state_dict": file["state_dict"], "epoch": 3})):
        torch.save(written, folder / name)
        out = folder / name.replace(".pth", "")
        program.run("eval", "linear", run, "--train", folder / "train", *val, "-o", out, "--evaluate", folder / name)
        theirs = json.loads((out / "results.json").read_text())
        assert (theirs["top1"], theirs["top5"]) == (ours["top1"], ours["top5"]), (name, theirs["top1"], ours["top1"])
    print("ok: linear heads, both ways")

"""Small .pth and safetensors files for the importer, and a listing of what they hold."""

import argparse
import json

import torch
from safetensors.torch import save_file

import reference as ref
from filler import centred, parameter
from store import check_size, place, save_json

VIT = {"dim": 12, "depth": 2, "patch": 8, "grid": 4}
HEAD = {"in_dim": 12, "hidden": 16, "bottleneck": 8, "out_dim": 20, "nlayers": 3}
HEADS = 3


def network(role: str, use_bn: bool = False) -> dict:
    """State dict `backbone.*`, `head.*`; the filler name of a tensor is `<role>.<key>`."""
    shapes = {"backbone." + name: shape for name, shape in ref.vit_shapes(**VIT).items()}
    shapes |= {"head." + name: shape for name, shape in ref.head_shapes(HEAD | {"use_bn": use_bn}).items()}
    state = {}
    for name, shape in shapes.items():
        state[name] = parameter(f"{role}.{name}", shape)
        if name.endswith("running_var"):
            state[name.replace("running_var", "num_batches_tracked")] = torch.tensor(3)
    return state


def prefixed(prefix: str, state: dict) -> dict:
    return {prefix + name: tensor for name, tensor in state.items()}


def adamw(state: dict) -> dict:
    """state_dict of torch's AdamW over the student: two groups, moments from the filler, seven steps done."""
    trained = {n: torch.nn.Parameter(t) for n, t in state.items() if not n.endswith("weight_g")}
    optimizer = ref.optimizer("adamw", trained)
    for name, tensor in trained.items():
        optimizer.state[tensor] = {
            "step": torch.tensor(7.0),
            "exp_avg": centred(f"exp_avg.{name}", tuple(tensor.shape), 0.01),
            "exp_avg_sq": centred(f"exp_avg_sq.{name}", tuple(tensor.shape), 1e-4, 2e-4),
        }
    return optimizer.state_dict()


def full_checkpoint() -> dict:
    args = argparse.Namespace(
        arch="vit_tiny", patch_size=8, out_dim=20, norm_last_layer=True, momentum_teacher=0.996, use_bn_in_head=False,
        warmup_teacher_temp=0.04, teacher_temp=0.07, warmup_teacher_temp_epochs=30, use_fp16=False, weight_decay=0.04,
        weight_decay_end=0.4, clip_grad=3.0, batch_size_per_gpu=64, epochs=100, freeze_last_layer=1, lr=0.0005,
        warmup_epochs=10, min_lr=1e-06, optimizer="adamw", drop_path_rate=0.1, global_crops_scale=(0.4, 1.0),
        local_crops_number=8, local_crops_scale=(0.05, 0.4), data_path="/path/to/train", output_dir=".",
        saveckp_freq=20, seed=0, num_workers=10, dist_url="env://", local_rank=0)
    student = network("student")
    return {
        "student": prefixed("module.", student), "teacher": network("teacher"), "optimizer": adamw(student), "epoch": 3,
        "args": args, "dino_loss": {"center": centred("dino_loss.center", (1, 20), 0.5)},
    }


def odd_tensors() -> dict:
    """Half precisions, a transposed view, slices of one storage, a scalar and an empty tensor."""
    shared = centred("shared", (24,), 1.0)
    return {
        "half": centred("half", (3, 5), 1.0).half(),
        "bfloat16": centred("bfloat16", (3, 5), 1.0).bfloat16(),
        "double": centred("double", (4,), 1.0).double(),
        "transposed": centred("transposed", (4, 6), 1.0).T,
        "strided": centred("strided", (6, 8), 1.0)[1::2, ::3],
        "shared.whole": shared,
        "shared.tail": shared[16:],
        "shared.matrix": shared[4:16].view(3, 4),
        "expanded": centred("expanded", (1, 3), 1.0).expand(4, 3),
        "scalar": torch.tensor(42),
        "int32": torch.arange(-3, 4, dtype=torch.int32),
        "uint8": torch.arange(250, 256, dtype=torch.uint8),
        "bool": torch.tensor([True, False, True]),
        "empty": torch.empty(0, 3),
        "parameter": torch.nn.Parameter(centred("parameter", (2, 2), 1.0)),
    }


def listing(value, path: str = "") -> dict:
    """Every tensor below `value` by its path joined with `/`: dtype, shape, sum, sum of absolute values, ends."""
    if isinstance(value, torch.Tensor):
        flat = value.detach().double().flatten()
        ends = [float(flat[0]), float(flat[-1])] if len(flat) else []
        return {path: {"dtype": str(value.dtype).removeprefix("torch."), "shape": list(value.shape),
                       "sum": float(flat.sum()), "abs_sum": float(flat.abs().sum()), "ends": ends}}
    found = {}
    if isinstance(value, dict):
        for key, inner in value.items():
            found |= listing(inner, f"{path}/{key}" if path else str(key))
    return found


def same(a, b) -> bool:
    if isinstance(a, torch.Tensor):
        return torch.equal(a, b)
    if isinstance(a, dict):
        return list(a) == list(b) and all(same(a[key], b[key]) for key in a)
    return a == b


def write(name: str, value, legacy: str = "zip") -> None:
    """Writes unless the file already holds `value`: legacy pickles contain memory addresses, so their bytes vary."""
    path = place("pth", name + ".pth")
    if not path.exists() or not same(value, torch.load(path, weights_only=False)):
        torch.save(value, path, _use_new_zipfile_serialization=legacy == "zip")
    check_size(path)
    expected[name + ".pth"] = listing(value)


expected = {}


def main() -> None:
    teacher = network("teacher")
    backbone = {n.removeprefix("backbone."): t for n, t in teacher.items() if n.startswith("backbone.")}
    write("backbone", backbone)
    write("backbone_legacy", backbone, "legacy")
    write("full_checkpoint", full_checkpoint())
    write("full_checkpoint_legacy", full_checkpoint(), "legacy")
    write("teacher_bn_module", {"teacher": prefixed("module.", network("teacher", use_bn=True)), "epoch": 1})
    write("odd_tensors", odd_tensors())
    write("odd_tensors_legacy", odd_tensors(), "legacy")
    path = place("pth", "teacher.safetensors")
    save_file(teacher, path)
    check_size(path)
    expected["teacher.safetensors"] = listing(teacher)
    facts = {"vit": VIT | {"heads": HEADS, "image": 32}, "head": HEAD, "epoch": 3, "files": expected}
    save_json("pth", "expected", json.loads(json.dumps(facts)))


if __name__ == "__main__":
    main()

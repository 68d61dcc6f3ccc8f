"""Whole DINO trainings of ResNets on filler data: twenty losses in a row, first gradients, final student and teacher with their
running statistics. Student and teacher stay in training mode; the teacher's average leaves the statistics alone, which follow from its own
forward passes; each resolution is a forward pass of its own."""

import copy

import torch
import torchvision

import reference as ref
from filler import images, parameter
from resnet import BRANCH
from store import save
from twenty import CENTER_MOMENTUM, CLIP, EPOCH_STEPS, FREEZE_EPOCHS, STUDENT_TEMP, TINY, schedules, summary

NET = TINY | {"local": 48, "hidden": 64, "bottleneck": 32, "out_dim": 256, "locals": 2, "norm_last_layer": False}
CASES = {
    "resnet18_adamw": NET | {"network": "resnet18", "dim": 512, "optimizer": "adamw", "peak_lr": 1e-5},
    "resnet50_sgd": NET | {"network": "resnet50", "dim": 2048, "optimizer": "sgd", "peak_lr": 0.003},
}


class Network(torch.nn.Module):
    """Backbone and head, under the names of the official program."""

    def __init__(self, case: dict):
        super().__init__()
        self.backbone = getattr(torchvision.models, case["network"])()
        self.backbone.fc = torch.nn.Identity()
        self.head = torch.nn.ParameterDict()
        sizes = case | {"in_dim": case["dim"], "nlayers": 3, "use_bn": False}
        self.shapes = ref.head_shapes(sizes)
        for name, shape in self.shapes.items():
            self.head[name.replace(".", "/")] = torch.nn.Parameter(parameter(f"head.{name}", shape))
        state = self.backbone.state_dict()
        for key, tensor in state.items():
            if tensor.dim() > 0:
                scale = BRANCH if key.endswith("bn3.weight") else 1
                state[key] = parameter(f"backbone.{key}", tuple(tensor.shape)) * scale
        self.backbone.load_state_dict(state)

    def forward(self, views: list) -> torch.Tensor:
        features = torch.cat([self.backbone(view) for view in views])
        return ref.head({name: self.head[name.replace(".", "/")] for name in self.shapes}, features)

    def named(self) -> dict:
        """All tensors, buffers too, in the order of the official state."""
        tensors = {f"backbone.{name}": value for name, value in self.backbone.state_dict(keep_vars=True).items()}
        return tensors | {f"head.{name}": self.head[name.replace(".", "/")] for name in self.shapes}


def train(case: dict, dtype: torch.dtype) -> dict:
    plan, batch = schedules(case), case["batch"]
    student = Network(case).to(dtype)
    teacher = copy.deepcopy(student)
    trained = {name: value for name, value in student.named().items() if isinstance(value, torch.nn.Parameter)}
    optimizer = ref.optimizer(case["optimizer"], trained)
    center = torch.zeros(1, case["out_dim"], dtype=dtype)
    out = {"loss": [], "entropy": [], "center": []}
    for step in range(case["steps"]):
        for index, group in enumerate(optimizer.param_groups):
            group["lr"] = float(plan["lr"][step])
            group["weight_decay"] = float(plan["weight_decay"][step]) if index == 0 else 0.0
        side = case["global"]
        big = images(f"global.{step}", (2 * batch, side, side, 3)).to(dtype)
        side = case["local"]
        small = images(f"local.{step}", (case["locals"] * batch, side, side, 3)).to(dtype)
        optimizer.zero_grad()
        with torch.no_grad():
            target = teacher([big])
        temps = (float(plan["teacher_temp"][step]), STUDENT_TEMP)
        loss, entropy = ref.dino_loss(student([big, small]), target, center, temps)
        loss.backward()
        center = CENTER_MOMENTUM * center + (1.0 - CENTER_MOMENTUM) * target.mean(0, keepdim=True)
        if step == 0:
            grads = {name: value.grad if name in trained else torch.zeros_like(value) for name, value in student.named().items()}
            out["grad"] = summary(grads)
        ref.clip_each(list(trained.values()), CLIP)
        if step // EPOCH_STEPS < FREEZE_EPOCHS:
            for name, tensor in trained.items():
                if "last_layer" in name:
                    tensor.grad = None
        optimizer.step()
        momentum = float(plan["momentum"][step])
        with torch.no_grad():
            for name, tensor in teacher.named().items():
                if name in trained:
                    tensor.mul_(momentum).add_(trained[name], alpha=1.0 - momentum)
        out["loss"].append(loss.detach())
        out["entropy"].append(entropy)
        if (step + 1) % EPOCH_STEPS == 0:
            out["center"].append(center[0])
    out["student"], out["teacher"], out["names"] = summary(student.named()), summary(teacher.named()), list(student.named())
    return out | {key: torch.stack(out[key]) for key in ("loss", "entropy", "center")}


def main() -> None:
    for name, case in CASES.items():
        exact, single = train(case, torch.float64), train(case, torch.float32)
        spread = ((single["loss"].double() - exact["loss"]) / exact["loss"]).abs()
        weights = {
            table: ((single[table]["samples"].double() - exact[table]["samples"]).abs().max() / exact[table]["samples"].abs().max()).item()
            for table in ("grad", "student", "teacher")
        }
        print(name, exact["loss"].tolist(), "f32 spread", spread.max().item(), weights, "entropy", exact["entropy"].tolist())
        tensors = {key: exact[key] for key in ("loss", "entropy", "center")} | {"loss_f32": single["loss"]}
        for table in ("grad", "student", "teacher"):
            for key in ("norm", "samples"):
                tensors[f"{table}.{key}"] = exact[table][key]
        tensors |= {"schedule." + key: value for key, value in schedules(case).items()}
        facts = {"names": exact["names"], "student_temp": STUDENT_TEMP, "center_momentum": CENTER_MOMENTUM, "clip": CLIP,
                 "epoch_steps": EPOCH_STEPS, "freeze_last_layer_epochs": FREEZE_EPOCHS}
        save("twenty", name, tensors, case | facts)


if __name__ == "__main__":
    main()

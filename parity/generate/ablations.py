"""DINO taken apart: other teachers, other balances, another loss, a predictor; ten steps of each on a small ViT, in f64."""

import torch
import torch.nn.functional as F

import methods
import reference as ref
from filler import parameter
from methods import SIZES, Mlp, byol_loss, features, is_statistic, train

HEAD = {"hidden": 64, "bottleneck": 16, "out_dim": 32, "layers": 3}
PLAIN = HEAD | {"momentum": [0.97, 1.0], "center_momentum": 0.9, "teacher_temp": 0.05, "student_temp": 0.1}
# One thing is different in each; "epoch" is the length of an epoch in steps.
CASES = {
    "mse": {"objective": "mse"},
    # A low rate: through a normalisation over six rows rounding errors grow tenfold in a step.
    "predictor": {"predictor": True, "lr": 1e-4},
    "softmax_batch": {"balance": "softmax_batch"},
    "unbalanced": {"balance": "none"},
    "student": {"teacher": "student"},
    "previous_step": {"teacher": "previous_step"},
    "previous_epoch": {"teacher": "previous_epoch", "epoch": 3},
}


class Dino(methods.Method):
    def __init__(self, case: dict):
        self.name, self.case, self.queues, self.keys, self.fixed = "dino", case, [], [], ["head.last_layer.weight_g"]
        grid, width = case["global"] // case["patch"], case["bottleneck"]
        shapes = {"backbone." + n: s for n, s in ref.vit_shapes(case["dim"], case["depth"], case["patch"], grid).items()}
        sizes = case | {"in_dim": case["dim"], "nlayers": case["layers"], "use_bn": False}
        shapes |= {"head." + n: s for n, s in ref.head_shapes(sizes).items()}
        self.predictor = Mlp("predictor.", [width, case["hidden"], width], "unbiased") if case.get("predictor") else None
        shapes |= self.predictor.shapes if self.predictor else {}
        self.student = {n: parameter(n, s).double() for n, s in shapes.items()}
        self.student["head.last_layer.weight_g"] = torch.ones(case["out_dim"], 1, dtype=torch.float64)
        self.teacher = {n: t.clone() for n, t in self.student.items()}
        self.latest = {n: t.clone() for n, t in self.student.items()}
        self.center, self.logits = torch.zeros(case["out_dim"], dtype=torch.float64), None

    def out(self, p: dict, views: list, predict) -> torch.Tensor:
        x = features(p, views, self.case["heads"])
        layers = [f"head.mlp.{2 * layer}" for layer in range(self.case["layers"])]
        for layer in layers:
            x = ref.linear(x, p, layer)
            x = x if layer == layers[-1] else F.gelu(x)
        v = p["head.last_layer.weight_v"]
        return F.normalize(predict(x), dim=1) @ (v / v.norm(dim=1, keepdim=True)).T

    def loss(self, big: torch.Tensor, small: torch.Tensor, step: int) -> torch.Tensor:
        case, batch = self.case, self.case["batch"]
        views = (len(big) + len(small)) // batch
        with torch.no_grad():
            self.logits = self.out(self.teacher, [big], lambda x: x)
        predict = (lambda x: self.predictor(self.student, x, views)) if self.predictor else (lambda x: x)
        student = self.out(self.student, [big, small], predict)
        if case.get("objective") == "mse":
            return byol_loss(F.normalize(student, dim=1), F.normalize(self.logits - self.center, dim=1), batch)
        targets = (self.logits - self.center) / case["teacher_temp"]
        if case.get("balance") == "softmax_batch":
            # A softmax over the batch, every row by its sum; over the rows of both global crops.
            probs = (self.logits / case["teacher_temp"]).softmax(0)
            targets = (probs / probs.sum(1, keepdim=True)).log()
        temps = (1.0, case["student_temp"])
        return ref.dino_loss(student, targets, torch.zeros_like(self.center), temps)[0]

    def before_step(self) -> None:
        self.latest = {n: t.detach().clone() for n, t in self.student.items()}

    def follow(self, momentum: float, step: int) -> None:
        kind = self.case.get("teacher", "momentum")
        for n, t in self.teacher.items():
            if is_statistic(n):
                continue
            if kind == "momentum":
                t.mul_(momentum).add_(self.student[n], alpha=1.0 - momentum)
            elif kind == "previous_step":
                t.copy_(self.latest[n])
            elif kind == "student" or (step + 1) % self.case["epoch"] == 0:
                t.copy_(self.student[n])
        if self.case.get("balance") is None:
            keep = self.case["center_momentum"]
            self.center = keep * self.center + (1 - keep) * self.logits.mean(0)


if __name__ == "__main__":
    for name, case in CASES.items():
        train(f"dino_{name}", Dino(SIZES | PLAIN | case))

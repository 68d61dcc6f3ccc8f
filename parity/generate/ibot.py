"""iBOT and DINOv2: the losses of masked patches and KoLeo with gradients, and ten steps of each on a small ViT, in f64.

Both losses are checked against lightly's in f32.
"""

import numpy as np
import torch
import torch.nn.functional as F
from lightly.loss import IBOTPatchLoss, KoLeoLoss

import methods
import reference as ref
from filler import centred, parameter
from methods import SIZES, STEPS, is_statistic, sinkhorn, train, unit
from store import save

HEAD = {"hidden": 64, "bottleneck": 16, "out_dim": 32, "layers": 3}
PLAIN = HEAD | {"momentum": [0.97, 1.0], "center_momentum": 0.9, "teacher_temp": 0.05, "student_temp": 0.1, "patch_weight": 1.0}
CASES = {
    "ibot": {"balance": "center", "patch_out_dim": 0, "koleo": 0.0},
    "dinov2": {"balance": "sinkhorn", "patch_out_dim": 24, "koleo": 0.1},
}


def patch_loss(logits: torch.Tensor, targets: torch.Tensor, mask: torch.Tensor, temp: float) -> torch.Tensor:
    """`mask` [crops, N]; a row of `logits` and `targets` for each masked patch."""
    losses = -(targets * F.log_softmax(logits / temp, dim=1)).sum(1)
    counts = mask.sum(1).tolist()
    return sum(part.mean() for part in losses.split(counts) if len(part)) / len(mask)


def koleo(x: torch.Tensor) -> torch.Tensor:
    """Rows of unit length; the nearest is not part of the gradient, the distance to it is."""
    near = (x @ x.T).detach().fill_diagonal_(-1).argmax(1)
    return -(((x - x[near] + 1e-8).norm(dim=1)) + 1e-8).log().mean()


def losses() -> None:
    batch, width, prototypes = 6, 16, 20
    rng = np.random.default_rng(1)
    mask = torch.from_numpy(rng.random((2 * batch, 9)) < 0.4)
    mask[2] = False
    rows = int(mask.sum())
    logits = centred("logits", (rows, prototypes), 1.0).double().requires_grad_()
    teacher = centred("teacher", (rows, prototypes), 0.2).double()
    center = centred("center", (prototypes,), 0.05).double()
    targets = ((teacher - center) / 0.05).softmax(1)
    value = patch_loss(logits, targets, mask, 0.1)
    value.backward()
    theirs = IBOTPatchLoss(prototypes, teacher_temp=0.05, student_temp=0.1)
    theirs.center.center.copy_(center.view_as(theirs.center.center))
    lightly = theirs(teacher.float(), logits.detach().float(), mask.view(-1, 3, 3))
    torch.testing.assert_close(lightly.double(), value.detach(), rtol=2e-5, atol=1e-6)
    tensors = {"masked.input": logits.detach().float(), "masked.grad": logits.grad, "masked.loss": value.detach().reshape(1)}
    tensors |= {"masked.targets": targets, "masked.mask": mask.double()}

    x = torch.cat([unit(f"features.{view}", (batch, width)) for view in range(2)]).requires_grad_()
    value = sum(koleo(part) for part in x.split(batch))
    value.backward()
    lightly = sum(KoLeoLoss()(part.detach().float()) for part in x.split(batch))
    torch.testing.assert_close(lightly.double(), value.detach(), rtol=2e-5, atol=1e-6)
    tensors |= {"koleo.input": x.detach().float(), "koleo.grad": x.grad, "koleo.loss": value.detach().reshape(1)}
    save("method", "masked", tensors, {"batch": batch, "width": width, "prototypes": prototypes, "patches": 9})


class Ibot(methods.Method):
    def __init__(self, name: str, case: dict):
        self.name, self.case, self.queues, self.keys = name, case, [], []
        grid = case["global"] // case["patch"]
        shapes = {}
        for n, s in ref.vit_shapes(case["dim"], case["depth"], case["patch"], grid).items():
            shapes["backbone." + n] = s
            if n == "pos_embed":
                shapes["backbone.mask_token"] = (1, case["dim"])
        sizes = case | {"in_dim": case["dim"], "nlayers": case["layers"], "use_bn": False}
        shapes |= {"head." + n: s for n, s in ref.head_shapes(sizes).items()}
        self.patch_head = "ibot_head." if case["patch_out_dim"] else "head."
        if case["patch_out_dim"]:
            sizes |= {"out_dim": case["patch_out_dim"]}
            shapes |= {"ibot_head." + n: s for n, s in ref.head_shapes(sizes).items()}
        self.student = {n: parameter(n, s).double() for n, s in shapes.items()}
        self.teacher = {n: t.clone() for n, t in self.student.items()}
        self.fixed = [n for n in self.student if n.endswith("weight_g")]
        widths = [case["out_dim"], case["patch_out_dim"] or case["out_dim"]]
        self.centers = [torch.zeros(width, dtype=torch.float64) for width in widths]
        rng = np.random.default_rng(7)
        # About half of the crops are masked, one of them entirely in one step.
        share = rng.random((STEPS, 2 * case["batch"], 1)) * (rng.random((STEPS, 2 * case["batch"], 1)) < 0.5)
        self.masks = torch.from_numpy(rng.random((STEPS, 2 * case["batch"], grid * grid)) < share)
        self.masks[3, 1] = True

    def see(self, p: dict, views: list, mask: torch.Tensor, hide: bool) -> tuple:
        """Class features of all views, and normed tokens of the masked patches of the first."""
        part = {n.removeprefix("backbone."): t for n, t in p.items() if n.startswith("backbone.")}
        seen = [ref.vit(part, view, self.case["heads"], mask if hide and not i else None) for i, view in enumerate(views)]
        return torch.cat([view["cls"] for view in seen]), seen[0]["layers"][-1][:, 1:][mask]

    def project(self, p: dict, head: str, x: torch.Tensor) -> torch.Tensor:
        return ref.head({n.removeprefix(head): t for n, t in p.items() if n.startswith(head)}, x)

    def targets(self, logits: torch.Tensor, which: int) -> torch.Tensor:
        if self.case["balance"] == "sinkhorn":
            return sinkhorn(logits, self.case["teacher_temp"])
        return ((logits - self.centers[which]) / self.case["teacher_temp"]).softmax(1)

    def loss(self, big: torch.Tensor, small: torch.Tensor, step: int) -> torch.Tensor:
        case, mask, batch = self.case, self.masks[step], self.case["batch"]
        with torch.no_grad():
            cls, patches = self.see(self.teacher, [big], mask, False)
            self.logits = [self.project(self.teacher, "head.", cls), self.project(self.teacher, self.patch_head, patches)]
            class_targets, patch_targets = [self.targets(logits, i) for i, logits in enumerate(self.logits)]
        cls, patches = self.see(self.student, [big, small], mask, True)
        log_probs = F.log_softmax(self.project(self.student, "head.", cls) / case["student_temp"], dim=1).split(batch)
        pairs = [(t, v) for i, t in enumerate(class_targets.split(batch)) for j, v in enumerate(log_probs) if i != j]
        total = sum(-(t * v).sum(1).mean() for t, v in pairs) / len(pairs)
        logits = self.project(self.student, self.patch_head, patches)
        total = total + case["patch_weight"] * patch_loss(logits, patch_targets, mask, case["student_temp"])
        if case["koleo"]:
            total = total + case["koleo"] * sum(koleo(F.normalize(part, dim=1, eps=1e-8)) for part in cls.split(batch)[:2])
        return total

    def before_step(self) -> None:
        pass

    def follow(self, momentum: float, step: int) -> None:
        for n, t in self.teacher.items():
            if not is_statistic(n):
                t.mul_(momentum).add_(self.student[n], alpha=1.0 - momentum)
        # Beside Sinkhorn-Knopp the centre is only reported: the mean of the last step.
        keep = self.case["center_momentum"] if self.case["balance"] == "center" else 0.0
        self.centers = [keep * c + (1 - keep) * logits.mean(0) for c, logits in zip(self.centers, self.logits)]
        # What `train` stores of a method's state, and the masks that the test has to use.
        self.queues = [*self.centers, self.masks.flatten(1).double()]


if __name__ == "__main__":
    losses()
    for name, case in CASES.items():
        train(name, Ibot(name, SIZES | PLAIN | case))

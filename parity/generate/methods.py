"""The methods that DINO is compared with: their losses with gradients, and ten steps of each on a small ViT, in f64.

Losses are checked against lightly in f32 where it has them.
"""

import numpy as np
import torch
import torch.nn.functional as F
from lightly.loss import BarlowTwinsLoss, NegativeCosineSimilarity, NTXentLoss, SwaVLoss

import reference as ref
from filler import centred, images, parameter
from store import save
from twenty import summary

STEPS, CLIP, SAMPLES = 10, 3.0, 16
SIZES = {"dim": 48, "depth": 2, "heads": 3, "patch": 8, "global": 32, "local": 16, "locals": 2, "batch": 6, "steps": STEPS}
MLP = {"hidden": 64, "out_dim": 32}
CASES = {
    "byol": MLP | {"momentum": [0.97, 1.0]},
    "simclr": MLP | {"locals": 0, "layers": 2, "temperature": 0.5},
    "mocov2": MLP | {"locals": 0, "layers": 3, "temperature": 0.2, "queue": 20, "momentum": [0.99, 0.99]},
    "mocov3": MLP | {"locals": 0, "layers": 3, "temperature": 0.2, "momentum": [0.97, 1.0]},
    "swav": MLP | {"temperature": 0.1, "epsilon": 0.05, "prototypes": 24, "queue": 12, "queue_from_step": 2},
    "barlow_twins": {"locals": 0, "hidden": 48, "out_dim": 48, "layers": 3, "off_diagonal": 0.0051},
}


def unit(name: str, shape: tuple) -> torch.Tensor:
    return F.normalize(centred(name, shape, 1.0).double(), dim=1)


# Losses, each as a loop that is read off its formula.


def byol_loss(predictions: torch.Tensor, targets: torch.Tensor, batch: int) -> torch.Tensor:
    """Rows have unit length: the squared distance is 2 - 2 cos."""
    students, teachers = predictions.split(batch), targets.split(batch)
    pairs = [(2 - 2 * (p * t).sum(1)).mean() for i, t in enumerate(teachers) for v, p in enumerate(students) if v != i]
    return 2 * sum(pairs) / len(pairs)


def nt_xent(z: torch.Tensor, temp: float) -> torch.Tensor:
    rows = len(z)
    logits = (z @ z.T / temp).masked_fill(torch.eye(rows, dtype=torch.bool), -torch.inf)
    right = (torch.arange(rows) + rows // 2) % rows
    return 2 * F.cross_entropy(logits, right)


def in_batch(queries: torch.Tensor, keys: torch.Tensor, temp: float) -> torch.Tensor:
    batch = len(queries) // 2
    asked, found = queries.split(batch), keys.split(batch)[::-1]
    return sum(2 * temp * F.cross_entropy(q @ k.T / temp, torch.arange(batch)) for q, k in zip(asked, found))


def with_queue(queries: torch.Tensor, keys: torch.Tensor, queue: torch.Tensor, temp: float) -> torch.Tensor:
    logits = torch.cat([(queries * keys).sum(1, keepdim=True), queries @ queue.T], dim=1) / temp
    return F.cross_entropy(logits, torch.zeros(len(queries), dtype=torch.long))


def barlow_twins_loss(z: torch.Tensor, off_diagonal: float) -> torch.Tensor:
    first, second = z.chunk(2)
    correlation = first.T @ second / len(first)
    errors = (correlation - torch.eye(len(correlation), dtype=z.dtype)).square()
    return errors.diagonal().sum() + off_diagonal * (errors.sum() - errors.diagonal().sum())


def sinkhorn(scores: torch.Tensor, epsilon: float) -> torch.Tensor:
    q = (scores / epsilon).exp().T
    q = q / q.sum()
    for _ in range(3):
        q = q / q.sum(1, keepdim=True) / len(q)
        q = q / q.sum(0, keepdim=True) / q.shape[1]
    return (q * q.shape[1]).T


def losses() -> None:
    batch, width = 5, 16
    rows = {views: unit(f"rows.{views}", (views * batch, width)) for views in (2, 4)}
    keys, queue = unit("keys", (2 * batch, width)), unit("queue", (12, width))
    spread = centred("spread", (2 * batch, width), 1.0).double().view(2, batch, width)
    z = ((spread - spread.mean(1, keepdim=True)) / spread.var(1, unbiased=False, keepdim=True).sqrt()).flatten(0, 1)
    cases = {
        "byol_2": (rows[2], lambda x: byol_loss(x, keys, batch)),
        "byol_4": (rows[4], lambda x: byol_loss(x, keys, batch)),
        "nt_xent": (rows[2], lambda x: nt_xent(x, 0.1)),
        "in_batch": (rows[2], lambda x: in_batch(x, keys, 0.2)),
        "with_queue": (rows[2][:batch], lambda x: with_queue(x, keys[:batch], queue, 0.2)),
        "barlow_twins": (z, lambda x: barlow_twins_loss(x, 0.0051)),
    }
    tensors = {}
    for name, (x, loss) in cases.items():
        x = x.clone().requires_grad_()
        value = loss(x)
        value.backward()
        tensors |= {f"{name}.input": x.detach().float(), f"{name}.loss": value.detach().reshape(1), f"{name}.grad": x.grad}
    pair = [part.float() for part in rows[2].split(batch)]
    theirs = {
        "byol_2": 4 + 2 * sum(NegativeCosineSimilarity()(q, k.float()) for q, k in zip(pair, keys.split(batch)[::-1])),
        "nt_xent": 2 * NTXentLoss(temperature=0.1)(*pair),
        "barlow_twins": BarlowTwinsLoss(lambda_param=0.0051)(*[part.float() for part in z.split(batch)]),
    }
    for name, value in theirs.items():
        torch.testing.assert_close(value.double(), tensors[f"{name}.loss"][0], rtol=2e-5, atol=1e-6)
    tensors |= {"keys": keys.float(), "queue": queue.float()}
    save("method", "losses", tensors, {"batch": batch, "width": width})


# Networks.


class Mlp:
    """Linear layers with batch normalisation and ReLU between them; `last` is biased, unbiased, normed or plain."""

    def __init__(self, prefix: str, widths: list, last: str):
        self.prefix, self.layers, self.last = prefix, len(widths) - 1, last
        self.shapes = {}
        for layer, (inputs, outputs) in enumerate(zip(widths, widths[1:])):
            end = layer == self.layers - 1
            self.shapes[f"{prefix}{3 * layer}.weight"] = (outputs, inputs)
            if end and last == "biased":
                self.shapes[f"{prefix}{3 * layer}.bias"] = (outputs,)
            if not end or last in ("normed", "plain"):
                for part in ("weight", "bias", "running_mean", "running_var"):
                    self.shapes[f"{prefix}{3 * layer + 1}.{part}"] = (outputs,)
        # Scale and shift of a plain normalisation are not trained.
        self.fixed = [f"{prefix}{3 * self.layers - 2}.{part}" for part in ("weight", "bias") if last == "plain"]

    def __call__(self, p: dict, x: torch.Tensor, parts: int) -> torch.Tensor:
        return torch.cat([self.part(p, part) for part in x.chunk(parts)])

    def part(self, p: dict, x: torch.Tensor) -> torch.Tensor:
        for layer in range(self.layers):
            name, norm = f"{self.prefix}{3 * layer}", f"{self.prefix}{3 * layer + 1}"
            x = F.linear(x, p[f"{name}.weight"], p.get(f"{name}.bias"))
            end = layer == self.layers - 1
            if not end or self.last in ("normed", "plain"):
                statistics = [p[f"{norm}.{part}"] for part in ("running_mean", "running_var")]
                x = F.batch_norm(x, *statistics, p[f"{norm}.weight"], p[f"{norm}.bias"], training=True)
            x = x if end else F.relu(x)
        return x


def features(p: dict, views: list, heads: int) -> torch.Tensor:
    backbone = {name.removeprefix("backbone."): t for name, t in p.items() if name.startswith("backbone.")}
    return torch.cat([ref.vit(backbone, view, heads)["cls"] for view in views])


class Method:
    """Networks and state of one case; `loss` is that of a step, `keys` what a queue takes of it."""

    def __init__(self, name: str, case: dict):
        self.name, self.case = name, case
        width, hidden, out = case["dim"], case["hidden"], case["out_dim"]
        last = {"byol": "unbiased", "simclr": "normed", "mocov3": "plain", "barlow_twins": "plain"}.get(name, "biased")
        layers = case.get("layers", 2)
        self.projector = Mlp("projector.", [width] + [hidden] * (layers - 1) + [out], last)
        self.predictor = Mlp("predictor.", [out, hidden, out], last) if name in ("byol", "mocov3") else None
        grid = case["global"] // case["patch"]
        shapes = {"backbone." + n: s for n, s in ref.vit_shapes(width, case["depth"], case["patch"], grid).items()}
        shapes |= self.projector.shapes | (self.predictor.shapes if self.predictor else {})
        if name == "swav":
            shapes["prototypes.weight"] = (case["prototypes"], out)
        self.student = {n: parameter(n, s).double() for n, s in shapes.items()}
        self.teacher = {n: t.clone() for n, t in self.student.items()}
        self.fixed = self.projector.fixed + (self.predictor.fixed if self.predictor else [])
        self.queues = []
        if name == "mocov2":
            self.queues = [unit("queue", (case["queue"], out))]
        if name == "swav":
            self.queues = [torch.zeros(case["queue"], out, dtype=torch.float64) for _ in range(2)]
        self.next, self.keys = 0, []

    def targets(self, views: list, parts: int) -> torch.Tensor:
        with torch.no_grad():
            return F.normalize(self.projector(self.teacher, features(self.teacher, views, self.case["heads"]), parts), dim=1)

    def outputs(self, views: list, parts: int) -> torch.Tensor:
        x = self.projector(self.student, features(self.student, views, self.case["heads"]), parts)
        return F.normalize(self.predictor(self.student, x, parts) if self.predictor else x, dim=1)

    def loss(self, big: torch.Tensor, small: torch.Tensor, step: int) -> torch.Tensor:
        case, batch = self.case, self.case["batch"]
        if self.name == "byol":
            views = len(big) // batch + len(small) // batch
            return byol_loss(self.outputs([big, small], views), self.targets([big], 2), batch)
        if self.name == "simclr":
            return nt_xent(self.outputs([big], 1), case["temperature"])
        if self.name == "mocov2":
            self.keys = [self.targets([big[batch:]], 1)]
            return with_queue(self.outputs([big[:batch]], 1), self.keys[0], self.queues[0], case["temperature"])
        if self.name == "mocov3":
            return in_batch(self.outputs([big], 2), self.targets([big], 2), case["temperature"])
        if self.name == "barlow_twins":
            x = features(self.student, [big], case["heads"])
            return barlow_twins_loss(self.projector(self.student, x, 2), case["off_diagonal"])
        return self.swav(big, small, step)

    def swav(self, big: torch.Tensor, small: torch.Tensor, step: int) -> torch.Tensor:
        case, batch = self.case, self.case["batch"]
        embeddings = self.outputs([big, small], 1)
        prototypes = self.student["prototypes.weight"]
        scores = embeddings @ prototypes.T
        views = scores.split(batch)
        total, codes = 0.0, []
        for crop in range(2):
            rows = views[crop].detach()
            if self.queues[crop].abs().sum(1).min() > 0:
                rows = torch.cat([self.queues[crop] @ prototypes.detach().T, rows])
            codes.append(sinkhorn(rows, case["epsilon"])[-batch:])
            others = [view for number, view in enumerate(views) if number != crop]
            parts = [-(codes[crop] * F.log_softmax(v / case["temperature"], dim=1)).sum(1).mean() for v in others]
            total = total + sum(parts) / len(parts) / 2
        if step == 0:
            theirs = SwaVLoss(temperature=case["temperature"], sinkhorn_epsilon=case["epsilon"])
            views = [view.detach().float() for view in views]
            torch.testing.assert_close(theirs(views[:2], views[2:])[0].double(), total.detach(), rtol=1e-5, atol=1e-6)
        self.keys = [part.detach() for part in embeddings.split(batch)[:2]] if step >= case["queue_from_step"] else []
        return total

    def before_step(self) -> None:
        if self.name == "swav":
            with torch.no_grad():
                self.student["prototypes.weight"].copy_(F.normalize(self.student["prototypes.weight"], dim=1))

    def enqueue(self) -> None:
        for queue, keys in zip(self.queues, self.keys):
            queue[(self.next + torch.arange(len(keys))) % len(queue)] = keys
        if self.queues and self.keys:
            self.next = (self.next + self.case["batch"]) % len(self.queues[0])

    def state(self) -> dict:
        return {f"queue.{index}": queue for index, queue in enumerate(self.queues)}

    def follow(self, momentum: float, step: int) -> None:
        """The teacher goes on as the student is after the step."""
        for n, t in self.teacher.items():
            if not is_statistic(n):
                t.mul_(momentum).add_(self.student[n], alpha=1.0 - momentum)


def is_statistic(name: str) -> bool:
    return name.endswith(("running_mean", "running_var"))


def train(name: str, method: Method) -> None:
    case = method.case
    trained = {n: t.requires_grad_() for n, t in method.student.items() if not is_statistic(n) and n not in method.fixed}
    optimizer = ref.optimizer("adamw", trained)
    lr, decay = ref.cosine_schedule(case.get("lr", 1e-3), 1e-6, STEPS, 2), np.full(STEPS, 0.05)
    momentum = ref.cosine_schedule(*case.get("momentum", [0.0, 0.0]), STEPS)
    tensors, losses_ = {}, []
    for step in range(STEPS):
        for index, group in enumerate(optimizer.param_groups):
            group["lr"], group["weight_decay"] = float(lr[step]), float(decay[step]) if index == 0 else 0.0
        method.before_step()
        crops = [("global", 2), ("local", case["locals"])]
        shapes = [(kind, (views * case["batch"], case[kind], case[kind], 3)) for kind, views in crops]
        big, small = [images(f"{kind}.{step}", shape).double() for kind, shape in shapes]
        optimizer.zero_grad()
        loss = method.loss(big, small, step) if case["locals"] else method.loss(big, big[:0], step)
        loss.backward()
        losses_.append(loss.detach())
        if step == case.get("learns_from", 0):
            zero = torch.zeros(1, dtype=torch.float64)
            grads = {n: trained[n].grad if n in trained else zero.expand(t.shape) for n, t in method.student.items()}
            tensors |= {f"grad.{key}": value for key, value in summary(grads, SAMPLES).items()}
        ref.clip_each(list(trained.values()), CLIP)
        optimizer.step()
        method.enqueue()
        with torch.no_grad():
            method.follow(float(momentum[step]), step)
    tensors["loss"] = torch.stack(losses_)
    tensors |= {f"student.{key}": value for key, value in summary(method.student, SAMPLES).items()}
    tensors |= method.state()
    save("method", name, tensors | {"schedule.lr": lr, "schedule.weight_decay": decay, "schedule.momentum": momentum}, case)


def main() -> None:
    losses()
    for name, case in CASES.items():
        train(name, Method(name, SIZES | case))


if __name__ == "__main__":
    main()

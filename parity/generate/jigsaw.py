"""InfoMin: ten steps on a small ViT in f64, written from the description: MoCo v2 that also asks with a jigsaw of the first view.

A crop is cut into 3 x 3 cells; a patch of 7/8 of a cell, in whole patches of the network, lies anywhere in it. Each patch is projected by
itself, the nine rows in random order become one by a linear layer."""

import torch
import torch.nn.functional as F

import methods
from chacha import Draws
from filler import parameter
from methods import MLP, SIZES, Mlp, features, train, unit, with_queue
from store import save

CASE = SIZES | MLP | {"locals": 0, "layers": 2, "temperature": 0.15, "queue": 20, "momentum": [0.99, 0.99], "jigsaw": 0.4}
PURPOSE, SIDE = 1 << 32, 3


def cut(crop: torch.Tensor, patch: int, draws: Draws) -> torch.Tensor:
    """[3, S, S] to [9, 3, s, s], shuffled."""
    cell = crop.shape[1] // SIDE
    side = cell * 7 // 8 // patch * patch
    order = draws.some_of(SIDE * SIDE, SIDE * SIDE)
    patches = []
    for number in range(SIDE * SIDE):
        top, left = number // SIDE * cell + draws.below(cell - side + 1), number % SIDE * cell + draws.below(cell - side + 1)
        patches.append(crop[:, top:top + side, left:left + side])
    return torch.stack(patches)[order]


class InfoMin(methods.Method):
    def __init__(self, case: dict):
        super().__init__("mocov2", case)
        width, out = case["dim"], case["out_dim"]
        self.pieces = Mlp("projector.jigsaw.", [width, case["hidden"], out], "biased")
        shapes = self.pieces.shapes | {"projector.jigsaw.join.weight": (out, out, SIDE, SIDE), "projector.jigsaw.join.bias": (out,)}
        more = {n: parameter(n, s).double() for n, s in shapes.items()}
        self.student |= more
        self.teacher |= {n: t.clone() for n, t in more.items()}

    def loss(self, big: torch.Tensor, small: torch.Tensor, step: int) -> torch.Tensor:
        case, batch, p = self.case, self.case["batch"], self.student
        asking, self.keys = big[:batch], [self.targets([big[batch:]], 1)]
        cuts = [cut(crop, case["patch"], Draws(0, step, image, PURPOSE)) for image, crop in enumerate(asking)]
        rows = self.pieces(p, features(p, [torch.cat(cuts)], case["heads"]), 1).view(batch, SIDE * SIDE, -1)
        # [out, in, y, x] to [out, (y, x, in)]: a linear layer on nine rows one after the other.
        join = p["projector.jigsaw.join.weight"].permute(0, 2, 3, 1).flatten(1)
        jigsaw = F.normalize(F.linear(rows.flatten(1), join, p["projector.jigsaw.join.bias"]), dim=1)
        losses = [with_queue(q, self.keys[0], self.queues[0], case["temperature"]) for q in (self.outputs([asking], 1), jigsaw)]
        return (1 - case["jigsaw"]) * losses[0] + case["jigsaw"] * losses[1]


def parts() -> None:
    """The loss of two queries of each key, with their shares."""
    batch, width = 5, 16
    queries, keys, queue = unit("jigsaw.queries", (2 * batch, width)).requires_grad_(), unit("keys", (batch, width)), unit("queue", (12, width))
    loss = sum(share * with_queue(q, keys, queue, 0.15) for share, q in zip((0.7, 0.3), queries.split(batch)))
    loss.backward()
    tensors = {"input": queries, "keys": keys, "queue": queue, "loss": loss.reshape(1), "grad": queries.grad}
    save("method", "infomin_loss", {n: t.detach().float() for n, t in tensors.items()}, {"width": width})


if __name__ == "__main__":
    parts()
    train("infomin", InfoMin(CASE))

"""OBoW: its loss, a bag of words, and ten steps on a small ViT with the vocabulary, in f64, written from the description.

The average's local features inside of the border are assigned softly to the words of a queue; the student predicts the largest shares of another
crop with weights that a small network makes of the words."""

import torch
import torch.nn.functional as F

import methods
import reference as ref
from chacha import Draws
from filler import centred
from methods import MLP, SIZES, Mlp, features, train, unit
from store import save

CASE = SIZES | MLP | {"temperature": 0.125, "queue": 20, "momentum": [0.97, 1.0]}
SHARPNESS, FIRST_DISTANCE, KEPT, PURPOSE = 15.0, 0.5, 0.99, 2 << 32


def bag_of_words(places: torch.Tensor, words: torch.Tensor, sharpness: float) -> tuple:
    distances = (places[:, None] - words[None]).square().sum(2)
    shares = (-sharpness * distances).softmax(1).max(0).values
    return shares / shares.sum(), distances.min(1).values.mean()


def divergence(both: torch.Tensor, bags: torch.Tensor, batch: int, temp: float) -> torch.Tensor:
    """A mean over pairs of different views; `both` is the features of all views, then the weights of the words."""
    teachers = bags.split(batch)
    weights = both[-bags.shape[1]:]
    students = both[: -bags.shape[1]].split(batch)
    pairs = [(bag, f) for i, bag in enumerate(teachers) for v, f in enumerate(students) if i != v]
    return sum(F.kl_div(F.log_softmax(f @ weights.T / temp, 1), bag, reduction="batchmean") for bag, f in pairs) / len(pairs)


class Obow(methods.Method):
    def __init__(self, case: dict):
        # The projector of the others is not there: what it made gives its place to the network that makes weights of words.
        super().__init__("obow", case)
        width = case["dim"]
        self.generator, self.fixed = Mlp("predictor.", [width, case["hidden"], width], "biased"), []
        made = {n: methods.parameter(n, s).double() for n, s in self.generator.shapes.items()}
        self.student = {n: t for n, t in self.student.items() if n.startswith("backbone.")} | made
        self.teacher = {n: t.clone() for n, t in self.student.items()}
        self.queues, self.distance = [centred("words", (case["queue"], width), 1.5).double()], FIRST_DISTANCE

    def seen(self, big: torch.Tensor, step: int) -> torch.Tensor:
        batch, side = self.case["batch"], self.case["global"] // self.case["patch"]
        p = {n.removeprefix("backbone."): t for n, t in self.teacher.items() if n.startswith("backbone.")}
        with torch.no_grad():
            tokens = ref.vit(p, big, self.case["heads"])["layers"][-1][:, 1:]
        maps = tokens.view(len(big), side, side, -1)[:, 1:-1, 1:-1]
        found = [bag_of_words(m.flatten(0, 1), self.queues[0], SHARPNESS / self.distance) for m in maps]
        # 3 x 3 means, of what is there at the edges.
        means = F.avg_pool2d(maps[:batch].permute(0, 3, 1, 2), 3, 1, 1, count_include_pad=False).flatten(2)
        at = [Draws(0, step, image, PURPOSE).below(means.shape[2]) for image in range(batch)]
        self.keys = [torch.stack([mean[:, place] for mean, place in zip(means, at)])]
        self.latest = torch.stack([distance for _, distance in found]).mean()
        return torch.stack([bag for bag, _ in found])

    def loss(self, big: torch.Tensor, small: torch.Tensor, step: int) -> torch.Tensor:
        bags = self.seen(big, step)
        weights = F.normalize(self.generator(self.student, F.normalize(self.queues[0], dim=1), 1), dim=1)
        both = torch.cat([features(self.student, [big, small], self.case["heads"]), weights])
        return divergence(both, bags, self.case["batch"], self.case["temperature"])

    def follow(self, momentum: float, step: int) -> None:
        super().follow(momentum, step)
        self.distance = KEPT * self.distance + (1 - KEPT) * float(self.latest)

    def state(self) -> dict:
        return super().state() | {"distance": torch.tensor([self.distance], dtype=torch.float64)}


def pieces() -> None:
    images, width, count = 5, 16, 12
    bags = centred("bag.bags", (2 * images, count), 3.0).double().softmax(1)
    tensors = {"bags": bags}
    for views in (2, 4):
        both = centred(f"bag.both.{views}", (views * images + count, width), 0.5).double().requires_grad_()
        loss = divergence(both, bags, images, 0.125)
        loss.backward()
        tensors |= {f"{views}.both": both, f"{views}.loss": loss.reshape(1), f"{views}.grad": both.grad}
    places, words = unit("bag.places", (9, width)), unit("bag.words", (count, width))
    bag, distance = bag_of_words(places, words, 4.0)
    tensors |= {"places": places, "words": words, "bag": bag, "distance": distance.reshape(1)}
    case = {"images": images, "width": width, "sharpness": 4.0}
    save("method", "bags", {name: tensor.detach().float() for name, tensor in tensors.items()}, case)


if __name__ == "__main__":
    pieces()
    train("obow", Obow(CASE))

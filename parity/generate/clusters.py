"""DeepCluster v2: its loss, spherical k-means, and ten steps on a small ViT with memory, centroids and labels, in f64.

Written from the description: a memory of the last embeddings of both global crops; at the end of an epoch each head divides one
crop's into clusters; all crops predict the label of the epoch before."""

import torch
import torch.nn.functional as F

import methods
from chacha import Draws
from methods import MLP, SIZES, train, unit
from store import save

# `learns_from` is the first step with labels: an epoch has three. Images 10 and 11 are not in the first epoch.
CASE = SIZES | MLP | {"temperature": 0.1, "prototypes": 4, "clusterings": 3, "images": 12, "learns_from": 3}
EPOCH, ROUNDS, NOBODY = 3, 10, -1


def sample_ids(step: int) -> list:
    return [(2 * step + place) % CASE["images"] for place in range(CASE["batch"])]


def spherical_kmeans(rows: torch.Tensor, centroids: torch.Tensor, rounds: int) -> tuple:
    for _ in range(rounds):
        of = (rows @ centroids.T).argmax(1)
        means = [rows[of == k].mean(0) if (of == k).any() else c for k, c in enumerate(centroids)]
        centroids = F.normalize(torch.stack(means), dim=1)
    cosines = (rows @ centroids.T).sort(1, descending=True).values
    assert len(centroids) == 1 or (cosines[:, 0] - cosines[:, 1]).min() > 1e-5, "a row between two centroids"
    return centroids, (rows @ centroids.T).argmax(1)


def cluster_loss(z: torch.Tensor, centroids: torch.Tensor, labels: torch.Tensor, temp: float) -> torch.Tensor:
    """`centroids` [H, K, D], `labels` [H, B] with NOBODY where an image has none; z is view-major."""
    total, views = 0.0, len(z) // labels.shape[1]
    for c, of in zip(centroids, labels):
        rows = of.repeat(views)
        if (of == NOBODY).all():
            total = total + torch.tensor(float(len(c)), dtype=z.dtype).log() + 0 * z.sum()
        else:
            total = total + F.cross_entropy(z @ c.T / temp, rows, ignore_index=NOBODY)
    return total / len(centroids)


class DeepCluster(methods.Method):
    def __init__(self, case: dict):
        super().__init__("deepcluster_v2", case)
        n, k, heads, d = case["images"], case["prototypes"], case["clusterings"], case["out_dim"]
        self.memory = torch.zeros(2, n, d, dtype=torch.float64)
        self.centroids = torch.zeros(heads, k, d, dtype=torch.float64)
        self.labels = torch.full((heads, n), NOBODY)

    def loss(self, big: torch.Tensor, small: torch.Tensor, step: int) -> torch.Tensor:
        z = self.outputs([big, small], 1)
        self.ids = sample_ids(step)
        self.latest = z.detach()[: 2 * len(self.ids)].view(2, len(self.ids), -1)
        return cluster_loss(z, self.centroids, self.labels[:, self.ids], self.case["temperature"])

    def follow(self, momentum: float, step: int) -> None:
        super().follow(momentum, step)
        self.memory[:, self.ids] = self.latest
        if (step + 1) % EPOCH == 0:
            seen = self.memory[0].abs().sum(1).nonzero().flatten()
            for head in range(len(self.centroids)):
                rows = self.memory[head % 2, seen]
                first = rows[Draws(0, step, head).some_of(len(seen), self.case["prototypes"])]
                self.centroids[head], self.labels[head, seen] = spherical_kmeans(rows, first, ROUNDS)

    def state(self) -> dict:
        return {"memory": self.memory, "centroids": self.centroids, "labels": self.labels.double()}


def pieces() -> None:
    images, views, width, count = 5, 4, 16, 7
    z = unit("cluster.rows", (views * images, width)).requires_grad_()
    centroids = F.normalize(unit("cluster.centroids", (2 * count, width)), dim=1).view(2, count, width)
    labels = torch.tensor([[3, 0, NOBODY, 6, 3], [1, 2, NOBODY, NOBODY, 5]])
    loss = cluster_loss(z, centroids, labels, 0.1)
    loss.backward()
    rows, first = unit("kmeans.rows", (600, width)), unit("kmeans.first", (20, width))
    # One centroid that no row is near: it stays.
    first[19] = -F.normalize(rows.sum(0), dim=0)
    rows = rows[rows @ first[19] < 0]
    moved, of = spherical_kmeans(rows, first, 6)
    assert (of == 19).sum() == 0 and torch.allclose(moved[19], first[19])
    tensors = {"input": z, "loss": loss.reshape(1), "grad": z.grad, "centroids": centroids, "labels": labels.double()}
    tensors |= {"kmeans.rows": rows, "kmeans.first": first, "kmeans.centroids": moved, "kmeans.of": of.double()}
    save("method", "clusters", {name: tensor.detach().float() for name, tensor in tensors.items()}, {"width": width, "rounds": 6})


if __name__ == "__main__":
    pieces()
    train("deepcluster_v2", DeepCluster(CASE))

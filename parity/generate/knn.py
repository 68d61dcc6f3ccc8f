"""The four files of `eval_knn.py --dump_features`, and the accuracies of its k-NN, in f32 and of features rounded to bf16."""

import torch

from filler import centred
from store import check_size, place, save_json

CLASSES, DIM, TRAIN, VAL = 7, 24, 300, 160
NEIGHBOURS = (1, 5, 20)
TEMPERATURE = 0.07


def split(name: str, count: int) -> tuple:
    """Features of unit length around a centre for each class, and their labels."""
    labels = torch.arange(count) * 5 % CLASSES
    centres = centred("knn.centres", (CLASSES, DIM), 1.0)
    features = centres[labels] + centred(f"knn.{name}", (count, DIM), 2.6)
    return torch.nn.functional.normalize(features, dim=1, p=2), labels


def accuracies(train: torch.Tensor, labels: torch.Tensor, val: torch.Tensor, truth: torch.Tensor, k: int) -> list:
    """Top-1 and top-5 in percent: votes exp(similarity / T) of the k greatest similarities."""
    similarity, nearest = (val @ train.T).topk(k, largest=True, sorted=True)
    votes = torch.zeros(len(val), CLASSES).scatter_add(1, labels[nearest], (similarity / TEMPERATURE).exp())
    hits = votes.sort(1, descending=True).indices.eq(truth[:, None])
    return [100 * hits[:, :most].any(1).double().mean().item() for most in (1, 5)]


def main() -> None:
    (train, labels), (val, truth) = split("train", TRAIN), split("val", VAL)
    for name, tensor in (("trainfeat", train), ("trainlabels", labels), ("testfeat", val), ("testlabels", truth)):
        path = place("knn", f"{name}.pth")
        torch.save(tensor, path)
        check_size(path)
    rounded = [features.bfloat16().float() for features in (train, val)]
    save_json("knn", "expected", {
        "f32": {k: accuracies(train, labels, val, truth, k) for k in NEIGHBOURS},
        "bf16": {k: accuracies(rounded[0], labels, rounded[1], truth, k) for k in NEIGHBOURS},
    })


if __name__ == "__main__":
    main()

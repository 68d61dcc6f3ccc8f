"""Linear layers on fixed features, trained by torch.optim.SGD with a cosine from epoch to epoch, one for each learning rate."""

import numpy as np
import torch

from filler import centred
from store import save

# name: (rows, validation rows, width, classes, batch, epochs, learning rates of a batch of 256)
CASES = {
    "small": (90, 40, 24, 7, 32, 12, [0.01, 0.3, 3.0]),
    "many_outputs": (170, 60, 10, 22, 150, 4, [0.1, 1.0, 3.0]),
    "parts": (200, 50, 20, 4, 150, 5, [0.3, 1.0]),
    "one_batch": (20, 12, 16, 3, 256, 5, [0.1]),
}


def rows(name: str, count: int, width: int, classes: int) -> tuple:
    """Features around a centre for each class, and the classes."""
    labels = torch.arange(count) % classes
    centres = centred("centres", (classes, width), 1.0)
    return centres[labels] + centred(name, (count, width), 3.0), labels


def main() -> None:
    for name, (count, val_count, width, classes, batch, epochs, rates) in CASES.items():
        features, labels = rows("train", count, width, classes)
        val, val_labels = rows("val", val_count, width, classes)
        random = np.random.default_rng(0)
        orders = np.stack([random.permutation(count) for _ in range(epochs)])
        losses, top1, weights, biases, momenta = [], [], [], [], []
        for rate in rates:
            layer = torch.nn.Linear(width, classes)
            layer.weight.data = centred("linear.weight", (classes, width), 0.02)
            layer.bias.data.zero_()
            optimizer = torch.optim.SGD(layer.parameters(), rate * batch / 256.0, momentum=0.9, weight_decay=0)
            scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs, eta_min=0)
            for order in orders:
                total = 0.0
                for places in torch.from_numpy(order).split(batch):
                    loss = torch.nn.functional.cross_entropy(layer(features[places]), labels[places])
                    optimizer.zero_grad()
                    loss.backward()
                    optimizer.step()
                    total += float(loss.detach()) * len(places)
                scheduler.step()
                losses.append(total / count)
                with torch.no_grad():
                    top1.append(float((layer(val).argmax(1) == val_labels).double().mean() * 100))
            weights.append(layer.weight.detach())
            biases.append(layer.bias.detach())
            momenta.append(optimizer.state[layer.weight]["momentum_buffer"])
        save("linear", name, {
            "orders": orders.astype(np.float32), "losses": np.array(losses).reshape(len(rates), epochs),
            "top1": np.array(top1).reshape(len(rates), epochs), "weights": torch.stack(weights), "biases": torch.stack(biases),
            "momenta": torch.stack(momenta),
        }, {"rows": count, "val_rows": val_count, "width": width, "classes": classes, "batch": batch, "epochs": epochs, "rates": rates})


if __name__ == "__main__":
    main()

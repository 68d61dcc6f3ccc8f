"""Sinkhorn-Knopp assignments of a batch: SwAV's algorithm 1 in f64, checked against lightly's in f32."""

import torch
from lightly.loss.swav_loss import sinkhorn as lightly_sinkhorn

from filler import centred
from store import save

ITERATIONS = 3
# (rows, K, temperature, logit scale)
CASES = [(1, 7, 0.05, 1), (6, 7, 0.05, 1), (16, 64, 0.04, 1), (64, 32, 0.02, 0.5), (64, 128, 0.006, 0.2), (128, 1000, 0.07, 1)]


def assign(logits: torch.Tensor, temp: float) -> torch.Tensor:
    """Rows of the result sum to 1; prototypes share the batch equally, up to what three iterations reach."""
    q = torch.exp(logits / temp).T
    q = q / q.sum()
    prototypes, rows = q.shape
    for _ in range(ITERATIONS):
        q = q / q.sum(dim=1, keepdim=True) / prototypes
        q = q / q.sum(dim=0, keepdim=True) / rows
    return (q * rows).T


def main() -> None:
    for rows, prototypes, temp, scale in CASES:
        logits = centred("teacher", (rows, prototypes), scale)
        probs = assign(logits.double(), temp)
        theirs = lightly_sinkhorn(logits, iterations=ITERATIONS, epsilon=temp)
        torch.testing.assert_close(theirs.double(), probs, rtol=2e-3, atol=1e-6)
        stride = 1 if prototypes < 1000 else 37
        case = {"rows": rows, "out_dim": prototypes, "temp": temp, "logit_scale": scale, "iterations": ITERATIONS,
                "column_stride": stride}
        save("sinkhorn", f"rows{rows}_k{prototypes}_temp{temp}", {"probs": probs[:, ::stride]}, case)


if __name__ == "__main__":
    main()

"""Position interpolation: table and its gradient in f64, checked against a per-pixel cubic sum in numpy."""

import math

import numpy as np
import torch

from filler import centred
from reference import interpolate_positions
from store import save

# (grid side, image height, image width, patch, channels)
CASES = [
    (14, 96, 96, 16, 4), (14, 320, 480, 16, 3), (28, 96, 96, 8, 3), (28, 480, 480, 8, 2), (4, 16, 16, 8, 4),
    (4, 32, 32, 16, 4), (14, 480, 480, 16, 3), (14, 112, 448, 16, 3), (14, 100, 230, 16, 3), (14, 224, 224, 16, 3),
    (3, 40, 8, 8, 3),
]


def cubic(distance: float) -> float:
    """Keys' cubic with A = -0.75."""
    a, d = -0.75, abs(distance)
    if d <= 1.0:
        return (a + 2.0) * d**3 - (a + 3.0) * d**2 + 1.0
    return a * (d**3 - 5.0 * d**2 + 8.0 * d - 4.0) if d < 2.0 else 0.0


def axis_matrix(side: int, target: int) -> np.ndarray:
    """[target, side] weights along one axis: source = (dst + 0.5) * side / (target + 0.1) - 0.5, border clamped."""
    matrix = np.zeros((target, side))
    for dst in range(target):
        source = (dst + 0.5) / ((target + 0.1) / side) - 0.5
        first = math.floor(source)
        for tap in range(-1, 3):
            matrix[dst, min(max(first + tap, 0), side - 1)] += cubic(source - (first + tap))
    return matrix


def main() -> None:
    for side, height, width, patch, dim in CASES:
        rows, columns = height // patch, width // patch
        table = centred("pos_embed", (1, side * side + 1, dim), 1.0).double().requires_grad_()
        out = interpolate_positions(table, height, width, patch)
        grad = centred("grad", tuple(out.shape), 1.0).double()
        (out * grad).sum().backward()
        if (rows, columns) != (side, side):
            patches = table.detach().numpy()[0, 1:].reshape(side, side, dim)
            by_hand = np.einsum("ay,bx,yxd->abd", axis_matrix(side, rows), axis_matrix(side, columns), patches)
            assert np.abs(by_hand.reshape(-1, dim) - out.detach().numpy()[0, 1:]).max() < 1e-12
        single = interpolate_positions(table.detach().float(), height, width, patch)
        case = {"grid": side, "height": height, "width": width, "patch": patch, "dim": dim,
                "f32_max_difference": float((single.double() - out.detach()).abs().max())}
        save("pos", f"grid{side}_{height}x{width}_patch{patch}", {"out": out, "grad": table.grad}, case)


if __name__ == "__main__":
    main()

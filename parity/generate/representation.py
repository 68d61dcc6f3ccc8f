"""RankMe, spread at unit length and agreement of two networks' features, by NumPy in f64 from the papers' formulas."""

import numpy as np

from filler import parameter
from store import save

# (rows, width, decay of the directions' sizes, offset of all values)
CASES = [(96, 24, 1.0, 0.0), (96, 24, 0.5, 2.0), (12, 40, 0.8, -0.5)]


def features(name: str, rows: int, width: int, decay: float, offset: float) -> np.ndarray:
    plain = parameter(f"{name}.rows", (rows, width)).double().numpy()
    turn = np.linalg.qr(parameter(f"{name}.turn", (width, width)).double().numpy())[0]
    return (offset + plain * decay ** np.arange(width) @ turn).astype(np.float32)


def main() -> None:
    for rows, width, decay, offset in CASES:
        name = f"rows{rows}_width{width}_decay{decay}"
        one = features(name, rows, width, decay, offset)
        other = one + 0.5 * features(f"{name}.other", rows, width, 1.0, 0.0)
        wide, far = one.astype(np.float64), other.astype(np.float64)
        # Garrido et al. 2023, eq. 1.
        sizes = np.linalg.svd(wide, compute_uv=False)
        shares = sizes / sizes.sum() + 1e-7
        rank = np.exp(-(shares * np.log(shares)).sum())
        unit = wide / np.linalg.norm(wide, axis=1, keepdims=True)
        cosines = (unit * (far / np.linalg.norm(far, axis=1, keepdims=True))).sum(axis=1)
        save("representation", name, {
            "one": one, "other": other, "rank": np.array([rank]), "spread": np.array([unit.std(axis=0).mean()]),
            "agreement": np.array([cosines.mean()]),
        }, {"width": width})


if __name__ == "__main__":
    main()

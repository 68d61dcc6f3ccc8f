"""Principal components by scikit-learn: basis, variances, projections of these and other rows; colours by NumPy's percentiles."""

import numpy as np
from sklearn.decomposition import PCA

from filler import parameter
from store import save

# (rows, width, components, offset of all values)
CASES = [(200, 24, 3, 0.0), (64, 48, 5, 100.0), (20, 48, 3, -3.0)]


def features(name: str, rows: int, width: int, offset: float) -> np.ndarray:
    """Rows whose directions have clearly different variances, turned, f32."""
    plain = parameter(f"{name}.rows", (rows, width)).double().numpy()
    turn = np.linalg.qr(parameter(f"{name}.turn", (width, width)).double().numpy())[0]
    return (offset + plain * 0.8 ** np.arange(width) * np.sqrt(width) @ turn).astype(np.float32)


def main() -> None:
    for rows, width, components, offset in CASES:
        name = f"rows{rows}_width{width}_components{components}"
        fitted, others = features(name, rows, width, offset), features(f"{name}.others", 10, width, offset)
        pca = PCA(n_components=components, svd_solver="full").fit(fitted.astype(np.float64))
        projections = pca.transform(fitted.astype(np.float64))
        low, high = np.percentile(projections, [1, 99], axis=0)
        save("pca", name, {
            "features": fitted, "others": others, "axes": pca.components_, "variances": pca.explained_variance_,
            "ratios": pca.explained_variance_ratio_, "projections": projections,
            "projections_of_others": pca.transform(others.astype(np.float64)),
            "colours": np.clip((projections - low) / (high - low), 0, 1),
        }, {"rows": rows, "width": width, "components": components})


if __name__ == "__main__":
    main()

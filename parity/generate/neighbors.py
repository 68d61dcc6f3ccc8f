"""The nearest others by cosine, by scikit-learn."""

import numpy as np
from sklearn.neighbors import NearestNeighbors

from filler import parameter
from store import save

# (rows, width, neighbours)
CASES = [(300, 16, 8), (12, 40, 11)]


def main() -> None:
    for rows, width, k in CASES:
        name = f"rows{rows}_width{width}_k{k}"
        features = parameter(f"{name}.rows", (rows, width)).numpy()
        search = NearestNeighbors(n_neighbors=k, metric="cosine", algorithm="brute").fit(features.astype(np.float64))
        # Without an argument a row is not its own neighbour.
        distances, indices = search.kneighbors()
        save("neighbors", name, {"features": features, "indices": indices.astype(np.float64), "similarities": 1 - distances},
             {"rows": rows, "width": width, "k": k})


if __name__ == "__main__":
    main()

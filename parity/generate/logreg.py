"""Logistic regression by scikit-learn: multinomial, no intercept, C = 1/penalty."""

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss

from linear import rows
from store import save

# (rows, validation rows, width, classes, penalty)
CASES = [(400, 200, 20, 5, 0.1), (60, 60, 48, 12, 0.1), (300, 100, 16, 4, 10.0)]


def unit(features) -> np.ndarray:
    features = features.numpy().astype(np.float64)
    return features / np.linalg.norm(features, axis=1, keepdims=True)


def main() -> None:
    for count, val_count, width, classes, penalty in CASES:
        (train, labels), (val, val_labels) = rows("train", count, width, classes), rows("val", val_count, width, classes)
        train, val, labels, val_labels = unit(train), unit(val), labels.numpy(), val_labels.numpy()
        model = LogisticRegression(C=1 / penalty, fit_intercept=False, tol=1e-12, max_iter=100_000).fit(train, labels)
        loss = log_loss(labels, model.predict_proba(train)) + penalty / count / 2 * float((model.coef_**2).sum())
        top1 = 100 * float((model.predict(val) == val_labels).mean())
        save("logreg", f"rows{count}_classes{classes}_penalty{penalty:g}",
             {"coef": model.coef_, "loss": np.array([loss]), "top1": np.array([top1]), "predictions": model.predict(val).astype(np.float32)},
             {"rows": count, "val_rows": val_count, "width": width, "classes": classes, "penalty": penalty})


if __name__ == "__main__":
    main()

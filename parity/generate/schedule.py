"""Schedule arrays per step and teacher temperatures per epoch, in f64."""

import math

import torch
from lightly.loss import DINOLoss

from reference import cosine_schedule, temperature_schedule
from store import save_json

# (base, final, epochs, steps per epoch, warm-up epochs)
COSINE = [
    (0.0005, 1e-6, 10, 7, 3), (0.001, 1e-6, 9, 12, 1), (0.002, 1e-5, 4, 5, 0), (0.001, 1e-6, 3, 4, 3),
    (0.04, 0.4, 10, 7, 0), (0.04, 0.04, 2, 3, 0), (0.996, 1.0, 10, 7, 0), (0.99, 1.0, 9, 12, 0), (0.5, 0.0, 1, 1, 0),
]
# (start, end, warm-up epochs, epochs)
TEMPERATURE = [(0.04, 0.07, 30, 100), (0.04, 0.04, 0, 10), (0.04, 0.07, 1, 5), (0.02, 0.06, 7, 7), (0.04, 0.07, 2, 4)]


def main() -> None:
    cosine = []
    for base, final, epochs, steps, warmup in COSINE:
        total, warm = epochs * steps, warmup * steps
        values = cosine_schedule(base, final, total, warm).tolist()
        by_hand = [base * j / max(warm - 1, 1) for j in range(warm)]
        by_hand += [final + 0.5 * (base - final) * (1 + math.cos(math.pi * j / (total - warm))) for j in range(total - warm)]
        assert len(values) == total and all(abs(a - b) <= 1e-15 for a, b in zip(values, by_hand))
        cosine.append({"base": base, "final": final, "epochs": epochs, "steps_per_epoch": steps,
                       "warmup_epochs": warmup, "values": values})
    temperature = []
    for start, end, warmup, epochs in TEMPERATURE:
        values = temperature_schedule(start, end, warmup, epochs)
        peer = DINOLoss(7, start, end, warmup).teacher_temp_schedule
        torch.testing.assert_close(torch.from_numpy(values[:warmup]).float(), peer, rtol=1e-6, atol=0)
        temperature.append({"start": start, "end": end, "warmup_epochs": warmup, "epochs": epochs, "values": values.tolist()})
    # lr is scaled by the whole batch over 256; min_lr is not.
    scaled = [{"lr": lr, "batch": batch, "base": lr * batch / 256.0} for lr, batch in ((0.0005, 1024), (0.001, 64), (0.0005, 8))]
    save_json("schedule", "schedules", {"cosine": cosine, "teacher_temp": temperature, "scaled_lr": scaled})


if __name__ == "__main__":
    main()

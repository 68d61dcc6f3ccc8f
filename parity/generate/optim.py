"""Optimizers with per-tensor clipping, two decay groups and a frozen last layer: values after each of five steps, f64."""

import torch

import reference as ref
from filler import centred
from store import save

SHAPES = {"mlp.0.weight": (5, 7), "mlp.0.bias": (5,), "last_layer.weight_g": (6, 1)}
STEPS, CLIP, FROZEN_STEPS = 5, 3.0, 2
PEAK = {"adamw": 0.01, "sgd": 0.05, "lars": 5.0}
GRAD_SCALES = {"mlp.0.weight": 2.0, "mlp.0.bias": 0.01, "last_layer.weight_g": 1.0}


def adamw_by_hand(trained: dict, state: dict, lr: float, decay: float) -> None:
    """Decoupled decay, then Adam with bias correction; the counter of a skipped tensor does not move."""
    for name, tensor in trained.items():
        if tensor.grad is None:
            continue
        count, first, second = state.get(name, (0, torch.zeros_like(tensor), torch.zeros_like(tensor)))
        count += 1
        first, second = 0.9 * first + 0.1 * tensor.grad, 0.999 * second + 0.001 * tensor.grad**2
        state[name] = (count, first, second)
        with torch.no_grad():
            tensor.mul_(1.0 - lr * (decay if ref.decays(name, tensor.shape) else 0.0))
            scaled = (first / (1 - 0.9**count)) / ((second / (1 - 0.999**count)).sqrt() + 1e-8)
            tensor.sub_(lr * scaled)


def start() -> dict:
    return {n: centred("start." + n, s, 1.0).double().requires_grad_() for n, s in SHAPES.items()}


def set_gradients(trained: dict, step: int, clip: float) -> None:
    for name, tensor in trained.items():
        tensor.grad = centred(f"grad.{step}.{name}", SHAPES[name], GRAD_SCALES[name]).double()
    ref.clip_each(list(trained.values()), clip)
    if step < FROZEN_STEPS:
        trained["last_layer.weight_g"].grad = None


def main() -> None:
    decay = ref.cosine_schedule(0.04, 0.4, STEPS)
    for kind, peak in PEAK.items():
        lr = ref.cosine_schedule(peak, 1e-6, STEPS, 2)
        trained, by_hand, state = start(), start(), {}
        optimizer = ref.optimizer(kind, trained)
        tensors = {"lr": lr, "weight_decay": decay}
        for step in range(STEPS):
            set_gradients(trained, step, CLIP)
            set_gradients(by_hand, step, CLIP)
            for index, group in enumerate(optimizer.param_groups):
                group["lr"] = float(lr[step])
                group["weight_decay"] = float(decay[step]) if index == 0 else 0.0
            for name, tensor in trained.items():
                if tensor.grad is not None:
                    tensors[f"clipped.{step}.{name}"] = tensor.grad.clone()
            optimizer.step()
            adamw_by_hand(by_hand, state, float(lr[step]), float(decay[step]))
            for name, tensor in trained.items():
                tensors[f"after.{step}.{name}"] = tensor.detach().clone()
                if kind == "adamw":
                    torch.testing.assert_close(tensor, by_hand[name], rtol=1e-12, atol=1e-13)
        case = {"optimizer": kind, "steps": STEPS, "clip": CLIP, "frozen_last_layer_steps": FROZEN_STEPS,
                "start_scale": 1.0, "grad_scales": GRAD_SCALES, "momentum": 0.9, "lars_eta": 0.001}
        save("optim", kind, tensors, case)


if __name__ == "__main__":
    main()

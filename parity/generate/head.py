"""DINO head: logits and every gradient in f64; checked against lightly's head where that has the same shape."""

import torch
from lightly.models.modules.heads import DINOProjectionHead

import reference as ref
from filler import centred, parameter
from store import save

SIZES = {"in_dim": 24, "hidden": 32, "bottleneck": 16, "out_dim": 40}
BATCH, SCALE_G = 6, 0.1
BUFFERS = ("running_mean", "running_var")


def filled(sizes: dict, norm_last_layer: bool) -> dict:
    """f64 parameters; a trained weight_g is 1 + value at scale 0.1, a frozen one is 1."""
    state = {n: parameter("head." + n, s).double() for n, s in ref.head_shapes(sizes).items()}
    if not norm_last_layer:
        name = "last_layer.weight_g"
        state[name] = centred("head." + name, tuple(state[name].shape), SCALE_G, 1.0).double()
    return state


def check_lightly(sizes: dict, p: dict, x: torch.Tensor, grad: torch.Tensor, norm_last_layer: bool) -> None:
    """Same logits, same input and weight gradients. lightly's linears have no bias before batch norm."""
    peer = DINOProjectionHead(SIZES["in_dim"], SIZES["hidden"], SIZES["bottleneck"], SIZES["out_dim"],
                              batch_norm=sizes["use_bn"], norm_last_layer=norm_last_layer).double()
    theirs = {}
    for name, tensor in peer.state_dict().items():
        own = name.replace("layers.", "mlp.")
        theirs[name] = p[own].detach().clone() if own in p else tensor
    peer.load_state_dict(theirs)
    x = x.detach().requires_grad_()
    logits = peer(x)
    (logits * grad).sum().backward()
    torch.testing.assert_close(logits, ref.head({n: t.detach().clone() for n, t in p.items()}, x), rtol=1e-9, atol=1e-12)
    for name, tensor in peer.named_parameters():
        if tensor.grad is not None:
            torch.testing.assert_close(tensor.grad, p[name.replace("layers.", "mlp.")].grad, rtol=1e-8, atol=1e-12)


def main() -> None:
    for nlayers in (1, 2, 3):
        for use_bn in (False, True):
            for norm_last_layer in (True, False):
                if nlayers == 1 and use_bn:
                    continue  # There is no hidden layer to normalise.
                sizes = SIZES | {"nlayers": nlayers, "use_bn": use_bn}
                p = filled(sizes, norm_last_layer)
                frozen = BUFFERS + (("weight_g",) if norm_last_layer else ())
                for name, tensor in p.items():
                    tensor.requires_grad_(not name.endswith(frozen))
                start = {n: t.detach().clone() for n, t in p.items()}
                x = centred("x", (BATCH, SIZES["in_dim"]), 2.0).double().requires_grad_()
                grad = centred("grad", (BATCH, SIZES["out_dim"]), 1.0).double()
                logits = ref.head(p, x)
                (logits * grad).sum().backward()
                tensors = {"logits": logits, "grad.x": x.grad}
                tensors |= {"grad." + n: t.grad for n, t in p.items() if t.grad is not None}
                if use_bn:
                    tensors |= {"after." + n: t for n, t in p.items() if n.endswith(BUFFERS)}
                    tensors["logits_eval"] = ref.head(start, x.detach(), training=False)
                if nlayers == 3:
                    check_lightly(sizes, {n: t for n, t in p.items()}, x, grad, norm_last_layer)
                case = sizes | {"batch": BATCH, "norm_last_layer": norm_last_layer}
                name = f"layers{nlayers}_{'bn' if use_bn else 'plain'}_{'norm' if norm_last_layer else 'free'}"
                save("head", name, tensors, case)


if __name__ == "__main__":
    main()

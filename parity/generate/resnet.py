"""torchvision's ResNets on two groups of images: features, gradients and running statistics, in f64."""

import torch
import torchvision

from filler import centred, images, parameter
from store import save

# Images, height, width of each group; odd sides end in windows over the edge.
GROUPS = ((3, 64, 64), (2, 41, 70))
NETWORKS = ("resnet18", "resnet50")
# What the last scale of a bottleneck is multiplied by: at 1, PyTorch itself is off by 1e-4 in f32, since every block normalises
# what is left of the ones before.
BRANCH = 0.25


def main() -> None:
    for name in NETWORKS:
        model = getattr(torchvision.models, name)()
        model.fc = torch.nn.Identity()
        state = model.state_dict()
        for key, tensor in state.items():
            if tensor.dim() > 0:
                state[key] = parameter(key, tuple(tensor.shape)) * (BRANCH if key.endswith("bn3.weight") else 1)
        model.load_state_dict(state)
        model = model.double()
        tensors = {}
        for index, (count, height, width) in enumerate(GROUPS):
            out = model(images(f"image.{index}", (count, height, width, 3)).double())
            (out * centred(f"grad.{index}", tuple(out.shape), 1.0).double()).sum().backward()
            tensors[f"out.{index}"] = out
        # A number for each tensor is enough to tell a wrong one: its gradient along the filler of its name, and its length.
        for key, value in model.named_parameters():
            along = centred(f"along.{key}", tuple(value.shape), 1.0).double()
            tensors[f"grad.{key}"] = torch.stack([(value.grad * along).sum(), value.grad.norm()])
        for key, value in model.named_buffers():
            if value.dim() > 0:
                tensors[f"after.{key}"] = torch.stack([value.mean(), value.norm()])
        model.eval()
        tensors["evaluated"] = model(images("image.0", (GROUPS[0][0], *GROUPS[0][1:], 3)).double())
        save("resnet", name, tensors, {"groups": GROUPS})


if __name__ == "__main__":
    main()

"""A small residual network in PyTorch: stem, max pool, a bottleneck with a strided shortcut, mean pool; two groups of images."""

import torch
from torch import nn

from filler import centred, parameter
from store import save

IMAGES, SIDES, CHANNELS, WIDTH, OUTPUTS = 2, (19, 12), 3, 6, 10
# Name, inputs, outputs, kernel, stride.
LAYERS = (
    ("stem", CHANNELS, 8, 7, 2),
    ("conv1", 8, WIDTH, 1, 1),
    ("conv2", WIDTH, WIDTH, 3, 2),
    ("conv3", WIDTH, OUTPUTS, 1, 1),
    ("downsample", 8, OUTPUTS, 1, 2),
)


class Residual(nn.Module):
    """ResNet v1.5 (torchvision) with one bottleneck: the 3 x 3 convolution is the one that strides."""

    def __init__(self) -> None:
        super().__init__()
        for name, inputs, outputs, kernel, stride in LAYERS:
            setattr(self, name, nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False))
            setattr(self, name + "_bn", nn.BatchNorm2d(outputs))
        self.pool = nn.MaxPool2d(3, 2, 1)

    def layer(self, name: str, x: torch.Tensor) -> torch.Tensor:
        return getattr(self, name + "_bn")(getattr(self, name)(x))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.pool(self.layer("stem", x).relu())
        h = self.layer("conv2", self.layer("conv1", x).relu()).relu()
        return (self.layer("conv3", h) + self.layer("downsample", x)).relu().mean((2, 3))


def main() -> None:
    model = Residual().double()
    state = model.state_dict()
    for name, tensor in state.items():
        if tensor.dim() > 0:
            state[name] = parameter("residual." + name, tuple(tensor.shape)).double()
    model.load_state_dict(state)
    tensors = {}
    for side in SIDES:
        x = centred(f"x.{side}", (IMAGES, side, side + 3, CHANNELS), 2.0).double().permute(0, 3, 1, 2)
        out = model(x)
        grad = centred(f"grad.{side}", (IMAGES, OUTPUTS), 1.0).double()
        (out * grad).sum().backward()
        tensors[f"out.{side}"] = out
    tensors |= {"grad." + name: p.grad for name, p in model.named_parameters()}
    tensors |= {"after." + name: b.double() for name, b in model.named_buffers()}
    model.eval()
    tensors["evaluated"] = model(x)
    case = {"images": IMAGES, "sides": SIDES, "layers": LAYERS}
    save("residual", "bottleneck", tensors, case)


if __name__ == "__main__":
    main()

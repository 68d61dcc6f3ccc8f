"""torchvision's ResNets on two groups of images: features, gradients and running statistics, in f64."""

import networks
from store import save

# Images, height, width of each group; odd sides end in windows over the edge.
GROUPS = ((3, 64, 64), (2, 41, 70))
NETWORKS = ("resnet18", "resnet50")


def main() -> None:
    for name in NETWORKS:
        model = networks.build(name)
        tensors, worst = networks.look_twice(model, networks.filled(model), GROUPS)
        print(name, "f32 is off by", worst)
        save("resnet", name, tensors, {"groups": GROUPS})


if __name__ == "__main__":
    main()

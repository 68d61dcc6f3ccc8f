"""Learning rates by layer: timm's grouping of the tensors of a ViT with a classifier, which stands where our head does."""

import numpy as np
from timm.models import create_model
from timm.optim import param_groups_layer_decay

from store import save

DECAY = 0.75


def main() -> None:
    model = create_model("vit_tiny_patch16_224", num_classes=10)
    names = {id(tensor): name for name, tensor in model.named_parameters()}
    groups = param_groups_layer_decay(model, weight_decay=0.0, layer_decay=DECAY)
    scales = {names[id(tensor)]: np.array([group["lr_scale"]]) for group in groups for tensor in group["params"]}
    save("layer_decay", "vit_tiny", scales, {"decay": DECAY})


if __name__ == "__main__":
    main()

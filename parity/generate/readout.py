"""What timm's get_intermediate_layers gives, put together as eval_linear.py and DINOv2 do."""

from functools import partial

import torch
from timm.models.vision_transformer import VisionTransformer

from filler import images, parameter
from store import save

SIDE, PATCH, DIM, HEADS, DEPTH = 32, 8, 48, 3, 6


@torch.no_grad()
def main() -> None:
    model = VisionTransformer(img_size=SIDE, patch_size=PATCH, embed_dim=DIM, depth=DEPTH, num_heads=HEADS, num_classes=0,
                              norm_layer=partial(torch.nn.LayerNorm, eps=1e-6))
    model.load_state_dict({name: parameter(name, tuple(tensor.shape)) for name, tensor in model.state_dict().items()})
    model = model.double().eval()
    pixels = images("image", (2, SIDE, SIDE, 3)).double()
    layers = model.get_intermediate_layers(pixels, n=4, return_prefix_tokens=True, norm=True)
    tokens = [prefix[:, 0] for _, prefix in layers]  # Class tokens, oldest first.
    torch.testing.assert_close(tokens[-1], model(pixels))
    mean = layers[-1][0].mean(dim=1)
    interleaved = torch.cat((tokens[-1].unsqueeze(-1), mean.unsqueeze(-1)), dim=-1).reshape(2, -1)
    save("readout", "vit", {"several": torch.cat(tokens, dim=-1), "interleaved": interleaved,
                            "appended": torch.cat([*tokens, mean], dim=-1), "one": tokens[-1]},
         {"images": 2, "side": SIDE, "patch": PATCH, "dim": DIM, "heads": HEADS, "depth": DEPTH})


if __name__ == "__main__":
    main()

"""ResNets of torchvision, timm and transformers, XCiTs of timm: their weights here, ours there, and back with the same bits."""

from pathlib import Path

import timm
import torch
import torchvision
import transformers
from program import MEAN, STD, Program, agree, photo, pixels, same
from safetensors.torch import load_file, save_file


def of_resnets(program: Program, folder: Path) -> None:
    """Files of all three programs, and exports for each of them."""
    image, wide = folder / "convnet.png", folder / "convnet-wide.png"
    photo(image, 96, 96)
    photo(wide, 130, 75)
    torch.manual_seed(6)
    for name in ("resnet18", "resnet50"):
        model = with_statistics(getattr(torchvision.models, name)().eval())
        state = model.state_dict()
        torch.save(state, folder / f"{name}.pth")
        save_file(state, folder / f"{name}.safetensors")
        model.fc = torch.nn.Identity()
        plain = dict(model.state_dict())
        ours = program.features(folder / f"{name}.pth", image, "--image-size", "96")
        agree(f"import of torchvision's {name}", ours, model(pixels(image)))
        from_file = program.features(folder / f"{name}.safetensors", wide, "--image-size", "130x75")
        agree(f"import of torchvision's {name}, 130 x 75 px", from_file, model(pixels(wide)))
        exported(program, folder, name, image, ours, plain)
    of_transformers(program, folder, image)
    resnet = with_statistics(timm.create_model("resnet34", num_classes=0).eval())
    torch.save(resnet.state_dict(), folder / "timm-resnet34.pth")
    ours = program.features(folder / "timm-resnet34.pth", image, "--image-size", "96")
    agree("import of timm's resnet34", ours, resnet(pixels(image)))


def exported(program: Program, folder: Path, name: str, image: Path, ours, plain: dict) -> None:
    """The same network in every format."""
    source = folder / f"{name}.pth"
    for to, out in (("torch", f"{name}-out.pth"), ("safetensors", f"{name}-out.safetensors"), ("timm", f"{name}-timm"),
                    ("hf", f"{name}-hf")):
        program.run("export", source, "--to", to, "-o", folder / out)
        program.run("verify-export", source, folder / out)
    same(f"torchvision → ours → .pth, {name}", torch.load(folder / f"{name}-out.pth", weights_only=True), plain)
    same(f"torchvision → ours → safetensors, {name}", load_file(folder / f"{name}-out.safetensors"), plain)
    same(f"torchvision → ours → timm, {name}", load_file(folder / f"{name}-timm/model.safetensors"), plain)
    there = getattr(torchvision.models, name)()
    missing = there.load_state_dict(torch.load(folder / f"{name}-out.pth", weights_only=True), strict=False)
    assert missing.missing_keys == ["fc.weight", "fc.bias"] and not missing.unexpected_keys, missing
    there.fc = torch.nn.Identity()
    agree(f"{name} in torchvision", ours, there.eval()(pixels(image)))
    loaded = timm.create_model(f"local-dir:{folder / f'{name}-timm'}", pretrained=True).eval()
    agree(f"{name} in timm", ours, loaded(pixels(image)))
    loaded = transformers.AutoModel.from_pretrained(folder / f"{name}-hf").eval()
    agree(f"{name} in transformers", ours, loaded(pixels(image)).pooler_output.flatten(1))
    program.graph(source, "tokens")


def of_transformers(program: Program, folder: Path, image: Path) -> None:
    """A ResNet twice as wide as usual, there and back."""
    sizes = dict(embedding_size=128, hidden_sizes=[512, 1024, 2048, 4096], depths=[1, 2, 1, 1], layer_type="bottleneck")
    model = with_statistics(transformers.ResNetModel(transformers.ResNetConfig(**sizes)).eval())
    model.save_pretrained(folder / "hf-resnet")
    images = transformers.BitImageProcessor(
        size={"height": 96, "width": 96}, do_center_crop=False, image_mean=list(MEAN), image_std=list(STD))
    images.save_pretrained(folder / "hf-resnet")
    ours = program.features(folder / "hf-resnet", image)
    agree("import of transformers' ResNet, twice as wide", ours, model(pixels(image)).pooler_output.flatten(1))
    program.run("export", folder / "hf-resnet", "--to", "hf", "-o", folder / "hf-resnet-back")
    program.run("verify-export", folder / "hf-resnet", folder / "hf-resnet-back")
    same("transformers → ours → transformers, ResNet",
         load_file(folder / "hf-resnet-back/model.safetensors"), load_file(folder / "hf-resnet/model.safetensors"))


def of_xcits(program: Program, folder: Path) -> None:
    """timm's names differ from the official ones."""
    image = folder / "xcit.png"
    photo(image, 96, 64)
    torch.manual_seed(7)
    for name in ("xcit_small_12_p16", "xcit_small_12_p8"):
        model = with_statistics(timm.create_model(f"{name}_224", num_classes=0).eval())
        for key, value in model.named_parameters():
            if key.endswith("temperature") or ".gamma" in key:
                value.add_(torch.rand_like(value))
        save_file(model.state_dict(), folder / f"{name}.safetensors")
        ours = program.features(folder / f"{name}.safetensors", image, "--image-size", "96x64")
        agree(f"import of timm's {name}", ours, model(pixels(image)))
        for to, out in (("timm", f"{name}-timm"), ("torch", f"{name}-out.pth")):
            program.run("export", folder / f"{name}.safetensors", "--to", to, "-o", folder / out)
            program.run("verify-export", folder / f"{name}.safetensors", folder / out)
        same(f"timm → ours → timm, {name}", load_file(folder / f"{name}-timm/model.safetensors"), dict(model.state_dict()))
        loaded = timm.create_model(f"local-dir:{folder / f'{name}-timm'}", pretrained=True).eval()
        agree(f"{name} in timm", ours, loaded(pixels(image)))
        # timm brings an official file to its own names.
        official = {"model": torch.load(folder / f"{name}-out.pth", weights_only=True)}
        loaded.load_state_dict(timm.models.xcit.checkpoint_filter_fn(official, loaded))
        agree(f"{name}, official names, in timm", ours, loaded(pixels(image)))
        # Patches of 8 take four times as long, and differ by a layer of the stem.
        program.graph(folder / f"{name}.safetensors", *(["tokens"] if name.endswith("p16") else []))


def with_statistics(model: torch.nn.Module) -> torch.nn.Module:
    """Weights moved a little, and running statistics that no other layer has."""
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.weight.add_(torch.randn_like(module.weight) * 0.1)
            module.bias.add_(torch.randn_like(module.bias) * 0.1)
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 1.5)
            module.num_batches_tracked.fill_(7)
    return model

"""Exports loaded by the programs they are for, and their files loaded by us; also every snippet of docs/python.md.

    python tests/interop/interop.py --dinoxide target/release/dinoxide --run RUN

Features must agree to 1e-4 of the largest one: both sides add up in f32, in another order.
"""

import argparse
import json
import os
import re
import shlex
import tempfile
from pathlib import Path

import numpy
import timm
import torch
import transformers
from PIL import Image
from safetensors.torch import load_file, save_file

from convnets import of_resnets, of_xcits
from heads import heads
from program import MEAN, ROOT, STD, Program, agree, photo, pixels, same, shaken


def from_others(program: Program, folder: Path) -> None:
    """Weights of other programs give their features here."""
    image = folder / "square.png"
    photo(image, 64, 64)
    torch.manual_seed(1)
    vit = timm.create_model("vit_tiny_patch16_224", num_classes=7, img_size=64).eval()
    features = vit.forward_features(pixels(image))[:, 0]
    state = vit.state_dict()
    torch.save(state, folder / "timm.pth")
    torch.save(state, folder / "old.pth", _use_new_zipfile_serialization=False)
    save_file(state, folder / "timm.safetensors")
    wrapped = {f"module.backbone.{name}": value for name, value in state.items() if not name.startswith("head")}
    torch.save({"student": wrapped, "teacher": wrapped, "epoch": 3}, folder / "full.pth")
    compiled = {f"_orig_mod.module.{name}": value for name, value in state.items()}
    torch.save({"model": compiled}, folder / "compiled.pth")
    chunk = lambda name: re.sub(r"blocks\.(\d+)\.", lambda block: f"blocks.{int(block[1]) // 4}.{block[1]}.", name)
    save_file({chunk(name): value for name, value in state.items()}, folder / "chunks.safetensors")
    for name in ("timm.pth", "old.pth", "timm.safetensors", "full.pth", "compiled.pth", "chunks.safetensors"):
        agree(f"import of {name}", program.features(folder / name, image, "--image-size", "64"), features)

    sizes = dict(hidden_size=96, num_hidden_layers=3, num_attention_heads=4, intermediate_size=200, image_size=64, patch_size=8)
    images = transformers.BitImageProcessor(
        size={"height": 64, "width": 64}, do_center_crop=False, image_mean=list(MEAN), image_std=list(STD))
    model = transformers.ViTModel(transformers.ViTConfig(**sizes, layer_norm_eps=1e-6), add_pooling_layer=False).eval()
    features = model(pixel_values=pixels(image)).last_hidden_state[:, 0]
    for name, options in (("hf", {}), ("shards", {"max_shard_size": "300KB"})):
        model.save_pretrained(folder / name, **options)
        images.save_pretrained(folder / name)
        agree(f"import of transformers, {name}", program.features(folder / name, image, "--image-size", "64"), features)
    assert len(list((folder / "shards").glob("*.safetensors"))) > 1, "one shard is none"
    labelled = transformers.ViTForImageClassification(transformers.ViTConfig(**sizes, layer_norm_eps=1e-6)).eval()
    labelled.save_pretrained(folder / "labelled")
    images.save_pretrained(folder / "labelled")
    features = labelled.vit(pixel_values=pixels(image)).last_hidden_state[:, 0]
    agree("import of transformers, with a classifier", program.features(folder / "labelled", image, "--image-size", "64"), features)


def of_dinov2(program: Program, folder: Path) -> None:
    """Networks of DINOv2 from timm and transformers, and back to both."""
    image, wide = folder / "dinov2.png", folder / "wide.png"
    photo(image, 56, 56)
    photo(wide, 98, 42)
    torch.manual_seed(4)
    for name in ("vit_small_patch14_dinov2", "vit_small_patch14_reg4_dinov2", "vit_giant_patch14_reg4_dinov2"):
        small = dict(embed_dim=96, depth=3, num_heads=4) if "giant" in name else dict(depth=4)
        model = shaken(timm.create_model(name, num_classes=0, img_size=56, **small).eval())
        file = folder / f"{name}.safetensors"
        save_file(model.state_dict(), file, {"num_heads": str(model.blocks[0].attn.num_heads)})
        ours = program.features(file, image, "--image-size", "56")
        agree(f"import of timm's {name}", ours, model(pixels(image)))
        program.run("export", file, "--to", "timm", "-o", folder / f"{name}-timm")
        program.run("verify-export", file, folder / f"{name}-timm")
        loaded = timm.create_model(f"local-dir:{folder / f'{name}-timm'}", pretrained=True).eval()
        agree(f"{name} in timm", ours, loaded(pixels(image)))
        same(f"timm → ours → timm, {name}", load_file(folder / f"{name}-timm/model.safetensors"), dict(model.state_dict()))
    sizes = dict(hidden_size=96, num_hidden_layers=3, num_attention_heads=4, image_size=56, patch_size=14)
    for name, kind, more in (("dinov2", "Dinov2", {}), ("swiglu", "Dinov2", {"use_swiglu_ffn": True}),
                             ("registers", "Dinov2WithRegisters", {"num_register_tokens": 3})):
        config = getattr(transformers, f"{kind}Config")(**sizes, **more)
        model = shaken(getattr(transformers, f"{kind}Model")(config).eval())
        model.save_pretrained(folder / name)
        ours = program.features(folder / name, image, "--image-size", "56")
        agree(f"import of transformers' {kind}, {name}", ours, model(pixels(image)).last_hidden_state[:, 0])
        if name == "registers":  # Its positions are resampled by the sizes and antialiased, as in the official program.
            there = model(pixels(wide)).last_hidden_state[:, 0]
            agree("positions of another grid, antialiased", program.features(folder / name, wide, "--image-size", "98x42"), there)
        program.run("export", folder / name, "--to", "hf", "-o", folder / f"{name}-hf")
        program.run("verify-export", folder / name, folder / f"{name}-hf")
        same(f"transformers → ours → transformers, {name}",
             load_file(folder / f"{name}-hf/model.safetensors"), load_file(folder / name / "model.safetensors"))
        loaded = transformers.AutoModel.from_pretrained(folder / f"{name}-hf").eval()
        agree(f"{kind} in transformers, {name}", ours, loaded(pixels(image)).last_hidden_state[:, 0])


def graphs_of_dinov2(program: Program, folder: Path) -> None:
    """ONNX files of DINOv2's networks. Positions are resampled by a factor, and antialiased by the sizes: of a grid that shrinks as the
    published ones do, and of one that grows."""
    torch.manual_seed(5)
    small = dict(num_classes=0, embed_dim=96, depth=3, num_heads=4)
    for name, size in (("vit_small_patch14_dinov2", 224), ("vit_small_patch14_reg4_dinov2", 518), ("vit_giant_patch14_reg4_dinov2", 56)):
        model = shaken(timm.create_model(name, img_size=size, **small).eval())
        file = folder / f"{name}-{size}.safetensors"
        save_file(model.state_dict(), file, {"num_heads": "4"})
        program.graph(file, "tokens", "attention")


def round_trips(program: Program, folder: Path) -> None:
    """There and back: the same bits."""
    ours = folder / "round"
    names = {"timm.pth": "pth", "hf": "hf"}
    theirs = {name: value for name, value in torch.load(folder / "timm.pth", weights_only=True).items() if "head" not in name}
    program.run("export", folder / "timm.pth", "-o", f"{ours}.pth")
    same("official → ours → official", torch.load(f"{ours}.pth", weights_only=True), theirs)
    program.run("export", folder / "timm.pth", "-o", f"{ours}.safetensors")
    same("official → ours → safetensors", load_file(f"{ours}.safetensors"), theirs)
    program.run("export", folder / "timm.pth", "--to", "timm", "-o", f"{ours}-timm")
    same("official → ours → timm", load_file(f"{ours}-timm/model.safetensors"), theirs)
    program.run("export", folder / "hf", "--to", "hf", "-o", f"{ours}-hf")
    same("transformers → ours → transformers", load_file(f"{ours}-hf/model.safetensors"), load_file(folder / "hf/model.safetensors"))
    for name, out in names.items():
        program.run("verify-export", folder / name, f"{ours}.pth" if out == "pth" else f"{ours}-hf")
    odd = json.loads((Path(f"{ours}-hf") / "config.json").read_text())
    assert odd["layer_norm_eps"] == 1e-6 and odd["num_attention_heads"] == 4, odd


def to_others(program: Program, folder: Path) -> None:
    """Exports of published sizes, loaded by name."""
    for name, size in (("vit_small_patch16_224", 224), ("vit_base_patch8_224", 64)):
        torch.manual_seed(2)
        vit = timm.create_model(name, num_classes=0, img_size=size).eval()
        save_file(vit.state_dict(), folder / "named.safetensors", {"num_heads": str(vit.blocks[0].attn.num_heads)})
        program.run("export", folder / "named.safetensors", "--to", "timm", "-o", folder / "named-timm")
        program.run("export", folder / "named.safetensors", "--to", "hf", "-o", folder / "named-hf")
        image = folder / "named.png"
        photo(image, size, size)
        ours = program.features(folder / "named.safetensors", image, "--image-size", size)
        loaded = timm.create_model(f"local-dir:{folder / 'named-timm'}", pretrained=True).eval()
        agree(f"{name} at {size} px in timm", ours, loaded(pixels(image)))
        loaded = transformers.AutoModel.from_pretrained(folder / "named-hf", add_pooling_layer=False).eval()
        assert type(loaded).__name__ == "ViTModel", type(loaded)
        agree(f"{name} at {size} px in transformers", ours, loaded(pixel_values=pixels(image)).last_hidden_state[:, 0])


def wrong_files(program: Program, folder: Path) -> None:
    """What is no backbone says so."""
    torch.save({"state_dict": {"module.linear.weight": torch.zeros(7, 192), "module.linear.bias": torch.zeros(7)}}, folder / "linear.pth")
    whole = (folder / "timm.pth").read_bytes()
    (folder / "half.pth").write_bytes(whole[: len(whole) // 2])
    state = torch.load(folder / "timm.pth", weights_only=True)
    torch.save({**state, "norm.bias": torch.full_like(state["norm.bias"], float("nan"))}, folder / "nan.pth")
    (folder / "huge.safetensors").write_bytes((100 * 10**9).to_bytes(8, "little") + b'{"a": 1}')

    class Hostile:
        def __reduce__(self):
            return os.system, (f"touch {folder / 'executed'}",)

    torch.save({"teacher": Hostile()}, folder / "hostile.pth")
    out = folder / "none.npz"
    for name, word in (("linear.pth", "a linear head"), ("half.pth", "zip archive"), ("nan.pth", "NaN"),
                       ("huge.safetensors", "too large"), ("hostile.pth", "not run")):
        message = program.refuses("embed", folder / name, folder / "square.png", "-o", out)
        assert word in message, message
        print(f"ok: {name}: {message.splitlines()[0]}")
    assert not (folder / "executed").exists(), "a pickle was executed"
    program.run("inspect", folder / "linear.pth")
    photo(folder / "second.png", 80, 64)
    base = timm.create_model("vit_base_patch16_224", num_classes=0, img_size=64).state_dict()
    torch.save(base, folder / "base.pth")
    message = program.refuses(
        "pretrain", folder / "*.png", "--init", folder / "base.pth", "-m", "vit_small", "-o", folder / "wrong")
    print(f"ok: ViT-B into ViT-S: {message.splitlines()[0]}")


def snippets(program: Program, folder: Path, run: Path) -> None:
    """Runs docs/python.md from top to bottom in one folder."""
    text = (ROOT / "docs" / "python.md").read_text()
    photo(folder / "photo.png", 300, 240)
    os.chdir(folder)
    Path("exports").mkdir()
    runs, ours, known = {"RUN": str(run), "RESNET": of_a_resnet(program, folder)}, None, {}
    for title, kind, block in blocks(text):
        if kind == "sh":
            for line in block.splitlines():
                words = [runs.get(word, word) for word in shlex.split(line)]
                assert words[0] == "dinoxide", line
                program.run(*words[1:])
                ours = numpy.load(words[words.index("-o") + 1])["embeddings"] if words[1] == "embed" else ours
            continue
        known.pop("features", None)
        exec(compile(block, "docs/python.md", "exec"), known)
        if "features" in known and title != "Features":
            agree(f"snippet of docs/python.md, {title}", ours, torch.as_tensor(known["features"]))
    assert len(known["optimizer"].state_dict()["state"]) > 0, "checkpoint.pth has no moments"
    same("checkpoint.pth, backbone of the teacher", known["backbone"], load_file("exports/backbone.safetensors"))
    program.runs_as_here(run, Path("exports/vit.onnx"))
    print("ok: every snippet of docs/python.md")


def of_a_resnet(program: Program, folder: Path) -> str:
    """A run of a few steps."""
    for number in range(6):
        photo(folder / f"resnet-{number}.png", 90 + number, 80)
    sizes = ("views.global.size=64", "views.local.size=32", "head.out_dim=64", "run.batch=3")
    program.run("pretrain", folder / "resnet-*.png", "-o", folder / "resnet", "-m", "resnet18", "-e", "2",
                *(part for size in sizes for part in ("--set", size)))
    return str(folder / "resnet")


def blocks(text: str) -> list:
    """Heading, language and text of every block."""
    found, title = [], ""
    for heading, kind, block in re.findall(r"^## ([^\n]*)$|^```(sh|python)\n(.*?)^```", text, re.M | re.S):
        title = heading or title
        if kind:
            found.append((title, kind, block))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dinoxide", type=Path, required=True)
    parser.add_argument("--run", type=Path, required=True, help="a finished run of a ViT with heads of 64")
    options = parser.parse_args()
    program, run = Program(options.dinoxide), options.run.resolve()
    with tempfile.TemporaryDirectory() as name, torch.inference_mode():
        folder = Path(name)
        from_others(program, folder)
        of_dinov2(program, folder)
        graphs_of_dinov2(program, folder)
        of_resnets(program, folder)
        of_xcits(program, folder)
        round_trips(program, folder)
        to_others(program, folder)
        wrong_files(program, folder)
    with tempfile.TemporaryDirectory() as name:
        heads(program, Path(name), run)
    with tempfile.TemporaryDirectory() as name:
        snippets(program, Path(name), run)
        os.chdir(ROOT)


if __name__ == "__main__":
    main()

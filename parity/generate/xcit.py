"""timm's XCiT on groups of images: features, gradients and running statistics, in f64; and with some images skipping branches."""

import networks
from store import save

# The network; then images, height, width of each group.
CASES = {
    "small_12_p16": ("xcit_small_12_p16", ((3, 64, 64), (2, 48, 80))),
    "small_12_p8": ("xcit_small_12_p8", ((2, 32, 32), (3, 24, 40))),
    "medium_24_p16": ("xcit_medium_24_p16", ((2, 48, 48),)),
    "drop_path": ("xcit_tiny", ((4, 32, 32), (6, 16, 24))),
}
# What skips: images of all groups that take a branch, and the factor, in the order of the branches: attention, local patch
# interaction, MLP; two blocks.
KEPT = [([0, 2, 3, 4, 7, 9], 1.25), ([1, 2, 5, 6, 8], 2.0), ([], 4.0), ([0, 1, 4], 1.5), None, ([4, 5, 6, 7, 8, 9], 1.0)]


def main() -> None:
    for case, (name, groups) in CASES.items():
        model, kept = networks.build(name), KEPT if case == "drop_path" else []
        for index, skip in enumerate(kept):
            if skip is not None:
                setattr(model.blocks[index // 3], ("drop_path1", "drop_path3", "drop_path2")[index % 3], networks.Skip(skip))
        tensors, worst = networks.look_twice(model, networks.filled(model), groups)
        print(case, "f32 is off by", worst)
        sizes = dict(networks.XCITS[name])
        facts = {"groups": groups, "patch": sizes.pop("patch_size"), **sizes, "kept": kept, "f32_relative_difference": worst}
        save("xcit", case, tensors, facts)


if __name__ == "__main__":
    main()

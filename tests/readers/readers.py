"""Reads what a run writes with the programs that its users have: TensorBoard and pandas.

    python tests/readers/readers.py RUN
"""

import io
import sys
from pathlib import Path

import pandas as pd
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator


def main(run: Path) -> None:
    rows = pd.read_json(run / "metrics.jsonl", lines=True)
    assert {"step", "loss", "entropy", "kl", "lr"} <= set(rows.columns), rows.columns
    steps = rows[rows["loss"].notna()]
    assert len(steps) > 1 and steps["step"].is_monotonic_increasing, "one row for each logged step, in order"

    events = EventAccumulator(str(run), size_guidance={"scalars": 0, "images": 0})
    events.Reload()
    tags = events.Tags()
    for tag in ("train/loss", "train/lr", "train/entropy", "eval/rank"):
        assert tag in tags["scalars"], f"TensorBoard does not see `{tag}`: {tags['scalars']}"
    seen = {event.step: event.value for event in events.Scalars("train/loss")}
    told = dict(zip(steps["step"], steps["loss"]))
    assert set(seen) == set(told), "TensorBoard sees other steps than metrics.jsonl has"
    assert all(abs(seen[step] - told[step]) < 1e-5 * abs(told[step]) for step in told), "other losses"
    for tag in ("attention", "pca", "neighbors", "map"):
        assert tag in tags["images"], f"TensorBoard does not see the pictures `{tag}`: {tags['images']}"
        picture = events.Images(tag)[-1]
        known = picture.encoded_image_string.startswith((b"\x89PNG", b"\xff\xd8"))
        assert known and picture.width > 0, tag
    print(f"ok: {len(told)} steps, {len(tags['scalars'])} curves, pictures {', '.join(tags['images'])}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))

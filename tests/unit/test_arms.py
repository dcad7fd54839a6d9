"""What kinds of kernels are called where they changed only some operations."""

import pandas as pd

from deadpixel.results import arms, pairs, render

COUNTS = {
    "nf": {"odd": (0, 5), "padded": (1, 4), "sliced": (2, 3)},
    "res": {"odd": (0, 8), "padded": (8, 0)},
}
TRF = pd.DataFrame(
    [
        (model, kernels, target, *counts)
        for model, kinds in COUNTS.items()
        for target in ("layer4", "output")
        for kernels, counts in kinds.items()
    ],
    columns=["model", "kernels", "target", "changed", "left_odd"],
)


def test_kernels_that_changed_in_part_say_how_many_operations() -> None:
    assert arms.label("padded", 1, 4) == "padded (1 of 5)"
    assert arms.label("padded", 5, 0) == "padded"
    assert arms.label("odd", 0, 5) == "odd"
    assert arms.label("redrawn", 0, 5) == "redrawn"  # stays odd by intention


def test_tables_are_read_with_labels_and_keep_their_kernels(tmp_path) -> None:
    rows = [("nf", "odd"), ("nf", "padded"), ("res", "padded"), (pairs.ALL_MODELS, "padded")]
    frame = pd.DataFrame(rows, columns=["model", "kernels"])
    shown = arms.labelled(frame, TRF)
    assert shown["kernels"].tolist() == [
        *("odd", "padded (1 of 5)", "padded", "padded (some in part)")
    ]
    table, paths = render.Table(render.MODEL, render.KERNELS), [tmp_path / "a.parquet"]
    paths += [tmp_path / "a.md", tmp_path / "a.html"]
    render.save(frame, table, {}, paths, shown=shown)
    assert pd.read_parquet(paths[0])["kernels"].tolist() == frame["kernels"].tolist()
    assert all("padded (1 of 5)" in path.read_text() for path in paths[1:])


def test_a_row_of_all_networks_is_simply_called_padded_if_each_of_them_is() -> None:
    frame = pd.DataFrame({"model": [pairs.ALL_MODELS], "kernels": ["padded"]})
    of_res = TRF[TRF["model"] == "res"]
    assert arms.labelled(frame, of_res)["kernels"].tolist() == ["padded"]


def test_titles_of_figures_name_each_kind_below_the_network() -> None:
    assert arms.titles(TRF) == {"nf": "nf\npadded (1 of 5)\nsliced (2 of 5)"}

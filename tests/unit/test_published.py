"""When the paper's numbers may stand beside ours."""

import pandas as pd
import pytest

from deadpixel.results import published

SETTINGS = published.SETTINGS


def _changed(part: str, name: str, value: object) -> dict:
    return {part: {**SETTINGS[part], name: value}}


def test_the_same_settings_differ_in_nothing() -> None:
    assert published.differences(SETTINGS) == {}
    assert published.note(1, {}) == []


@pytest.mark.parametrize(
    ("part", "name"), [(part, name) for part, settings in SETTINGS.items() for name in settings]
)
def test_every_setting_counts(part: str, name: str) -> None:
    """It is named, with its value here and there."""
    differ = published.differences(_changed(part, name, "another"))
    assert differ == {name: f"{name}: another instead of {SETTINGS[part][name]}"}
    (note,) = published.note(3, differ)
    assert "Table 3" in note and differ[name] in note


def test_a_setting_that_is_not_given_is_no_agreement() -> None:
    with pytest.raises(KeyError, match="epochs"):
        published.differences({"micro-object": published._TRAINING})


def test_numbers_are_those_of_the_network_whatever_its_name() -> None:
    """An own file of the name of one of the paper's is no network of the paper."""
    networks = {"mine": "resnet50", "resnet18": "nets/a.py:build", "resnet34": "resnet34"}
    rows = published.beside(1, networks, {})
    assert [*rows.index] == ["mine", "resnet34"]
    assert rows.loc["mine", ["acc1", "trf", "sigma_x"]].tolist() == [76.13, 427, 64.82]
    assert rows.notna().all(axis=None)


@pytest.mark.parametrize(
    ("differ", "left"),
    [
        ({"data set"}, {"trf"}),
        ({"weights", "epochs"}, {"trf"}),
        ({"target"}, set()),
        ({"crop", "weights"}, set()),
    ],
)
def test_nothing_measured_stands_beside_something_else(differ: set[str], left: set[str]) -> None:
    """The theoretical size does, which neither data nor weights change."""
    for number in (1, 2):
        rows = published.beside(number, {"resnet50": "resnet50"}, differ)
        assert {name for name in rows if rows[name].notna().all()} == left
        assert {name for name in rows if rows[name].notna().any()} == left
    for number in (3, 4):
        rows = published.beside(number, {"resnet101": "resnet101"}, differ)
        assert rows.isna().all(axis=None) and [*rows] == ["before", "after"]


def test_the_paper_itself_is_left_as_it_is() -> None:
    published.beside(1, {"resnet50": "resnet50"}, {"weights"})
    assert published.table(1).notna().all(axis=None)
    assert isinstance(published.table(4), pd.DataFrame)


def test_the_papers_settings_are_the_papers() -> None:
    """As it prints them, and as config.yaml has them."""
    assert SETTINGS["fine-tuning"]["epochs"] == 200 and SETTINGS["micro-object"]["epochs"] == 50
    for experiment in ("fine-tuning", "micro-object"):
        recipe = ("data set", "batch size", "learning rate", "momentum", "weight decay")
        assert [SETTINGS[experiment][name] for name in recipe] == [
            *("caltech101", 64, 0.01, 0.9, 0.0005)
        ]
    assert SETTINGS["size test"]["data set"] == "cub200"
    assert (SETTINGS["micro-object"]["square"], SETTINGS["micro-object"]["threshold"]) == (8, 0.9)

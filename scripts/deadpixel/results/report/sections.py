"""The sections of the page, in the order of the paper: an experiment adds one entry to `SECTIONS`.

What of a section is not there, or the whole of it, is left out.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from ...files import schemas
from .. import causes, explained, fields, microobject, shape_test, size_test
from ..probes.attacks import ATTACKS
from ..probes.linear import LINEAR
from ..probes.places import PLACES
from ..probes.saliency import SALIENCY
from ..probes.shifts import AT_CONFIDENCE, SHIFTS, SPECTRUM
from ..render import NUMBER, TEXT, WHOLE, Column, Table
from ..survey import SURVEY
from . import findings
from .run import Run

Finding = Callable[[Run], Iterator[str]]


@dataclass(frozen=True)
class Listed:
    """A table of the page: its file, which may be one of several, and what it is called."""

    file: str
    table: Table
    title: str


@dataclass(frozen=True)
class Drawn:
    """A figure of the page: its PNG file, which may be one of several, and what it shows."""

    file: str
    caption: str


@dataclass(frozen=True)
class Section:
    """What one experiment has for the page.

    short: its title, for a menu. question: that it asks. headlines: its sentences on the first
    page; findings: further ones of its own. settings: name of those in the metadata of its tables
    that say which data and weights it is of.
    """

    name: str
    short: str
    title: str
    question: str
    headlines: tuple[Finding, ...] = ()
    findings: tuple[Finding, ...] = ()
    tables: tuple[Listed, ...] = ()
    figures: tuple[Drawn, ...] = ()
    settings: str = ""


_SEEN = "tables/seen/{}/*/explained.parquet"
COSTS = Table(
    Column("rule", TEXT, "rule"),
    Column("jobs", WHOLE, "jobs"),
    Column("predicted", NUMBER, "predicted (min)", decimals=1),
    Column("measured", NUMBER, "measured (min)", decimals=1),
)
PLAN = "plan.parquet"
SECTIONS = (
    Section(
        "size_test",
        "Size test",
        "Size test",
        "Does the size of a receptive field, theoretical or effective, tell how accurate a network "
        "is?",
        (findings.theoretical_size, findings.correlation, findings.unevenness),
        (findings.images_enough,),
        tables=(
            Listed("tables/table1.parquet", size_test.TABLE1, "Table 1: size and accuracy"),
            Listed("tables/correlations.parquet", size_test.CORRELATIONS, "Rank correlations"),
            Listed("tables/table2.parquet", shape_test.TABLE2, "Table 2: after fine-tuning"),
        ),
        figures=(
            Drawn(
                "figures/size_against_accuracy.png",
                "Accuracy over each size, and their rank correlations.",
            ),
            Drawn(
                "figures/convergence/size_test.png",
                "How many images are enough: width and unevenness of every map, with standard "
                "errors. Unevenness falls as noise does.",
            ),
        ),
        settings="size test",
    ),
    Section(
        "shape_test",
        "Shape test",
        "Shape test",
        "Odd kernels with stride 2 see some pixels more often than others. What changes when they "
        "are padded to even ones?",
        (findings.padding_and_the_tile, findings.edges, findings.accuracy),
        tables=(
            Listed("tables/table3.parquet", shape_test.TABLE3, "Table 3: before and after padding"),
            Listed("tables/finetune_runs.parquet", shape_test.RUNS, "Every run"),
            Listed("tables/receptive_fields.parquet", fields.FIELDS, "Every map"),
            Listed("tables/targets.parquet", fields.TARGETS, "Every target"),
        ),
        figures=(
            Drawn(
                "figures/fig1.png",
                "Fig. 1: maps of one network with odd and with padded kernels, and their tiles.",
            ),
            Drawn("figures/fig2.png", "Fig. 2: in how many windows a pixel lies."),
            Drawn("figures/fig3.png", "Fig. 3: a kernel before and after fine-tuning."),
            Drawn("figures/fig4.png", "Fig. 4: unevenness before and after, with its noise."),
            Drawn("figures/accuracies.png", "Test accuracy of every run, seeds joined."),
            Drawn("figures/training_curves.png", "The course of every run."),
            Drawn(
                "figures/convergence/shape_test.png",
                "How many images are enough: width and unevenness of every map.",
            ),
        ),
        settings="fine-tuning",
    ),
    Section(
        "microobject",
        "Micro-object",
        "What dead pixels do: a small square",
        "A network learns to tell images with a small square of one colour from those with the "
        "other. Does it see the square sooner with even kernels?",
        (findings.micro_object,),
        (findings.where_seen,),
        tables=(
            Listed(
                "tables/table4.parquet",
                microobject.TABLE4,
                "Table 4: epochs until the square is seen",
            ),
            Listed("tables/first_epochs.parquet", microobject.FIRST_EPOCHS, "Every run"),
            Listed(_SEEN.format("microobject"), explained.EXPLAINED, "Where it is seen"),
        ),
        figures=(
            Drawn("figures/fig5.png", "Fig. 5: test accuracy over epochs."),
            Drawn("figures/seen/microobject/*.png", "Where the square is seen."),
        ),
        settings="micro-object",
    ),
    Section(
        "causes",
        "Causes",
        "What dead pixels do: which part of padding matters",
        "Padding ends the checkerboard, but it also lets all edges be seen and changes shortcuts "
        "and weights. Arms that change one thing each tell these apart.",
        (findings.contrasts_in_short,),
        (findings.contrasts,),
        tables=(
            Listed("tables/causes.parquet", causes.CONTRASTS, "Contrasts"),
            Listed("tables/causes_arms.parquet", causes.ARMS, "Arms"),
            Listed("tables/causes_runs.parquet", causes.RUNS, "Every run"),
            Listed(_SEEN.format("causes"), explained.EXPLAINED, "Where the square is seen"),
        ),
        figures=(
            Drawn("figures/causes.png", "Every run by arm, and every contrast."),
            Drawn("figures/seen/causes/*.png", "Where the square is seen."),
        ),
        settings="micro-object",
    ),
    Section(
        "probes",
        "Probes",
        "What dead pixels do: the linear model, changes, shifts, attacks, saliency",
        "To first order a network acts like a fixed linear model whose weight at a pixel is R. Do "
        "strong pixels count more than weak ones, whatever is done to them?",
        (findings.probed_pixels, findings.probed_logits),
        (findings.attacked, findings.saliency_contrast),
        tables=(
            Listed("tables/probes_linear.parquet", LINEAR, "The fixed linear model"),
            Listed("tables/probes_places.parquet", PLACES, "Changes on strong and weak pixels"),
            Listed("tables/probes_shifts.parquet", SHIFTS, "Moved images"),
            Listed("tables/probes_confidence.parquet", AT_CONFIDENCE, "At equal confidence"),
            Listed("tables/probes_spectrum.parquet", SPECTRUM, "Periods of the logit"),
            Listed("tables/probes_attacks.parquet", ATTACKS, "One-pixel attacks"),
            Listed("tables/probes_saliency.parquet", SALIENCY, "Saliency maps"),
        ),
        figures=(
            Drawn("figures/probes.png", "All probes, 95 % intervals over images."),
            Drawn("figures/saliency.png", "Gradient saliency over one image, and corrections."),
        ),
        settings="probes",
    ),
    Section(
        "survey",
        "Survey",
        "Which networks have dead pixels",
        "How unevenly a network can see follows from its strides and kernels. Which networks have "
        "pixels that they hardly see, and does padding even them out?",
        (findings.surveyed,),
        tables=(Listed("tables/survey.parquet", SURVEY, "Every network and kind of kernels"),),
        figures=(Drawn("figures/survey.png", "Networks by their contrast, and their tiles."),),
    ),
)


def costs(run: Run) -> pd.DataFrame | None:
    """Rows of `COSTS`, if there was a plan: minutes of all jobs of each rule."""
    if not run.names(PLAN):
        return None
    jobs = run.rows(PLAN, schemas.PLAN)
    groups = jobs.groupby("rule", sort=False)
    minutes = {
        name: groups[f"{name}_seconds"].agg(lambda own: own.sum(skipna=False)) / 60
        for name in ("predicted", "measured")
    }
    found = pd.DataFrame({"jobs": groups.size(), **minutes}).reset_index()
    return found.sort_values("predicted", ascending=False)[COSTS.names]  # pyright: ignore[reportReturnType]


_DATA = {
    "synthetic": "synthetic images, drawn by this workflow: no photographs",
    "cub200": "CUB-200-2011, photographs of birds",
    "caltech101": "Caltech-101, photographs of objects",
    "folder": "your own folder of images",
}
_WEIGHTS = {
    "imagenet": "weights trained on ImageNet and published",
    "calibrated": "weights drawn at random and never trained; only their batch-norm statistics "
    "were measured, on these images",
    "file": "weights from a file of yours",
    "finetuned": "those of the shape test, fine-tuned there",
}


def basis(settings: Mapping[str, Any]) -> str:
    """Which data and weights results are of, by the settings in their files."""
    data = _DATA.get(settings["data set"], settings["data set"])
    weights = settings.get("weights")
    epochs = settings.get("epochs")
    parts = [f"Images: {data}."]
    if weights and epochs:
        parts.append(f"Trained for {epochs} epochs from {_WEIGHTS.get(weights, weights)}.")
    elif weights:
        parts.append(f"Networks: {_WEIGHTS.get(weights, weights)}.")
    elif epochs:
        parts.append(f"Trained from scratch, at most {epochs} epochs.")
    return " ".join(parts)

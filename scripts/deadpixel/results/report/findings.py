"""What a run found, in sentences with numbers and intervals, each from a table that is there.

Every function yields the sentences of one question, none where the run has no answer.
"""

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pandas as pd
from scipy.special import stdtrit

from ...files import schemas
from ...imbalance import CLEAR, PERIOD
from ...probes.places import DISTURBED
from ...surgery.kinds import ODD
from .. import causes, convergence, pairs, size_test, stats
from ..explained import EXPLAINED
from ..fields import FIELDS
from ..microobject import TABLE4
from ..probes.attacks import ATTACKS
from ..probes.linear import LINEAR
from ..probes.places import PLACES
from ..probes.saliency import SALIENCY
from ..render import Row, Table
from ..shape_test import TABLE3
from ..survey import SURVEY
from .run import Run

_LOGITS = "output"  # whose map is wide enough to have a tile and edges
ENOUGH_P = 0.05


def words(names: Sequence[str]) -> str:
    """``a``, ``a and b``, ``a, b and c``."""
    *others, last = names
    return f"{', '.join(others)} and {last}" if others else last


def _rows(run: Run, name: str, table: Table) -> Any:
    """Rows of a table, none if it is not there."""
    found = run.table(f"tables/{name}.parquet", table)
    return pd.DataFrame(columns=table.names) if found is None else found.rows


def _logits(run: Run, weights: str | None = None) -> Any:
    """Rows of the logits' maps: of fine-tuned networks, or without `weights` of all others."""
    rows = _rows(run, "receptive_fields", FIELDS)
    chosen = rows["weights"] == weights if weights else rows["weights"] != "finetuned"
    return rows[chosen & (rows["target"] == _LOGITS)]


def theoretical_size(run: Run) -> Iterator[str]:
    """How many networks have the paper's."""
    known = _rows(run, "table1", size_test.TABLE1).dropna(subset=["trf", "paper_trf"])
    if len(known):
        same = known["trf"] == known["paper_trf"]
        whose = words([*known["model"]]) if same.all() else f"{same.sum()} of {len(known)} networks"
        yield f"The theoretical size of {whose} is the paper's, to the pixel."


def correlation(run: Run) -> Iterator[str]:
    """Whether size tells accuracy."""
    rows = _rows(run, "correlations", size_test.CORRELATIONS).dropna(subset=["kendall"])
    ours = rows[rows["source"] == size_test.OURS]
    for row in ours.to_dict("records"):
        tells = "goes with" if row["kendall_p"] <= ENOUGH_P else "does not tell"
        yield f"Over {_counted(row['n'], 'network')} {_correlated(row, tells)}."
    theirs = rows[(rows["source"] == size_test.NINE) & (rows["size"] == "trf")]
    for row in theirs.to_dict("records") if ours.empty else ():
        yield (
            "No accuracy is published of these weights, so none is correlated with our sizes. In "
            f"the paper's own numbers of nine networks {_correlated(row, 'does not tell')}."
        )


def _correlated(row: Row, tells: str) -> str:
    size = size_test.SIZES[row["size"]].removesuffix(" (px)")
    exact = "exact " if row["exact"] else ""
    return (
        f"the {size} {tells} the accuracy: Kendall's τ {_signed(row['kendall'], 2)}, "
        f"{exact}{_p(row['kendall_p'])}"
    )


def unevenness(run: Run) -> Iterator[str]:
    """Contrast of the tile of networks as they came."""
    rows = _logits(run)
    known = rows[rows["kernels"] == ODD].dropna(subset=["contrast_unbiased_se"])
    clear = known["contrast_unbiased"] > CLEAR * known["contrast_unbiased_se"]
    uneven, even = known[clear], known[~clear]
    if len(uneven):
        sizes = [_with_error(row, "contrast_unbiased", 3) for row in uneven.to_dict("records")]
        yield (
            f"{_sees(uneven)} pixels unevenly: by their place in a tile of {PERIOD} px the "
            f"sensitivity of the logits deviates by {words(sizes)} from that of the pixels around "
            "(root mean square, as a share)."
        )
    if len(even):
        yield f"{_sees(even)} pixels evenly, as far as the errors tell."


def _sees(rows: Any) -> str:
    return f"{words([*rows['model']])} {'sees' if len(rows) == 1 else 'see'}"


def images_enough(run: Run) -> Iterator[str]:
    """After how many images the maps of networks as they came are precise."""
    courses = [course for name, course in _courses(run) if "/weights=finetuned/" not in name]
    if not courses:
        return
    enough = [convergence.images_enough(course, convergence.SHARE) for course in courses]
    known = [number for number in enough if number]
    every = max(int(course["n_images"].max()) for course in courses)
    unfit = sum(bool(np.isnan(course["sigma_x"].iloc[-1])) for course in courses)
    imprecise = len(courses) - len(known) - unfit
    errors = "the standard errors of σ and L1"
    below = f"below {100 * convergence.SHARE:g} %"
    said = []
    if known:
        whose = (
            "every map" if len(known) == len(courses) else f"{len(known)} of {len(courses)} maps"
        )
        said.append(f"after {max(known)} images {errors} of {whose} are {below}")
    if imprecise and known:
        said.append(f"for {imprecise if unfit else 'the others'} {every} are too few")
    elif imprecise:
        said.append(f"{every} images are too few for {errors} of any map to be {below}")
    if unfit:
        said.append(f"no Gaussian fits {unfit} of {len(courses)} maps")
    first, *rest = said
    yield "; ".join([first[0].upper() + first[1:], *rest]) + "."


def _courses(run: Run) -> Iterator[tuple[str, Any]]:
    """Rows of `schemas.CONVERGENCE` of each map, with the name of their file."""
    for name in run.names("convergence/*.parquet"):
        for _, course in run.rows(name, schemas.CONVERGENCE).groupby("target", sort=False):
            yield name, course


def _standard_errors(run: Run) -> float:
    """How many of them a 95 % interval of a map takes: Student's t, of errors over its blocks."""
    blocks = [course["n_blocks"].max() for _, course in _courses(run)]
    return float(stdtrit(min(blocks, default=math.inf) - 1, 0.975))


def padding_and_the_tile(run: Run) -> Iterator[str]:
    """What a change of kernels does to the contrast of the tile."""
    name, rows = "contrast_unbiased", _logits(run, "finetuned").assign(seed=0)
    standard_errors = _standard_errors(run)
    for kernels, both in pairs.by_seed(rows):
        before, after = (both[f"{name}_{when}"].to_numpy() for when in ("before", "after"))
        errors = np.hypot(*(both[f"{name}_se_{when}"].to_numpy() for when in ("before", "after")))
        differences = [
            (f"In {model}", of_odd, of_kernels, standard_errors * error)
            for model, of_odd, of_kernels, error in zip(
                both["model"], before, after, errors, strict=True
            )
            if np.isfinite(error)
        ]
        mean = stats.mean_difference(before, after)
        if mean.n >= pairs.INTERVAL_PAIRS:
            on_average = f"On average over {mean.n} networks"
            differences = [(on_average, before.mean(), after.mean(), mean.high - mean.mean)]
        for where, of_odd, of_kernels, reach in differences:
            difference = of_kernels - of_odd
            is_shown = abs(difference) > reach
            verb = (
                ("raise" if difference > 0 else "lower") if is_shown else "are not shown to change"
            )
            ends = " to ".join(_minus(f"{difference + end:.3f}") for end in (-reach, reach))
            yield (
                f"{where}, {kernels} kernels {verb} the contrast of the tile: {of_kernels:.3f} "
                f"instead of {of_odd:.3f} (95 % interval of the difference {ends})."
            )


def edges(run: Run) -> Iterator[str]:
    """Which edge counts less, with each kind of kernels."""
    for weights in ("finetuned", None):
        rows = _logits(run, weights).dropna(subset=["asymmetry_x_se"])
        said = [_edge(row, _standard_errors(run)) for row in rows.to_dict("records")]
        if said:
            yield f"In {'; in '.join(said)}."
            return


def _edge(row: Row, standard_errors: float) -> str:
    differ = abs(row["asymmetry_x"]) > standard_errors * row["asymmetry_x_se"]
    left, right = (_with_error(row, f"edge_{side}", 2) for side in ("left", "right"))
    return (
        f"{row['model']} with {row['kernels']} kernels the left edge counts {left} of the middle, "
        f"the right one {right}{'' if differ else ' (no difference is shown)'}"
    )


def accuracy(run: Run) -> Iterator[str]:
    """What a change of kernels does to the accuracy after fine-tuning."""
    for row in _overall(_rows(run, "table3", TABLE3)):
        more = "higher" if row["difference"] > 0 else "lower"
        size = f"{abs(row['difference']):.2f} points {more}" if row["difference"] else "the same"
        yield (
            f"After fine-tuning with {row['kernels']} kernels {_where(row)} the test accuracy is "
            f"{size}: {row['after']:.2f} % instead of {row['before']:.2f} % "
            f"({_evidence(row, 'signflip')})."
        )


def micro_object(run: Run) -> Iterator[str]:
    """How soon a square is seen."""
    for row in _overall(_rows(run, "table4", TABLE4)):
        if not row["seen"]:
            yield f"No run {_where(row)} saw the square in time: there is nothing to compare."
            continue
        difference = row["epochs_difference"]
        more = "later" if difference > 0 else "sooner"
        size = f"{abs(difference):.1f} epochs {more}" if difference else "as soon"
        yield (
            f"With {row['kernels']} kernels {_where(row)} the square is seen {size}{_bound(row)}: "
            f"after {row['epochs_after']:.1f} epochs instead of {row['epochs_before']:.1f} "
            f"({_evidence(row, 'logrank')})."
        )


def _bound(row: Row) -> str:
    """Runs that never see the square count with their last epoch, which is too soon."""
    before, after = row["unseen_before"] > 0, row["unseen_after"] > 0
    if (before and after) or ((before or after) and not row["epochs_difference"]):
        return ", as far as runs that did not see it in time can tell"
    if before or after:
        return ", at least" if after == (row["epochs_difference"] > 0) else ", at most"
    return ""


def _overall(rows: Any) -> Iterator[dict[str, Any]]:
    """For each kind of kernels the row of all networks, or that of each if there is none."""
    for _, of_kind in rows.groupby("kernels", sort=False):
        overall = of_kind[of_kind["model"] == pairs.ALL_MODELS]
        yield from (overall if len(overall) else of_kind).to_dict("records")


def _where(row: Row) -> str:
    several = row["model"] == pairs.ALL_MODELS
    return f"in {row['n_pairs']} networks" if several else f"in {row['model']}"


def _evidence(row: Row, test: str) -> str:
    """Interval and p-value, as far as there are any."""
    unit = "network" if row["model"] == pairs.ALL_MODELS else "seed"
    known = [_counted(row["n_pairs"], unit)]
    if pd.notna(row["low"]):
        ends = " to ".join(_minus(f"{row[end]:.2f}") for end in ("low", "high"))
        known.append(f"95 % interval of the difference {ends}")
    if pd.notna(row[f"{test}_p"]):
        smallest = row[f"{test}_smallest_p"]
        below = f", and no p below {smallest:.2g} is possible" if smallest > ENOUGH_P else ""
        known.append(f"{_p(row[f'{test}_p'])}{below}")
    of_images: Any = row.get("mcnemar_p")
    if pd.notna(of_images):
        known.append(f"over the images of the first seed McNemar's {_p(of_images)}")
    return "; ".join(known)


def contrasts(run: Run) -> Iterator[str]:
    """What of padding makes a difference, each contrast by itself."""
    yield from causes.in_words(_rows(run, "causes", causes.CONTRASTS))


def contrasts_in_short(run: Run) -> Iterator[str]:
    """Which of the contrasts make a difference to how soon the square is seen."""
    rows = _rows(run, "causes", causes.CONTRASTS)
    whole = rows[rows["measure"] == "first_epoch"].drop_duplicates(["model", "contrast"])
    for model, of_model in whole.groupby("model", sort=False):
        level = of_model["level"].iloc[0]  # that of each contrast of the experiment
        shown = of_model["signflip_p"] <= level
        named = words([*of_model["contrast"][shown]]) if shown.any() else "none"
        least = of_model["signflip_smallest_p"].min()
        few = f" With so few seeds no p below {least:.2g} is possible."
        yield (
            f"Of the contrasts in {model} ({words([*of_model['contrast']])}) {named} is shown to "
            "change how soon the square is seen." + (few if least > level else "")
        )


def where_seen(run: Run) -> Iterator[str]:
    """What explains where the square is seen."""
    for name in run.names("tables/seen/microobject/*/explained.parquet"):
        rows: Any = run.rows(name, EXPLAINED.schema).dropna(subset=["explained"])
        for (model, kernels), both in rows.groupby(["model", "kernels"], sort=False):
            share = both.set_index("predictor")["explained"]
            if {"phase", "edge"} <= {*share.index}:
                yield (
                    f"Of which squares {model} with {kernels} kernels sees, the tile under them "
                    f"explains {100 * share['phase']:.1f} % and the edges "
                    f"{100 * share['edge']:.1f} % (of the deviance, by themselves)."
                )


def probed_pixels(run: Run) -> Iterator[str]:
    """Whether the smallest disturbance counts more on strong pixels than on weak ones."""
    rows: Any = _rows(run, "probes_places", PLACES)
    rows = rows[rows["kind"] == DISTURBED]
    for (model, kernels), sizes in rows.groupby(["model", "kernels"], sort=False):
        row = sizes.sort_values("size").iloc[0]
        known = row["ratio_low"] > 1 or row["ratio_high"] < 1
        yield (
            f"In {model} with {kernels} kernels the same small disturbance moves the logit "
            f"{row['ratio']:.2f} times as far on the strongest tenth of the pixels as on the "
            f"weakest (95 % {row['ratio_low']:.2f} to {row['ratio_high']:.2f}"
            f"{'' if known else ': no difference is shown'}); R says {row['expected']:.2f}."
        )


def probed_logits(run: Run) -> Iterator[str]:
    """How much the fixed linear model explains."""
    rows: Any = _rows(run, "probes_linear", LINEAR)
    for row in rows[rows["by"] == "by_field"].to_dict("records"):
        yield (
            f"The fixed linear model of R explains R² {_signed(row['r_squared'], 2)} of the logits "
            f"of {row['model']} with {row['kernels']} kernels over images (correlation "
            f"{_signed(row['correlation'], 2)}, 95 % {_signed(row['correlation_low'], 2)} to "
            f"{_signed(row['correlation_high'], 2)})."
        )


def attacked(run: Run) -> Iterator[str]:
    """Whether strong pixels are easier to attack."""
    rows: Any = _rows(run, "probes_attacks", ATTACKS)
    for (model, kernels), of_network in rows.groupby(["model", "kernels"], sort=False):
        by = of_network.set_index("places")
        strong, weak = by.loc["strong"], by.loc["weak"]
        yield (
            f"A one-pixel attack on {model} with {kernels} kernels succeeds on "
            f"{strong['succeeded']:.0f} % of {strong['n_images']} images by strong pixels, on "
            f"{weak['succeeded']:.0f} % by weak ones (McNemar's {_p(strong['mcnemar_p'])})."
        )


def surveyed(run: Run) -> Iterator[str]:
    """Which network sees most unevenly, which least, and what padding does."""
    known: Any = _rows(run, "survey", SURVEY).dropna(subset=["contrast"])
    odd, padded = (known[known["kernels"] == kind].set_index("network") for kind in (ODD, "padded"))
    if odd.empty:
        return
    most, least = odd["contrast"].idxmax(), odd["contrast"].idxmin()
    yield (
        f"Of {len(odd)} networks with random weights {most} is expected to see most unevenly "
        f"(contrast {odd.loc[most, 'contrast']:.3f}, "
        f"{100 * odd.loc[most, 'weakest_share']:.0f} % of its pixels under half of the mean) and "
        f"{least} least ({odd.loc[least, 'contrast']:.3f})."
    )
    if len(padded):
        before = odd.loc[padded.index, "contrast"]
        yield (
            f"With padded kernels the contrast of {len(padded)} of them is at most "
            f"{padded['contrast'].max():.3f}, with odd ones at least {before.min():.3f}."
        )


def saliency_contrast(run: Run) -> Iterator[str]:
    """The checkerboard of gradient maps, before and after a division by the tile of R."""
    rows: Any = _rows(run, "probes_saliency", SALIENCY)
    of_gradient = rows[rows["saliency"] == "gradient"]
    for (model, kernels), maps in of_gradient.groupby(["model", "kernels"], sort=False):
        by = maps.set_index("correction")["contrast"]
        yield (
            f"Gradient maps of {model} with {kernels} kernels have a tile contrast of "
            f"{by['none']:.3f}; divided by the mean tile of R of other images, {by['tile']:.3f}."
        )


def _with_error(row: Row, name: str, decimals: int) -> str:
    return f"{row[name]:.{decimals}f} ± {row[f'{name}_se']:.{decimals}f}"


def _signed(value: float, decimals: int) -> str:
    return _minus(f"{value:+.{decimals}f}")


def _minus(number: str) -> str:
    return number.replace("-", "−")


def _p(value: float) -> str:
    return "p < 0.001" if value < 0.0005 else f"p = {value:.3f}"


def _counted(number: int, thing: str) -> str:
    return f"{number} {thing}{'s' if number != 1 else ''}"

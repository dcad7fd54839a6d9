"""The page of a run, put together."""

import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ...files.maps import StoredField
from ...imbalance import mean_tile, tile_period
from .. import erf_maps, pages, render
from ..style import DIVERGING, SEQUENTIAL
from . import explorer, pictures, sections
from .comparison import compared
from .findings import ENOUGH_P, words
from .run import Filled, Run
from .sections import SECTIONS, Section

_LEVELS = 256  # of the explorer's colour scales


def page(run: Run) -> str:
    """HTML that needs no other file; raises `InputError` for results that cannot be read."""
    maps = run.maps()
    shown = [_section(run, section) for section in SECTIONS]
    shown = [section for section in shown if section["tables"] or section["figures"]]
    hero = _hero(maps)
    held, left_out = explorer.fitting(maps.values())
    return pages.page(
        "report.html",
        sections=shown,
        limits=[*_limits(run, shown)],
        made_with=_made_with(run),
        hero=hero,
        gallery=[*_gallery(run, maps)],
        costs=_costs(run),
        explorer=_explorer(held, [one["id"] for one in hero]),
        left_out=left_out,
    )


def _section(run: Run, section: Section) -> dict[str, Any]:
    tables = [*_tables(run, section)]
    settings = [found.settings.get(section.settings) for found, _ in tables]
    return {
        "name": section.name,
        "short": section.short,
        "title": section.title,
        "question": section.question,
        "basis": next((sections.basis(known) for known in settings if known), ""),
        "headlines": [said for find in section.headlines for said in find(run)],
        "findings": [said for find in section.findings for said in find(run)],
        "tables": [shown for _, shown in tables],
        "figures": [*_figures(run, section)],
        "smallest_p": _smallest_p([found.rows for found, _ in tables]),
    }


def _figures(run: Run, section: Section) -> Iterator[dict[str, Any]]:
    for drawn in section.figures:
        for name in run.names(drawn.file):
            picture, width = pictures.of_figure(run.path(name))
            caption = drawn.caption + _which(drawn.file, name)
            shown = {"picture": picture, "width": width}
            yield {**shown, "caption": caption, "link": run.link(name)}


def _tables(run: Run, section: Section) -> Iterator[tuple[Filled, dict[str, Any]]]:
    for listed in section.tables:
        for name in run.names(listed.file):
            found = run.table(name, listed.table)
            if found and len(found.rows):
                rows, table = compared(found.shown, listed.table)
                yield (
                    found,
                    {
                        "title": listed.title + _which(listed.file, name),
                        "columns": render.readable(rows, table),
                        "notes": found.notes,
                        "link": run.link(name),
                    },
                )


def _which(pattern: str, name: str) -> str:
    """Of one of several files, what stands for the asterisk."""
    before, star, after = pattern.partition("*")
    return f" ({name.removeprefix(before).removesuffix(after)})" if star else ""


def _smallest_p(tables: list[pd.DataFrame]) -> float:
    """The smallest p-value that runs of these tables could give; NaN without a test."""
    found = [rows.filter(regex="_smallest_p$").to_numpy(float).ravel() for rows in tables]
    return min((float(p) for p in np.concatenate([[], *found]) if p >= 0), default=math.nan)


def _limits(run: Run, shown: list[dict[str, Any]]) -> Iterator[str]:
    """What the numbers cannot say."""
    few = [section for section in shown if section["smallest_p"] > ENOUGH_P]
    if few:
        smallest = [f"{section['smallest_p']:.2g} ({section['short']})" for section in few]
        yield (
            f"With so few runs no p-value below {words(smallest)} is possible: no difference, "
            "however large, could be told from chance. Intervals over runs are Student's t, which "
            "takes differences for normally distributed; the p-values do not."
        )
    if run.names("tables/table3.parquet"):
        yield (
            "Errors and intervals of maps are over images, of one trained network each: they do "
            "not say how another seed would come out."
        )
    yield (
        "p-values are each of one comparison by itself, not corrected for how many there are; only "
        "the contrasts of a network, in the table of causes, share their 5 %."
    )


def _made_with(run: Run) -> str:
    """Versions and commit of the code, by the first table."""
    facts = next(map(run.facts, run.names("tables/*.parquet")), {})
    versions = [f"{name} {version}" for name, version in facts.get("versions", {}).items()]
    commit = facts.get("git_commit")
    return ", ".join([*versions, *([f"commit {commit}"] if commit else [])])


def _costs(run: Run) -> dict[str, Any] | None:
    rows = sections.costs(run)
    if rows is None:
        return None
    return {"columns": render.readable(rows, sections.COSTS), "link": run.link(sections.PLAN)}


def _hero(maps: Mapping[str, StoredField]) -> list[dict[str, Any]]:
    """Maps of the logits and their tiles: before and after padding where there are both."""
    chosen = _logits(maps, "finetuned") or _logits(maps, None)
    if not chosen:
        return []
    model = chosen[0][1].key["model"]
    of_model = [(name, field) for name, field in chosen if field.key["model"] == model][:2]
    tiles = {name: mean_tile(field.mean, tile_period(field.mean.shape)) for name, field in of_model}
    reach = max(float(np.abs(np.nan_to_num(tile - 1)).max()) for tile in tiles.values())
    return [
        {
            "id": explorer.id_of(field),
            "model": model,
            "kernels": field.key["kernels"],
            "images": field.n_images,
            "map": pictures.of_map(field.mean),
            "tile": pictures.of_tile(tiles[name], reach),
            "side": len(tiles[name]),
            "low": f"{1 - reach:.2f}",
            "high": f"{1 + reach:.2f}",
        }
        for name, field in of_model
    ]


def _logits(maps: Mapping[str, StoredField], weights: str | None) -> list[tuple[str, StoredField]]:
    """Those of odd and padded kernels; fine-tuned ones, or all others."""
    return [
        (name, field)
        for name, field in maps.items()
        if field.key["target"] == "output"
        and field.key["kernels"] in ("odd", "padded")
        and (field.key["weights"] == weights if weights else field.key["weights"] != "finetuned")
    ]


def _gallery(run: Run, maps: Mapping[str, StoredField]) -> Iterator[dict[str, Any]]:
    """Every network with its maps."""
    networks: dict[tuple[str, ...], list[str]] = {}
    for name, field in maps.items():
        key = tuple(field.key[part] for part in ("model", "weights", "kernels", "dataset"))
        networks.setdefault(key, []).append(name)
    for (model, weights, kernels, dataset), names in networks.items():
        yield {
            "title": f"{model}, {kernels} kernels",
            "of": f"{weights} weights, {maps[names[0]].n_images} images of {dataset}",
            "figures": [
                {"experiment": Path(figure).parent.name, "link": run.link(figure)}
                for figure in run.names(f"figures/erf_maps/*/{model}.png")
            ],
            "maps": [
                {
                    "name": name,
                    "id": explorer.id_of(maps[name]),
                    "target": maps[name].key["target"],
                    "picture": pictures.small(maps[name].mean),
                    "link": run.link(name),
                }
                for name in names
            ],
        }


def _explorer(held: Mapping[str, Any], start: list[str]) -> dict[str, Any]:
    return {
        "start": start,
        "steps": explorer.STEPS,
        "error_steps": explorer.ERROR_STEPS,
        "brightest": erf_maps.BRIGHTEST,
        "colours": {
            name: pictures.palette(scale, _LEVELS)
            for name, scale in {
                "positive": SEQUENTIAL,
                "signed": DIVERGING,
                "tile": DIVERGING,
            }.items()
        },
        "maps": held,
    }

"""All probes of one network, block by block of its images."""

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from ..errors import InputError
from ..features import in_evaluation
from ..logs import log, progress
from ..reading import read
from ..targets import OUTPUT, Target
from . import changes, linear, pointing, shift
from .answers import answers
from .attack import attack
from .corrections import CORRECTIONS, corrected
from .places import GROUPS, Phases, phases
from .saliency import SALIENCIES, NoReluError, saliency

if TYPE_CHECKING:
    from ..data.evaluation import EvaluationImages
    from ..files.resume import Scratch

BLOCKS = 10  # of the probed images: standard errors of contrasts, and where a killed job goes on
Frames = dict[str, pd.DataFrame]


@dataclass(frozen=True)
class Settings:
    """What is done to the images of a network.

    places: of each tenth of the phases. sizes: added to a colour. sides: of replaced squares, px.
    shift: px, each way. population, generations: of attacks. samples: that saliency maps are
    averaged over. steps: of deletion and insertion. black, white: normalised pixels (C,).
    """

    places: int
    sizes: Sequence[float]
    sides: Sequence[int]
    shift: int
    population: int
    generations: int
    samples: int
    steps: int
    black: np.ndarray
    white: np.ndarray
    batch_size: int
    seed: int


class Subject:
    """A network, and what images other than the probed ones say of it.

    reference: `linear.Pieces` of those. own: of the probed images, whose R does not know which
    pixels were chosen. phases: strong and weak pixels, by the reference. All are of the predicted
    class.
    """

    def __init__(
        self,
        model: nn.Module,
        reference: "EvaluationImages",
        probed: "EvaluationImages",
        targets: Mapping[str, Any],
        batch_size: int,
        device: torch.device,
    ) -> None:
        """Look at all images once.

        targets: of a configuration; the last map of them is the one that Grad-CAM reads. Raises
        `InputError` if there is none, and as `phases` and `answers`.
        """
        self.model = in_evaluation(model, device, torch.float32)
        self.probed, self.device, self._batch_size = probed, device, batch_size
        maps = read(self.model, probed[0][None].to(device), targets).values()
        self.target = _last_map([target for target in maps if target.module != OUTPUT])
        self.reference = self._pieces(reference, {})
        fixed = {"by_field": self.reference.field, "by_signed": self.reference.signed}
        self.own = self._pieces(probed, fixed)
        self.phases: Phases = phases(self.reference.field)

    def batches(self, images: "EvaluationImages") -> Iterator[Tensor]:
        """On the device."""
        return (batch.to(self.device) for batch in images.batches(self._batch_size))

    def classes(self, images: "EvaluationImages") -> Tensor:
        """Predicted ones (N,), whose logits are judged."""
        return answers(self.model, self.batches(images)).argmax(1).to(self.device)

    def _pieces(self, images: "EvaluationImages", fixed: Mapping[str, np.ndarray]) -> linear.Pieces:
        classes = self.classes(images).split(self._batch_size)
        pairs = zip(self.batches(images), classes, strict=True)
        return linear.pieces(self.model, pairs, fixed)

    def logits(self) -> pd.DataFrame:
        """Pieces of all images, rows of ``logits.parquet``."""
        both = [self.reference.of_images, self.own.of_images]
        found = [of.assign(image=np.arange(len(of)), reference=of is both[0]) for of in both]
        return pd.concat(found, ignore_index=True)


def _last_map(maps: Sequence[Target]) -> Target:
    if not maps:
        raise InputError(
            "targets: no map of a module is among them, which Grad-CAM reads: name one"
        )
    return maps[-1]


def probe(
    subject: Subject,
    moved: Callable[["EvaluationImages", float, float], "EvaluationImages"],
    settings: Settings,
    scratch: "Scratch",
) -> Frames:
    """Rows of each probe of the probed images, numbered from 0: places, shifts, attacks, saliency.

    And contrasts, of saliency maps over all images, and a picture, of the first. moved: images
    whose crop is so many px further down and across. A finished block is kept in `scratch`, and not
    computed again after a kill.
    """
    blocks = range(min(BLOCKS, len(subject.probed)))
    found: list[dict[str, np.ndarray]] = []
    for number in progress(blocks, total=len(blocks), what="blocks of images"):
        name = f"probed-{number}"
        arrays = scratch.load(name)
        if arrays is None:
            arrays = _packed(_Block(subject, number, moved, settings))
            scratch.save(name, arrays)
        found.append(arrays)
    frames = {
        probe: pd.concat([_unpacked(arrays, probe) for arrays in found], ignore_index=True)
        for probe in ("places", "shifts", "attacks", "saliency")
    }
    return frames | {"contrasts": _contrasts(found), "picture": _picture(subject, settings)}


class _Block:
    """Every `BLOCKS`-th of the probed images, from one on."""

    def __init__(
        self,
        subject: Subject,
        number: int,
        moved: Callable[["EvaluationImages", float, float], "EvaluationImages"],
        settings: Settings,
    ) -> None:
        self._subject, self._settings, self._moved = subject, settings, moved
        self._block = subject.probed.every(BLOCKS, start=number)
        self.numbers = number + BLOCKS * np.arange(len(self._block))
        self._classes = subject.classes(self._block)
        self._images = torch.cat([*subject.batches(self._block)])

    def each(self) -> Iterator[tuple[int, Tensor, int]]:
        """Number, image (C, H, W) and class."""
        return zip(self.numbers.tolist(), self._images, self._classes.tolist(), strict=True)

    def places(self) -> pd.DataFrame:
        """`changes.responses` at strong and weak places and those between."""
        settings, subject = self._settings, self._subject
        mean = torch.zeros(len(settings.black), device=subject.device)
        values = {"mean": mean, "black": torch.from_numpy(settings.black).to(mean)}
        of_groups = subject.phases.means(subject.own.field)
        found = []
        for number, image, label in self.each():
            places = subject.phases.drawn(settings.places, settings.seed, number)
            done = itertools.chain(
                changes.disturbed(image, places, settings.sizes, first_colour=number),
                changes.replaced(image, places, settings.sides, values),
            )
            rows = changes.responses(subject.model, image, label, done, settings.batch_size)
            at = rows["row"], rows["col"]
            of_place = {
                "group": subject.phases.group[at],
                "sensitivity": subject.phases.sensitivity[at],
                "field": subject.reference.field[at],
                "own_sensitivity": of_groups[subject.phases.group[at]],
            }
            found.append(rows.assign(image=number, **of_place))
        return pd.concat(found)

    def shifts(self) -> pd.DataFrame:
        """`shift.moved`."""

        def images(down: float, across: float) -> Iterator[Tensor]:
            return self._subject.batches(self._moved(self._block, down, across))

        rows = shift.moved(self._subject.model, images, self._classes, self._settings.shift)
        return rows.assign(image=self.numbers[rows["image"]])

    def attacks(self) -> pd.DataFrame:
        """`attack` on any pixels, on the strongest tenth alone, on the weakest tenth alone."""
        settings, subject = self._settings, self._subject
        groups = {"anywhere": (), "strong": (GROUPS - 1,), "weak": (0,)}
        found = []
        for (number, image, _), (name, among) in itertools.product(self.each(), groups.items()):
            label = int(answers(subject.model, [image[None]]).argmax())  # alone, as it is attacked
            came = attack(
                *(subject.model, image, label, subject.phases.places(*among)),
                (settings.black, settings.white),
                population=settings.population,
                generations=settings.generations,
                seed=settings.seed,
                number=number,
                batch_size=settings.batch_size,
            )
            row, col = came.place
            kept = {"succeeded": came.succeeded, "queries": came.queries, "row": row, "col": col}
            kept |= {"before": came.before, "after": came.after}
            found.append({"image": number, "places": name, **kept})
        return pd.DataFrame(found)

    def maps(self) -> Iterator[tuple[str, str, np.ndarray, np.ndarray]]:
        """Name, correction, plain strengths and corrected ones (N, H, W)."""
        settings, subject = self._settings, self._subject
        tile = subject.phases.tile
        for name in SALIENCIES:
            try:
                maps = saliency(
                    *(name, subject.model, self._images, self._classes, self.numbers),
                    subject.target,
                    seed=settings.seed,
                    points=settings.samples,
                    batch_size=settings.batch_size,
                )
            except NoReluError as error:
                log.info("%s", error)
                continue
            for correction in CORRECTIONS:
                yield name, correction, np.abs(maps), corrected(correction, maps, tile)

    def saliency(self) -> tuple[pd.DataFrame, dict[str, np.ndarray]]:
        """What maps point at, a row for each image; and their mean maps (H, W), by name."""
        settings, subject = self._settings, self._subject
        found, means = [], {}
        for name, correction, plain, maps in self.maps():
            areas = {
                kind: pointing.area(
                    pointing.curves(
                        *(kind, subject.model, self._images, self._classes, maps),
                        steps=settings.steps,
                        batch_size=settings.batch_size,
                    )
                )
                for kind in pointing.EXCHANGES
            }
            agreement = pointing.agreement(plain, maps, len(subject.phases.tile))
            key = {"saliency": name, "correction": correction, "image": self.numbers}
            found.append(pd.DataFrame({**key, "agreement": agreement, **areas}))
            means[f"{name}/{correction}"] = maps.mean(0)
        return pd.concat(found), means


def _packed(block: _Block) -> dict[str, np.ndarray]:
    """All of a block as arrays that `Scratch` keeps, by probe and column."""
    of_images, means = block.saliency()
    frames = {
        **{"places": block.places(), "shifts": block.shifts(), "attacks": block.attacks()},
        "saliency": of_images,
    }
    arrays = {
        f"{probe}.{column}": np.array(frame[column].tolist())
        for probe, frame in frames.items()
        for column in frame
    }
    arrays |= {f"mean.{name}": mean for name, mean in means.items()}
    return arrays | {"count": np.array(len(block.numbers))}


def _unpacked(arrays: Mapping[str, np.ndarray], probe: str) -> pd.DataFrame:
    start = f"{probe}."
    columns = {n.removeprefix(start): of for n, of in arrays.items() if n.startswith(start)}
    return pd.DataFrame(columns)


def _contrasts(blocks: Sequence[Mapping[str, np.ndarray]]) -> pd.DataFrame:
    counts = [int(arrays["count"]) for arrays in blocks]
    found = []
    for key in (key for key in blocks[0] if key.startswith("mean.")):
        name, correction = key.removeprefix("mean.").split("/")
        contrast = pointing.contrast([arrays[key] for arrays in blocks], counts)
        found.append({"saliency": name, "correction": correction, **contrast})
    return pd.DataFrame(found)


def _picture(subject: Subject, settings: Settings) -> pd.DataFrame:
    """The first probed image, a row for each pixel: how bright it is, of 0 to 1, and how salient.

    By its gradient, corrected in each way, and by that which is smoothed at strides.
    """
    first = subject.probed[0][None].to(subject.device)
    classes = answers(subject.model, [first]).argmax(1).to(subject.device)

    def strengths(name: str, correction: str) -> np.ndarray:
        maps = saliency(name, subject.model, first, classes, np.zeros(1, int), subject.target)
        return corrected(correction, maps, subject.phases.tile)[0].ravel()

    pixels = first[0].permute(1, 2, 0).cpu().numpy()
    bright = (pixels - settings.black) / (settings.white - settings.black)
    row, col = np.indices(bright.shape[:2]).reshape(2, -1)
    drawn = {correction: strengths("gradient", correction) for correction in CORRECTIONS}
    drawn |= {"smooth_strides": strengths("smooth_strides", "none")}
    return pd.DataFrame({"row": row, "col": col, "brightness": bright.mean(2).ravel(), **drawn})

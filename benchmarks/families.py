"""What the library makes of every classifier of torchvision and of networks of timm.

    python benchmarks/families.py [--minutes 20] [torchvision:NAME | timm:NAME ...]

Measures the networks that have no file in results/benchmarks/families yet, one at a time, and then
prints the table of docs/families.md of all that have one. A file that is deleted is measured again.
Weights are random, of one seed, and batch norms calibrated on the images: synthetic ones, of each
network's own size.
"""

import argparse
import json
import logging
import math
import multiprocessing
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torchvision
from torch import Tensor, nn

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "scripts"))
from deadpixel import erf, extent, kernels, reading, receptive_field
from deadpixel.data import synthetic
from deadpixel.errors import InputError
from deadpixel.files import atomic
from deadpixel.networks import calibration, zoo
from deadpixel.receptive_field import ReceptiveField
from deadpixel.targets import OUTPUT, Target

TIMM = """
beit_base_patch16_224 cait_xxs24_224 caformer_s18 coat_tiny coatnet_0_rw_224 convformer_s18
convit_tiny convmixer_768_32 convnext_tiny crossvit_tiny_240 cs3darknet_s cspresnet50 davit_tiny
deit_tiny_distilled_patch16_224 deit_tiny_patch16_224 densenet121 dla34 dpn68 ecaresnet26t
edgenext_xx_small efficientformer_l1 efficientformerv2_s0 efficientnet_b0 efficientnetv2_s
efficientvit_b0 efficientvit_m0 ese_vovnet19b_dw fasternet_t0 fastvit_t8 fbnetc_100
focalnet_tiny_srf gcvit_xxtiny gernet_s ghostnet_100 gmlp_s16_224 hgnet_tiny hiera_tiny_224
hrnet_w18_small inception_next_tiny lambda_resnet26t lcnet_050 levit_128s mambaout_femto
maxvit_tiny_rw_224 mixer_s32_224 mobilenetv4_conv_small mobilenetv4_hybrid_medium mobileone_s0
mobilevit_xxs mobilevitv2_050 mvitv2_tiny nest_tiny nextvit_small nf_resnet26 nfnet_l0 pit_ti_224
pnasnet5large poolformer_s12 pvt_v2_b0 rdnet_tiny regnetx_002 regnety_004 repvit_m0_9
res2net50_26w_4s resmlp_12_224 resnest14d resnetv2_50 resnetv2_50x1_bit rexnet_100
samvit_base_patch16 selecsls42b semnasnet_075 sequencer2d_s shvit_s1 skresnet18 starnet_s1
swiftformer_xs swin_tiny_patch4_window7_224 swinv2_cr_tiny_ns_224 tf_efficientnet_b0 tiny_vit_5m_224
tnt_s_patch16_224 tresnet_m twins_pcpvt_small twins_svt_small visformer_tiny vit_small_patch16_224
vitamin_small_224 volo_d1_224 xception41 xcit_tiny_12_p16_224
"""
NETWORKS = (
    *(f"torchvision:{n}" for n in torchvision.models.list_models(module=torchvision.models)),
    *(f"timm:{n}" for n in TIMM.split()),
)
RESULTS = Path("results/benchmarks/families")
IMAGES, FOR_CALIBRATION = 2, 4
COLUMNS = (*reading.STAGES, OUTPUT)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("networks", nargs="*", default=NETWORKS)
    parser.add_argument("--minutes", type=float, default=20, help="at most, for one network")
    options = parser.parse_args()
    for number, name in enumerate(options.networks, start=1):
        if not (path := _file(name)).exists():
            print(f"{number} of {len(options.networks)}: {name}", file=sys.stderr, flush=True)
            row = _measured_apart(name, 60 * options.minutes)
            with atomic.writing(path) as partial:
                partial.write_text(json.dumps(row, indent=1))
    rows = {name: json.loads(_file(name).read_text()) for name in NETWORKS if _file(name).exists()}
    print(*_table(rows), sep="\n")


def _file(name: str) -> Path:
    return RESULTS / f"{name.replace(':', '_')}.json"


def _measured_apart(name: str, seconds: float) -> dict[str, Any]:
    """The row of one network, from a process of its own, which memory and time may end."""
    context = multiprocessing.get_context("fork")
    receiving, sending = context.Pipe(duplex=False)
    process = context.Process(target=lambda: sending.send(_row(name)))
    process.start()
    sending.close()
    try:
        row = receiving.recv() if receiving.poll(seconds) else None
    except EOFError:
        process.join()
        return {"refused": f"its process ended with code {process.exitcode}"}
    if row is None:
        process.kill()
        return {"refused": f"not done within {seconds / 60:g} minutes"}
    process.join()
    return row


def _row(name: str) -> dict[str, Any]:
    log = _Kept()
    logging.getLogger("deadpixel").addHandler(log)
    start = time.process_time()
    try:
        row = _measured(name)
    except InputError as error:
        row = {"refused": str(error)}
    return {**row, "seconds": time.process_time() - start, "log": log.lines}


class _Kept(logging.Handler):
    """Lines of the log, for who wonders at a row."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())


def _measured(name: str) -> dict[str, Any]:
    model = zoo.build(name)
    height, width = size = _size(name, model)
    images = torch.stack([_image(number, size) for number in range(FOR_CALIBRATION)])
    calibration.calibrate(model, [images], device=torch.device("cpu"))
    images = images[:IMAGES]
    targets = {**reading.last_maps(model, images), OUTPUT: Target(OUTPUT, layout="logits")}
    fields = receptive_field.fields(model, targets, size)
    measurement = erf.Measurement(
        model, targets, "predicted", "kim", "shared", torch.float32, torch.device("cpu")
    )
    maps = measurement.over([(images, None)])
    changed, _ = kernels.pad(model)
    odd, left = (len(kernels.odd_strided(kind, images[:1])) for kind in (model, changed))
    stages = {
        stage: {
            **_theory(fields[stage]),
            "module": target.module + (f"[{target.part}]" if target.part is not None else ""),
            "layout": target.layout,
            "radii": _radii(maps[stage].mean),
            "outside": _outside(maps[stage].mean, fields[stage]),
            "moves": [
                move.steps[0] if move.is_clear else None for move in measurement.moves[stage]
            ],
        }
        for stage, target in targets.items()
    }
    return {"size": [height, width], "stages": stages, "changed": odd - left, "left": left}


def _size(name: str, model: nn.Module) -> tuple[int, int]:
    """Of the images that a network is made for."""
    library, _, architecture = name.partition(":")
    if library == "timm":
        height, width = np.broadcast_to(zoo.evaluation_by_timm(model)["crop"], 2).tolist()
        return height, width
    weights = torchvision.models.get_model_weights(architecture)
    first = getattr(weights, "IMAGENET1K_V1", None)  # others are of larger, changed networks
    side = first.transforms().crop_size[0] if first else 224
    return side, side


def _image(number: int, size: tuple[int, int]) -> Tensor:
    """A synthetic image (3, H, W), normalised."""
    rng = np.random.default_rng([0, number])
    picture = synthetic.render(synthetic.CLASSES[number], rng).resize((size[1], size[0]))
    pixels = torch.from_numpy(np.array(picture)).permute(2, 0, 1) / 255
    return (pixels - 0.5) / 0.25


def _radii(field: np.ndarray) -> list[float]:
    """Radii that hold 50 and 99 % of a map; none of one that is zero."""
    return [extent.radius(field, share) for share in (0.5, 0.99)] if field.any() else []


def _theory(field: ReceptiveField) -> dict[str, Any]:
    size = [side if math.isfinite(side) else None for side in field.size]
    return {"kind": field.kind, "theory": size, "reason": field.reason}


def _outside(effective: np.ndarray, field: ReceptiveField) -> float | None:
    """Share of an effective map (H, W) outside the theoretical field, if both have an extent."""
    if not all(map(math.isfinite, field.size)) or not effective.any():
        return None
    inside = [
        np.abs(np.arange(length) - center) <= side / 2
        for length, center, side in zip(effective.shape, field.center, field.size, strict=True)
    ]
    return float(effective[~np.outer(*inside)].sum() / effective.sum())


def _table(rows: Mapping[str, Mapping[str, Any]]) -> list[str]:
    header = ["network", "px", *COLUMNS, "kernels", "s"]
    lines = [_line(header), _line(["---"] * len(header))]
    for name, row in rows.items():
        if "refused" in row:
            lines.append(_line([name, "", row["refused"], *[""] * (len(header) - 3)]))
            continue
        cells = [_cell(row["stages"].get(stage)) for stage in COLUMNS]
        counts = f"{row['changed']}, {row['left']}"
        side = " x ".join(map(str, dict.fromkeys(row["size"])))
        lines.append(_line([name, side, *cells, counts, f"{row['seconds']:.0f}"]))
    return lines


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _cell(stage: Mapping[str, Any] | None) -> str:
    """Module and layout; theoretical field; effective radii; moves, None where too wide to tell."""
    if stage is None:
        return ""
    module = [] if stage["module"] == OUTPUT else [f"`{stage['module']}` {stage['layout']}"]
    sides = " x ".join(f"{side:.0f}" for side in dict.fromkeys(stage["theory"]) if side)
    theory = " ".join(filter(None, [stage["kind"], sides]))
    outside = [f"{stage['outside']:.1%} OUTSIDE"] if stage["outside"] else []
    radii = " / ".join(f"{radius:.0f}" for radius in stage["radii"]) or "zero"
    return "; ".join([*module, theory, *outside, radii, *_moved(stage["moves"])])


def _moved(moves: Sequence[float | None]) -> list[str]:
    if not moves:
        return []
    return [" / ".join("wide" if step is None else f"{step:.2f}" for step in moves)]


if __name__ == "__main__":
    main()

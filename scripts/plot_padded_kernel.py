"""Fig. 3: a kernel as it was, padded, and after fine-tuning."""

from pathlib import Path

from deadpixel import errors, kernels
from deadpixel.networks import checkpoints, zoo
from deadpixel.operations import job
from deadpixel.results import padding, style

job.begin(snakemake)

params = snakemake.params
titles = {"zero": "zero-padded", "random": "redrawn at random"}

before = checkpoints.load(zoo.build(params.model), snakemake.input.before)
start, changed = kernels.pad(before, params.init, seed=params.seed)
name = next((n for n in changed if f"{n}.weight" in before.state_dict()), None)
if name is None:
    raise errors.InputError(
        f"shape_test.model: of {params.name} only pools change, and Fig. 3 shows a convolution: "
        "name another network"
    )
old, new = before.state_dict()[f"{name}.weight"], start.state_dict()[f"{name}.weight"]
tuned = checkpoints.read_state(Path(snakemake.input.after))[f"{name}.weight"]
strongest = old.flatten(2).norm(dim=2).argmax().item()
panels = {
    title: weight.flatten(0, 1)[strongest].numpy()
    for title, weight in {"before": old, titles[params.init]: new, "fine-tuned": tuned}.items()
}
title = f"{params.name}, {name}: filter {strongest // old.shape[1]}"
style.save(padding.padded_kernel(panels, old.shape[2:], title), snakemake.output)

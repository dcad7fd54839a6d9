"""Fig. 3: a kernel as it was, padded, and after fine-tuning."""

from pathlib import Path

from deadpixel import kernels, logs, models, padding_plots, plots

logs.configure(snakemake.log[0])

before = models.load_checkpoint(models.build(snakemake.params.model), snakemake.input.before)
padded, changed = kernels.pad(before)
name = next(n for n in changed if f"{n}.weight" in before.state_dict())
old, new = before.state_dict()[f"{name}.weight"], padded.state_dict()[f"{name}.weight"]
tuned = models.read_state(Path(snakemake.input.after))[f"{name}.weight"]
strongest = old.flatten(2).norm(dim=2).argmax().item()
pictures = {
    title: weight.flatten(0, 1)[strongest].numpy()
    for title, weight in {"before": old, "zero-padded": new, "fine-tuned": tuned}.items()
}
title = f"{snakemake.params.name}, {name}: filter {strongest // old.shape[1]}"
plots.save(padding_plots.padded_kernel(pictures, old.shape[2:], title), snakemake.output)

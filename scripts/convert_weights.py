"""Bring published weights, or the user's own, into one checkpoint format."""

from pathlib import Path

from deadpixel import logs, models, store

logs.configure(snakemake.log[0])
source, weights = snakemake.params.model, snakemake.wildcards.weights

model = models.build(source)
if weights == "imagenet":
    origin = f"torchvision's IMAGENET1K_V1 of {source}"
    state = models.imagenet_state(source)
else:
    origin = snakemake.input.file
    state = models.read_state(Path(origin))
models.load_state(model, state, origin)
facts = store.provenance(model=source, weights=weights, origin=origin)
models.save_checkpoint(model, snakemake.output.checkpoint, facts)

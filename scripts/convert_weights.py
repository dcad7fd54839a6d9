"""Bring published weights, or the user's own, into one checkpoint format."""

from deadpixel import logs, models, store

logs.configure(snakemake.log[0])
source, origin = snakemake.params.model, snakemake.input.file

model = models.load_checkpoint(models.build(source), origin)
facts = store.provenance(model=source, weights=snakemake.wildcards.weights, origin=origin)
models.save_checkpoint(model, snakemake.output.checkpoint, facts)

"""Bring published weights, or the user's own, into one checkpoint format."""

import hashlib
from pathlib import Path

from deadpixel import logs, models, store

logs.configure(snakemake.log[0])
source, origin = snakemake.params.model, snakemake.input.file

model = models.load_checkpoint(models.build(source), origin)
facts = store.provenance(
    model=source,
    weights=snakemake.wildcards.weights,
    origin=origin,
    origin_sha256=hashlib.sha256(Path(origin).read_bytes()).hexdigest(),
)
models.save_checkpoint(model, snakemake.output.checkpoint, facts)

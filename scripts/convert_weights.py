"""Bring published weights, or the user's own, into one checkpoint format."""

import hashlib
import json
from pathlib import Path

from deadpixel.files import parquet
from deadpixel.networks import checkpoints, zoo
from deadpixel.operations import job

job.begin(snakemake)
source, origin = snakemake.params.model, snakemake.input.file

model = checkpoints.load(zoo.build(source), origin)
facts = parquet.provenance(
    model=source,
    weights=snakemake.wildcards.weights,
    origin=origin,
    origin_sha256=hashlib.sha256(Path(origin).read_bytes()).hexdigest(),
)
if snakemake.input.hub:
    facts["hub"] = json.loads(Path(snakemake.input.hub).read_text())
checkpoints.save(model, snakemake.output.checkpoint, facts)

"""Bring published weights, or the user's own, into one checkpoint format."""

import hashlib
import json
from pathlib import Path

from deadpixel.files import parquet
from deadpixel.logs import log
from deadpixel.networks import checkpoints, zoo
from deadpixel.operations import job

job.begin(snakemake)
params, wildcards, origin = snakemake.params, snakemake.wildcards, snakemake.input.file
source, key = params.model, f"models.{wildcards.model}"

model = checkpoints.load(zoo.build(source), origin)
if wildcards.weights == "imagenet":
    zoo.with_published_weights(model)
elif hasattr(model, "transform_input"):
    log.warning(
        "%s: taken with transform_input=%s; if its weights were trained otherwise, set that in a "
        "file.py:factory",
        key,
        model.transform_input,
    )
said = zoo.evaluation_by_timm(model)
if differ := {name: value for name, value in said.items() if value != params.preprocess.get(name)}:
    log.warning(
        "%s: timm evaluates its weights otherwise than here. If they are timm's, add to the "
        "configuration %s.preprocess: %s",
        *(key, key, json.dumps(differ).replace('"', "")),
    )
facts = parquet.provenance(
    model=source,
    weights=wildcards.weights,
    origin=origin,
    origin_sha256=hashlib.sha256(Path(origin).read_bytes()).hexdigest(),
)
if snakemake.input.hub:
    facts["hub"] = json.loads(Path(snakemake.input.hub).read_text())
checkpoints.save(model, snakemake.output.checkpoint, facts)

"""Effective receptive fields of one network, and their blocks of images, from all shards."""

import shutil
from pathlib import Path

from deadpixel.files import maps, parquet
from deadpixel.operations import job

job.begin(snakemake)
config = snakemake.config
for erf_path, blocks_path in zip(snakemake.output.erf, snakemake.output.blocks, strict=True):
    target = parquet.partitions(erf_path)["target"]
    sums = [path for path in snakemake.input.sums if parquet.partitions(path)["target"] == target]
    facts = maps.merged_facts([parquet.read_provenance(path) for path in sums])
    facts["shards"] = config["erf"]["shards"]
    maps.write(maps.read_sums(sums), erf_path, blocks_path, facts)
kept = Path(config["pathvars"]["results"], ".scratch/erf", Path(snakemake.log[0]).stem)
shutil.rmtree(kept, ignore_errors=True)  # by all shards, for whichever of them might start again

"""Effective receptive fields of one network, and their blocks of images, from all shards."""

import shutil
from pathlib import Path

from deadpixel import logs, maps, store

logs.configure(snakemake.log[0])
config = snakemake.config
for erf_path, blocks_path in zip(snakemake.output.erf, snakemake.output.blocks, strict=True):
    target = store.partitions(erf_path)["target"]
    sums = [path for path in snakemake.input.sums if store.partitions(path)["target"] == target]
    facts = maps.merged_facts([store.read_provenance(path) for path in sums])
    facts["shards"] = config["erf"]["shards"]
    maps.write(maps.read_sums(sums), erf_path, blocks_path, facts)
kept = Path(config["pathvars"]["results"], ".scratch/erf", Path(snakemake.log[0]).stem)
shutil.rmtree(kept, ignore_errors=True)  # by all shards, for whichever of them might start again

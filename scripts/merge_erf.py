"""Effective receptive fields of one network, and their blocks of images, from all shards."""

from deadpixel import logs, maps, store

logs.configure(snakemake.log[0])
outputs = zip(snakemake.output.erf, snakemake.output.blocks, strict=True)
for (erf_path, blocks_path), target in zip(outputs, snakemake.params.targets, strict=True):
    sums = [path for path in snakemake.input.sums if store.partitions(path)["target"] == target]
    facts = maps.merged_facts([store.read_provenance(path) for path in sums])
    maps.write(maps.read_sums(sums), erf_path, blocks_path, facts)

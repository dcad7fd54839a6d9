"""Bring one file of weights from the Hugging Face Hub."""

from pathlib import Path

from deadpixel.data import hub
from deadpixel.operations import job

job.begin(snakemake)
wildcards, output = snakemake.wildcards, snakemake.output
address = hub.Address(wildcards.repository, wildcards.revision, wildcards.hub_file)
cache = Path(snakemake.params.downloads)
hub.retrieve(address, cache, Path(output.file), Path(output.facts))

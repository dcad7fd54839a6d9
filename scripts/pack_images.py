"""Decode each image of a data set once."""

from pathlib import Path

from deadpixel.data import packs
from deadpixel.files import parquet, schemas
from deadpixel.operations import job

job.begin(snakemake)
folder = Path(snakemake.params.folder)

manifest = parquet.read(snakemake.input.manifest, schemas.MANIFEST)
facts = parquet.provenance(folder=str(folder))
packs.pack(manifest, folder, Path(snakemake.output.pack), facts)

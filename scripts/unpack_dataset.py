"""Unpack a data set's archive."""

from pathlib import Path

from deadpixel.data import archives
from deadpixel.operations import job

job.begin(snakemake)
folder = Path(snakemake.output[0])
archives.unpack(Path(snakemake.input.archive), folder, inner=snakemake.params.inner)

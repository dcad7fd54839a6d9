"""Unpack a data set's archive."""

from pathlib import Path

from deadpixel import archives, logs

logs.configure(snakemake.log[0])
folder = Path(snakemake.output[0])
archives.unpack(Path(snakemake.input.archive), folder, inner=snakemake.params.inner)

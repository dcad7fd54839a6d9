"""Draw a synthetic data set."""

from pathlib import Path

from deadpixel.data import synthetic
from deadpixel.operations import job

job.begin(snakemake)
settings = {key: value for key, value in snakemake.params.items() if key != "code"}
synthetic.generate(Path(snakemake.output[0]), **settings)

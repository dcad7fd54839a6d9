"""Runs of each arm, and what their contrasts say."""

from deadpixel.files import parquet
from deadpixel.operations import job
from deadpixel.results import causes, style

job.begin(snakemake)
runs = parquet.read(snakemake.input.runs, causes.RUNS.schema)
contrasts = parquet.read(snakemake.input.contrasts, causes.CONTRASTS.schema)
style.save(causes.figure(runs, contrasts), snakemake.output)

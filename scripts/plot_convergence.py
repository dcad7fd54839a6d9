"""How many images the maps of an experiment need."""

from deadpixel.files import parquet, schemas
from deadpixel.operations import job
from deadpixel.results import convergence, style

job.begin(snakemake)
courses = parquet.read_partitioned(snakemake.input.convergence, schemas.CONVERGENCE)
style.save(convergence.figure(courses), [snakemake.output.png, *snakemake.output.vector])

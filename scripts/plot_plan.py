"""Figure of the plan."""

from deadpixel.files import parquet, schemas
from deadpixel.operations import job, plan_plots
from deadpixel.results import style

job.begin(snakemake)
jobs = parquet.read(snakemake.input.plan, schemas.PLAN)
makespans = parquet.read(snakemake.input.makespans, schemas.MAKESPANS)
devices = parquet.read_provenance(snakemake.input.plan)["devices"]
style.save(plan_plots.plan(jobs, makespans, devices), snakemake.output)

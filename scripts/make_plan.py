"""What every job of the whole workflow will cost, and all of them on 1, 2, 4, ... devices."""

from deadpixel.files import atomic, parquet, schemas
from deadpixel.operations import job, plan

job.begin(snakemake)
params = snakemake.params

steps = plan.listed(params.snakefile, {**snakemake.config, "device": params.device})
jobs = plan.predict(steps, params.records)
spans = plan.makespans(plan.schedule_jobs(jobs), params.solver_seconds)
answer = plan.summary(jobs, spans, params.devices)
answer += (
    f"\nIt assumes jobs that compute on {params.devices} (device: {snakemake.config['device']}).\n"
)

facts = parquet.provenance(devices=params.devices, solver_seconds=params.solver_seconds)
parquet.write(jobs, snakemake.output.plan, schemas.PLAN, facts)
parquet.write(spans, snakemake.output.makespans, schemas.MAKESPANS, facts)
with atomic.writing(snakemake.output.markdown) as partial:
    partial.write_text(answer)
print(f"\n{answer}")

"""What every job of the whole workflow will cost, and all of them on 1, 2, 4, ... devices."""

import subprocess
import sys
import tempfile
from pathlib import Path

import yaml

from deadpixel.files import atomic, parquet, schemas
from deadpixel.operations import costs, job, plan

job.begin(snakemake)
params = snakemake.params
config = {**snakemake.config, "device": params.device}

with tempfile.NamedTemporaryFile("w", suffix=".yaml") as overlay:
    yaml.safe_dump(config, overlay)
    overlay.flush()
    snakefile = Path(snakemake.scriptdir).parent / "Snakefile"
    command = ["--snakefile", snakefile, "--configfile", overlay.name, "--nolock"]
    listed = subprocess.run(
        [sys.executable, "-m", "snakemake", *command, "--dry-run", "--forceall", "--", "all"],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
steps = plan.read_dry_run(listed.stdout)
splits = {name: costs.read_splits(path) for name, path in params.splits.items()}
model = costs.CostModel(
    config,
    costs.read_forward(snakemake.input.flops),
    {**params.known_splits, **splits},
    params.downloads,
    costs.read_records(params.records),
)
jobs = plan.predict(steps, model, params.records)
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

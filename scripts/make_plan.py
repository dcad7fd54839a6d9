"""What every job of the whole workflow will cost, and all of them on 1, 2, 4, ... devices."""

import subprocess
import sys
import tempfile
from pathlib import Path

import yaml

from deadpixel import costs, logs, plan, store

logs.configure(snakemake.log[0])
params = snakemake.params

with tempfile.NamedTemporaryFile("w", suffix=".yaml") as overlay:
    yaml.safe_dump(snakemake.config, overlay)
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
    snakemake.config,
    costs.read_forward(snakemake.input.flops),
    {**params.known_splits, **splits},
    params.downloads,
    costs.read_records(params.records),
)
jobs = plan.predict(steps, model, params.records)
spans = plan.makespans(plan.schedule_jobs(jobs), params.solver_seconds)
answer = plan.summary(jobs, spans, params.devices)

facts = store.provenance(devices=params.devices, solver_seconds=params.solver_seconds)
store.write(jobs, snakemake.output.plan, store.PLAN, facts)
store.write(spans, snakemake.output.makespans, store.MAKESPANS, facts)
with store.atomic(snakemake.output.markdown) as partial:
    partial.write_text(answer)
print(f"\n{answer}")

"""The page that the run is read by: findings, tables, figures, every map; and all of it to send."""

from pathlib import Path

from deadpixel.files import atomic
from deadpixel.operations import job
from deadpixel.results.report import bundle
from deadpixel.results.report.page import page
from deadpixel.results.report.run import Run
from deadpixel.results.report.sections import PLAN

job.begin(snakemake)
results = Path(snakemake.config["pathvars"]["results"])
shown = {*snakemake.input.results, *snakemake.input.of_all, *snakemake.input.trf}
# The plan is no input: it is of all jobs, this one among them.
shown |= {str(plan) for plan in [results / PLAN] if plan.is_file()}

with atomic.writing(snakemake.output.page) as partial:
    partial.write_text(page(Run(results, snakemake.output.page, shown)), encoding="utf-8")

files = [snakemake.output.page, *snakemake.input.sent, *snakemake.input.of_all]
with atomic.writing(snakemake.output.bundle) as partial:
    bundle.write(partial, results, map(Path, files))

"""What every job of the workflow does first."""

from pathlib import Path
from typing import Any

from .. import logs
from .orphans import end_with_snakemake, replace_predecessor


def kept(snakemake: Any, experiment: str) -> Path:
    """Folder of what a job has finished, until its results are written."""
    scratch = Path(snakemake.config["pathvars"]["results"], ".scratch", experiment)
    return scratch / Path(snakemake.log[0]).stem


def begin(snakemake: Any) -> None:
    """Log to the job's own file, as its only process, which ends with its Snakemake."""
    file = Path(snakemake.log[0])
    file.parent.mkdir(parents=True, exist_ok=True)
    end_with_snakemake()
    replace_predecessor(file)
    logs.to_file(file)

"""Time that Snakemake adds to the demo: its wall time against a schedule of its jobs alone.

    python benchmarks/overhead.py [--cores 2]

Runs the demo from nothing in a copy of the checkout. The jobs' own times, imports included, are
those of their records; the schedule is that of `deadpixel.schedule`, which takes no time itself.
"""

import argparse
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "scripts"))
from deadpixel.files import parquet, schemas
from deadpixel.operations import plan, schedule

ROOT = Path(__file__).resolve().parents[1]
LEFT_OUT = shutil.ignore_patterns(".git", ".venv", ".snakemake", "results", "resources", "logs")


def snakemake(folder: Path, *arguments: str) -> float:
    """Seconds of one call."""
    command = [sys.executable, "-m", "snakemake", *arguments, "--configfile", "config.demo.yaml"]
    start = time.perf_counter()
    subprocess.run(command, cwd=folder, check=True, capture_output=True)
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cores", type=int, default=2)
    cores = parser.parse_args().cores
    with tempfile.TemporaryDirectory() as root:
        folder = Path(root, "checkout")
        shutil.copytree(ROOT, folder, ignore=LEFT_OUT)
        wall = snakemake(folder, "--cores", str(cores))
        snakemake(folder, "plan", "--cores", str(cores))
        jobs = parquet.read(folder / "results/demo/plan.parquet", schemas.PLAN)
    alone = plan.schedule_jobs(jobs, "measured_seconds")
    length = schedule.makespan(alone, schedule.list_schedule(alone, cores))
    chain = schedule.longest_chain(alone)
    print(f"{len(jobs)} jobs, {jobs['measured_seconds'].sum():.0f} s, longest chain {chain:.0f} s")
    print(f"wall {wall:.0f} s, schedule {length:.0f} s, added {1 - length / wall:.1%} of the wall")
    print(f"median error of predictions {plan.median_error(jobs):.0%}")


if __name__ == "__main__":
    main()

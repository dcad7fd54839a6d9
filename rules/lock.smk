# Snakemake's lock outlives kill -9 and would have to be removed by hand. This one the kernel frees: who gets it knows
# that no other Snakemake runs here, and removes what a killed one left. Who does not is told so by Snakemake's own.
import fcntl
import shutil
from pathlib import Path

if workflow.is_main_process:
    Path(".snakemake").mkdir(exist_ok=True)
    alive = Path(".snakemake/alive").open("w")
    try:
        fcntl.flock(alive, fcntl.LOCK_EX | fcntl.LOCK_NB)
        shutil.rmtree(".snakemake/locks", ignore_errors=True)
    except OSError:  # held by another process, or a file system without such locks
        pass

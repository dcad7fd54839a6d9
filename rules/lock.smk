# Snakemake's lock outlives kill -9 and would have to be removed by hand. This one the kernel frees: whoever runs here
# holds it, or does not run. Who gets it removes what a killed one left, if that ran on this host: on some network file
# systems another host's is not seen.
import fcntl
import os
import shutil
import socket
from pathlib import Path

if Path(".snakemake").exists() and not Path(".snakemake").is_dir():
    raise WorkflowError("Fix this and run again: .snakemake is a file; move it away")


def own_this_folder():
    Path(".snakemake").mkdir(exist_ok=True)
    alive = Path(".snakemake/alive").open("a+")
    try:
        fcntl.flock(alive, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        alive.seek(0)
        raise WorkflowError(
            "Directory cannot be locked: another Snakemake runs here "
            f"(host and process: {alive.read()}). Wait for it or end it."
        ) from None
    except OSError:  # a file system without such locks; Snakemake's own has to do
        return alive
    alive.seek(0)
    if alive.read().partition(" ")[0] == socket.gethostname():
        shutil.rmtree(".snakemake/locks", ignore_errors=True)
    elif any(Path(".snakemake").glob("locks/*")):
        # another host's: Snakemake refuses them, and they stay that host's
        return alive
    alive.truncate(0)
    alive.write(f"{socket.gethostname()} {os.getpid()}")
    alive.flush()
    return alive


# A dry run writes nothing, so it may look on.
if workflow.is_main_process and not workflow.output_settings.dryrun:
    ALIVE = own_this_folder()

"""A job ends with its Snakemake; one that outlives it all the same makes way for its successor."""

import contextlib
import fcntl
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TextIO

from ..logs import log

_SECONDS_BETWEEN_TRIES = 0.1
_SECONDS_BETWEEN_LOOKS = 1
_held: list[TextIO] = []  # as long as the process lives; the kernel frees them even on kill -9


def end_with_snakemake() -> None:
    """End as by SIGTERM soon after the process that started this one.

    An orphan that finishes after the next Snakemake has given the same job up leaves results of
    which no Snakemake knows how they were made.
    """
    threading.Thread(target=_follow, args=(os.getppid(),), daemon=True).start()


def _follow(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(_SECONDS_BETWEEN_LOOKS)
    log.warning("the Snakemake that started this job has ended, so it ends, too: run again")
    os.kill(os.getpid(), signal.SIGTERM)


def replace_predecessor(file: Path) -> None:
    """Become the only process of the job with this log file, until it ends.

    Where a shell stands between it and its Snakemake, a job lives on after kill -9 of Snakemake
    alone, and would write the same files as those that the next one starts. The older process is
    asked to end, which training does after saving its last epoch, and waited for; on another host
    it is waited for only.
    """
    lock = file.with_name(f".{file.name}.lock").open("a+")
    signalled = None
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            break
        except BlockingIOError:
            lock.seek(0)
            host, _, numbers = lock.read().partition(" ")
        except OSError:  # a file system without such locks
            return
        if numbers and host == socket.gethostname():
            pid, started, born = numbers.split(maxsplit=2)
            pid, started = int(pid), int(started)
            if started > _started():
                raise SystemExit(f"process {pid} has taken over this job")
            if pid != signalled and born == _born(pid):  # or the number is another process's by now
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.kill(pid, signal.SIGTERM)
                signalled = pid
        time.sleep(_SECONDS_BETWEEN_TRIES)
    lock.truncate(0)
    lock.write(f"{socket.gethostname()} {os.getpid()} {_started()} {_born(os.getpid())}")
    lock.flush()
    _held.append(lock)


def _born(pid: int) -> str:
    """When a process started, in whatever way the system says it; nothing if there is none."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    except OSError:
        command = ["ps", "-o", "lstart=", "-p", str(pid)]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()
    except OSError:
        return ""


def _started() -> int:
    """When Snakemake wrote this job's script: imports, which vary in duration, come later."""
    script = Path(sys.argv[0])
    return script.stat().st_mtime_ns if script.is_file() else 0

"""What is around the machine: a cluster's queue, and the servers that files come from."""

import http.client
import os
import re
import shutil
import subprocess
import urllib.error
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from .findings import Finding, Place

_SECONDS = 5.0
_SECONDS_BETWEEN_LOOKS = 180  # Snakemake's, at jobs of SLURM
_HUB = "https://huggingface.co"
_TRUE = {"1", "ON", "YES", "TRUE"}  # as the Hub's client reads its switches


def slurm(_place: Place) -> Iterator[Finding]:
    """Partitions, and whether SLURM remembers a job until Snakemake looks again."""
    if not shutil.which("sinfo"):
        yield Finding("not checked", "no sinfo on the PATH, so no SLURM")
        return
    try:
        partitions = _asked("sinfo", "--noheader", "--format", "%P (%a, %D nodes, %l, %G)")
        settings = _asked("scontrol", "show", "config")
    except (OSError, subprocess.SubprocessError) as error:
        said = getattr(error, "stderr", None) or str(error)
        do = "run this where you submit jobs; elsewhere it does not matter"
        yield Finding("warning", f"SLURM does not answer ({said.splitlines()[-1]})", do)
        return
    found = ", ".join(partitions.split("\n"))
    if "gpu" in found:
        yield Finding("ok", f"partitions {found}")
    else:
        do = "jobs that ask for a GPU would never start: set `device: cpu` in the configuration"
        yield Finding("warning", f"no partition has GPUs: {found}", do)
    age = re.search(r"MinJobAge\s*=\s*(\d+)", settings)
    if age and int(age[1]) <= _SECONDS_BETWEEN_LOOKS:
        yield Finding(
            "warning",
            f"MinJobAge is {age[1]} s, and Snakemake looks up to {_SECONDS_BETWEEN_LOOKS} s apart",
            "it may wait for jobs that have ended: ask for a longer one",
        )


def _asked(*command: str) -> str:
    run = subprocess.run(command, capture_output=True, text=True, timeout=_SECONDS, check=True)
    return run.stdout.strip()


def addresses(place: Place) -> Iterator[Finding]:
    """Servers of the registry and of the Hub: whatever they answer, they are there."""
    if place.is_offline:
        yield Finding("not checked", "offline is asked for")
        return
    servers = [*_servers(place.folder / "data/registry.yaml")]
    if os.environ.get("HF_HUB_OFFLINE", "").upper() not in _TRUE:
        servers.append(os.environ.get("HF_ENDPOINT", _HUB))
    with ThreadPoolExecutor() as pool:
        refusals = dict(zip(servers, pool.map(_refusal, servers), strict=True))
    for server, reason in refusals.items():
        if reason:
            do = "put its files into resources/ (docs/experiments.md: offline), or set HTTPS_PROXY"
            yield Finding("warning", f"{server} cannot be reached ({reason})", do)
        else:
            yield Finding("ok", f"{server} answers")


def _servers(registry: Path) -> Iterator[str]:
    """Each once, as they come; none without a clone."""
    text = registry.read_text() if registry.is_file() else ""
    yield from dict.fromkeys(re.findall(r"\b(?:url|mirror): (https?://[^/\s]+)", text))


def _refusal(server: str) -> str:
    """Why there is no answer; nothing if there is one."""
    try:
        request = urllib.request.Request(server, method="HEAD")
        with urllib.request.urlopen(request, timeout=_SECONDS):
            return ""
    except urllib.error.HTTPError:
        return ""
    except (OSError, ValueError, http.client.HTTPException) as error:
        return str(getattr(error, "reason", error))

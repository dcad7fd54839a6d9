"""What stands in the way of a run is found, and what to do about it is said."""

import contextlib
import errno
import http.server
import json
import os
import re
import shutil
import sys
import tempfile
import threading
import tomllib
from pathlib import Path
from types import SimpleNamespace

import filelock
import numpy as np
import pandas as pd
import pytest
import torch

from deadpixel import command, uncompiled
from deadpixel.doctor import checks, gpu, machine, packages, surroundings
from deadpixel.doctor.findings import Finding, Place, made_by, summary
from deadpixel.errors import InputError
from deadpixel.files import parquet, schemas
from deadpixel.operations import devices

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def place(tmp_path):
    return Place(tmp_path, tmp_path / "results", is_offline=False)


@pytest.fixture
def programs(tmp_path, monkeypatch):
    """Put a shell script of that name on the PATH, which has nothing else but the shell's own."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))

    def add(name, script):
        file = folder / name
        file.write_text(f"#!/bin/sh\n{script}\n")
        file.chmod(0o755)

    return add


@pytest.fixture
def gpus(monkeypatch, tmp_path):
    """Let PyTorch see two GPUs, none of them leased, with that much memory free."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    for variable in ("CUDA_VISIBLE_DEVICES", "SLURM_JOB_ID", "DEADPIXEL_DEVICES"):
        monkeypatch.delenv(variable, raising=False)
    free = [70e9, 70e9]
    for name, answer in (
        ("is_available", lambda: True),
        ("device_count", lambda: 2),
        ("get_device_name", lambda _: "NVIDIA H100"),
        ("get_device_capability", lambda _: (9, 0)),
        ("mem_get_info", lambda index: (free[index], 80e9)),
        ("set_device", lambda _: None),
    ):
        monkeypatch.setattr(torch.cuda, name, answer)
    yield free
    for lock in devices._held:
        lock.release()
    devices._held.clear()


@contextlib.contextmanager
def serving(status):
    """A server on this machine that answers everything with that status; its address."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_HEAD(self):
            asked.append(self.path)
            self.send_response(status)
            self.end_headers()

        def log_message(self, *_):
            pass

    asked: list[str] = []
    with http.server.HTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}", asked
        server.shutdown()


def states(findings):
    return [finding.state for finding in findings]


def test_a_check_that_cannot_be_made_is_a_finding():
    def raising(error):
        yield Finding("ok", "as far as it came")
        raise error

    found = {
        type(error): [*made_by("its name", lambda error=error: raising(error))]
        for error in (InputError("mend it"), ModuleNotFoundError("", name="lmfit"), OSError("odd"))
    }
    assert {of.check for findings in found.values() for of in findings} == {"its name"}
    assert states(found[InputError]) == ["ok", "problem"]
    assert found[InputError][1].found == "mend it"
    assert states(found[ModuleNotFoundError])[1] == "not checked"
    assert found[ModuleNotFoundError][1].found == "lmfit is not installed"
    assert states(found[OSError])[1] == "problem" and "OSError: odd" in found[OSError][1].found


def test_a_finding_is_a_line_and_what_to_do_another():
    found = Finding("warning", "it is slow", "wait", check="disk")
    assert str(found).split() == ["warning", "disk:", "it", "is", "slow", "->", "wait"]
    assert len(str(found).splitlines()) == 2
    assert len(str(Finding("ok", "it is fast")).splitlines()) == 1
    assert summary([found, found, Finding("ok", "")]) == "2 warning, 1 ok"


def test_pytorch_without_a_gpu_is_a_warning(place, programs, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    (found,) = packages.pytorch(place)
    assert found.state == "warning" and torch.__version__ in found.found
    assert "plan" in found.do
    programs("nvidia-smi", "")
    (found,) = packages.pytorch(place)
    assert found.state == "warning" and "nvidia-smi" in found.found and "driver" in found.do
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert states(packages.pytorch(place)) == ["ok"]


@pytest.mark.parametrize(("version", "state"), [("2.7.1+cu126", "problem"), ("2.10.0", "ok")])
def test_an_old_pytorch_is_a_problem(place, monkeypatch, version, state):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch, "__version__", version)
    assert states(packages.pytorch(place)) == [state]
    monkeypatch.setitem(sys.modules, "torch", None)
    (found,) = packages.pytorch(place)
    assert found.state == "problem" and "pip install torch" in found.do


def test_the_oldest_pytorch_is_that_of_the_requirements():
    needed = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert f"torch>={'.'.join(map(str, packages.OLDEST))}" in needed["dependencies"]
    names = {extra.partition("[")[0].partition(">")[0] for extra in _workflow(needed)}
    assert {*packages.WORKFLOW} == names


def _workflow(project):
    return project["optional-dependencies"]["workflow"]


def test_a_torchvision_of_another_make_is_a_problem(place, monkeypatch):
    assert states(packages.torchvision(place)) == ["ok"]

    @contextlib.contextmanager
    def another():
        raise RuntimeError("operator torchvision::nms does not exist")
        yield

    monkeypatch.setattr(uncompiled, "imports", another)
    (found,) = packages.torchvision(place)
    assert found.state == "problem" and "together" in found.do


def test_a_clone_needs_snakemake_and_the_library_alone_does_not(place, monkeypatch):
    assert states(packages.workflow(place)) == ["ok"]
    monkeypatch.setattr(packages, "WORKFLOW", ("pulp", "no-such-package"))
    (found,) = packages.workflow(place)
    assert found.state == "not checked" and "library alone" in found.found
    (place.folder / "Snakefile").touch()
    (found,) = packages.workflow(place)
    assert (found.state, found.found) == ("problem", "no-such-package lacking")


def test_versions_are_held_against_the_lock(place, monkeypatch):
    (found,) = packages.versions(place)
    assert found.state == "not checked"
    installed = {"numpy": "2.3.1", "torch": "2.15.0+cu132"}
    monkeypatch.setattr(packages, "_version", installed.get)
    lock = place.folder / "requirements.lock"
    pinned = "numpy==2.3.1 ; sys_platform == 'linux' \\\n    --hash=sha256:0\nnot-here==1.0 \\\n"
    lock.write_text(f"{pinned}torch==2.15.0 \\\n")
    (found,) = packages.versions(place)
    assert (found.state, found.found) == ("ok", "2 packages as in the lock")
    lock.write_text(f"{pinned}torch==2.14.0 \\\n")
    (found,) = packages.versions(place)
    assert (found.state, found.found) == (
        "warning",
        "other than in the lock: torch 2.15.0+cu132 (2.14.0)",
    )


def test_gpus_are_named_with_their_memory_and_who_has_them(place, gpus):
    assert states(machine.gpus(place)) == ["ok", "ok"]
    gpus[1] = 30e9
    free, little = machine.gpus(place)
    assert "NVIDIA H100, capability 9.0; 70 of 80 GB free" in free.found
    assert little.state == "warning" and "CUDA_VISIBLE_DEVICES" in little.do
    assert not [*Path(tempfile.tempdir).glob("deadpixel-*/*")], "to look takes no lease"
    for _ in range(2):
        devices.resolve("cuda")
    *_, little = machine.gpus(place)
    assert little.state == "ok" and "leased" in little.found


def test_no_gpu_is_not_checked(place, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert states(machine.gpus(place)) == ["not checked"]


@pytest.mark.parametrize(("free", "state"), [(11e9, "ok"), (9e9, "problem")])
def test_the_disk_has_to_hold_what_the_plan_says_of_jobs_that_are_left(
    place, monkeypatch, free, state
):
    usage = SimpleNamespace(free=free)
    monkeypatch.setattr(shutil, "disk_usage", {place.folder: usage, place.results: usage}.get)
    (found,) = machine.disk(place)
    assert found.state == "not checked" and "snakemake plan" in found.do
    plan = pd.DataFrame(index=range(3), columns=schemas.PLAN.names)
    plan = plan.assign(disk_mb=5000.0, measured_seconds=[np.nan, np.nan, 3.0])
    numbers = ["work", "predicted_seconds", "memory_mb", "measured_memory_mb"]
    plan = plan.assign(**dict.fromkeys(["priority", "records"], 0), **dict.fromkeys(numbers, 0.0))
    plan = plan.assign(needs_device=True)
    parquet.write(plan, place.results / "plan.parquet", schemas.PLAN, {})
    (found,) = machine.disk(place)
    assert found.state == state and "need at most 10 GB" in found.found


def test_a_damaged_plan_is_a_problem(place):
    place.results.mkdir()
    (place.results / "plan.parquet").write_text("no Parquet")
    (found,) = made_by("disk", lambda: machine.disk(place))
    assert found.state == "problem" and "delete it" in found.found


def test_folders_that_cannot_be_written_are_problems(place):
    (found,) = machine.writing(place)
    assert found.state == "ok" and "resources" not in found.found
    (place.folder / "Snakefile").touch()
    (place.folder / "resources").touch()
    (found,) = machine.writing(place)
    assert found.state == "problem" and found.found.startswith(str(place.folder / "resources"))


def test_locks_are_seen_by_another_process(place, monkeypatch):
    found = [*machine.locks(place)]
    assert states(found) == ["ok", "ok"]
    assert str(place.folder) in found[0].found and tempfile.gettempdir() in found[1].found
    assert [*place.folder.iterdir()] == []
    # a file system on which a lock is a file that others do not heed
    monkeypatch.setattr(filelock, "FileLock", filelock.SoftFileLock)
    found = [*machine.locks(place)]
    assert states(found) == ["problem", "problem"]
    assert "is free then free" in found[0].found and "TMPDIR" in found[1].do


def test_a_file_system_without_locks_is_a_problem(place, monkeypatch):
    def refused(*_, **__):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(filelock.FileLock, "acquire", refused)
    found, _ = machine.locks(place)
    assert found.state == "problem" and "No locks available" in found.found


def test_partitions_of_slurm(place, programs):
    assert states(surroundings.slurm(place)) == ["not checked"]
    programs("scontrol", "echo 'MinJobAge               = 300 sec'")
    programs("sinfo", "echo 'cpu* (up, 4 nodes, 1:00:00, (null))'")
    (found,) = surroundings.slurm(place)
    assert found.state == "warning" and "cpu* (up, 4 nodes" in found.found
    programs("sinfo", "echo 'cpu* (up, 4 nodes, 1:00:00, (null))\ng (up, 2 nodes, 1:00, gpu:a:4)'")
    (found,) = surroundings.slurm(place)
    assert found.state == "ok" and "(null)), g (up" in found.found
    programs("scontrol", "echo 'MinJobAge               = 180 sec'")
    assert states(surroundings.slurm(place)) == ["ok", "warning"]
    programs("sinfo", "echo 'no controller' >&2; exit 1")
    (found,) = surroundings.slurm(place)
    assert found.state == "warning" and "no controller" in found.found


@pytest.fixture
def registry(place, monkeypatch):
    """Write one with these servers; nothing goes through a proxy."""
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    (place.folder / "data").mkdir()

    def write(*servers):
        lines = [f"  - {{url: {server}/some/file.zip, bytes: 3}}" for server in servers]
        (place.folder / "data/registry.yaml").write_text("\n".join(lines))

    return write


def test_servers_are_reached_whatever_they_answer(place, registry, monkeypatch):
    with serving(404) as (refusing, asked), serving(200) as (hub, _):
        registry(refusing, refusing)
        assert states(surroundings.addresses(place)) == ["ok"]
        assert len(asked) == 1, "each is asked once, and not for a file"
        monkeypatch.delenv("HF_HUB_OFFLINE")
        monkeypatch.setenv("HF_ENDPOINT", hub)
        found = [*surroundings.addresses(place)]
        assert states(found) == ["ok", "ok"] and hub in found[1].found
    found = [*surroundings.addresses(place)]
    assert states(found) == ["warning", "warning"]
    assert "refused" in found[0].found and "resources/" in found[0].do


def test_offline_nothing_is_asked(place, registry):
    with serving(200) as (server, asked):
        registry(server)
        offline = Place(place.folder, place.results, is_offline=True)
        assert states(surroundings.addresses(offline)) == ["not checked"]
        assert asked == []


def test_servers_of_the_registry_are_found(monkeypatch):
    found = [*surroundings._servers(ROOT / "data/registry.yaml")]
    assert {"https://data.caltech.edu", "https://download.pytorch.org"} < {*found}
    assert len(found) == 3


def passing(_):
    yield Finding("ok", "fine")


def failing(_):
    yield Finding("problem", "broken", "mend it")


@pytest.fixture
def checked(monkeypatch):
    """Let the doctor make these checks alone."""

    def make(of_machine, of_device=None):
        monkeypatch.setattr(checks, "CHECKS", of_machine)
        monkeypatch.setattr(gpu, "CHECKS", of_device or {})

    return make


def test_the_device_is_tried_if_it_is_to_be_had(place, checked, gpus, monkeypatch):
    checked({"one": passing}, {"maps": passing, "pools": failing})
    *_, found = checks.examine(place, "cuda")
    assert (found.check, found.state) == ("pools on cuda:0", "problem")
    assert devices.leased(["0", "1"]) == ["0"]
    *_, found = checks.examine(place, "auto")
    assert found.check == "pools on cuda:1"
    *_, found = checks.examine(place, "auto")
    assert found.state == "not checked" and "leased all" in found.found
    assert [of.check for of in checks.examine(place, "cpu")] == [
        "one",
        "maps on cpu",
        "pools on cpu",
    ]
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert states(checks.examine(place, "auto")) == ["ok", "not checked"]
    assert states(checks.examine(place, "cuda")) == ["ok", "problem"]


def test_the_exit_status_is_1_where_there_is_a_problem(checked, capsys, tmp_path):
    checked({"one": passing})
    assert command.main(["doctor"]) == 0
    checked({"one": passing, "two": failing})
    file = tmp_path / "found.json"
    assert command.main(["doctor", "--json", str(file), "--results", str(tmp_path)]) == 1
    assert "two: broken" in capsys.readouterr().out
    assert command.main(["doctor", "--json", "-"]) == 1
    printed = json.loads(capsys.readouterr().out)
    assert printed == json.loads(file.read_text())
    assert printed[1] == {"check": "two", "state": "problem", "found": "broken", "do": "mend it"}


def test_every_check_is_described():
    text = (ROOT / "docs/doctor.md").read_text()
    described = re.findall(r"^\| ([\w -]+) \|", text, re.MULTILINE)
    assert [name for name in described if name != "check"] == [*checks.CHECKS, *gpu.CHECKS]


@pytest.mark.slow
def test_nothing_stands_in_the_way_of_these_tests(capsys, monkeypatch):
    monkeypatch.chdir(ROOT)
    status = command.main(["doctor", "--offline"])
    printed = capsys.readouterr().out
    assert status == 0, printed
    assert all(f" {name}: " in printed for name in checks.CHECKS)
    assert os.uname().release in printed

"""The workflow as a Snakemake module in someone else's Snakefile, as docs/reuse.md has it."""

import re
import subprocess
from pathlib import Path

import pandas as pd
import pytest

from workflow.conftest import jobs

ROOT = Path(__file__).resolve().parents[2]
PYTHON, YAML = re.findall(
    r"```(?:python|yaml)\n(.*?)```", (ROOT / "docs/reuse.md").read_text(), re.DOTALL
)
HOSTED = re.search(r"github\(.*\)", PYTHON)[0]
TRF = "results/fields/trf/model=resnet18/kernels=odd/trf.parquet"


@pytest.fixture
def theirs(tmp_path):
    folder = tmp_path / "theirs"
    folder.mkdir()
    (folder / "config.yaml").write_text(YAML)
    return folder


def run_theirs(checkout, theirs, snakefile, *arguments):
    (theirs / "Snakefile").write_text(snakefile)
    where = ("--directory", str(theirs), "--snakefile", str(theirs / "Snakefile"))
    return checkout.run("snakemake", *where, "--cores", "1", *arguments)


def host(checkout, hosts, monkeypatch):
    """A Git repository of the checkout, which git takes for the one of the page."""
    repository = hosts / re.search(r'"(.+?)"', HOSTED)[1]
    for command in (
        ["init", "--quiet", checkout.folder],
        ["-C", checkout.folder, "add", "."],
        [
            *("-C", checkout.folder, "-c", "user.name=A", "-c", "user.email=a@b.c"),
            *("commit", "--quiet", "--message", "All"),
        ],
        ["-C", checkout.folder, "tag", re.search(r'tag="(.+?)"', HOSTED)[1]],
        ["clone", "--quiet", "--bare", checkout.folder, repository],
    ):
        subprocess.run(["git", *command], check=True)
    monkeypatch.setenv("GIT_CONFIG_COUNT", "1")
    monkeypatch.setenv("GIT_CONFIG_KEY_0", f"url.file://{hosts}/.insteadOf")
    monkeypatch.setenv("GIT_CONFIG_VALUE_0", "https://github.com/")
    monkeypatch.setenv("XDG_CACHE_HOME", str(hosts / "cache"))


@pytest.mark.parametrize("hosted", [False, True])
def test_rules_run_in_the_folder_of_another_workflow(
    checkout, theirs, tmp_path, monkeypatch, hosted
):
    snakefile = PYTHON if hosted else PYTHON.replace(HOSTED, f'"{checkout.folder}/Snakefile"')
    if hosted:
        host(checkout, tmp_path / "hosts", monkeypatch)
        checkout.folder.rename(tmp_path / "elsewhere")
        checkout.folder.mkdir()
    status, output = run_theirs(checkout, theirs, snakefile, TRF)
    assert status == 0, output
    trf = pd.read_parquet(theirs / TRF)
    assert trf.set_index("target").loc["layer4", "size_h"] == 435
    assert {*theirs.glob("*/*")} >= {theirs / "results/benchmarks", theirs / "logs/compute_trf"}
    assert not (checkout.folder / "results").exists()
    status, output = run_theirs(checkout, theirs, snakefile, TRF, "-n")
    assert status == 0 and "Nothing to be done" in output
    status, output = run_theirs(checkout, theirs, snakefile, "-n")
    assert status == 0, output
    planned = jobs(output)
    assert planned["deadpixel_make_size_test"] == planned["compare"] == 1
    assert planned["deadpixel_count_flops"] == 2, "networks of their configuration, and no others"


def test_a_prefix_that_jobs_would_not_know_of_is_refused(checkout, theirs):
    local = PYTHON.replace(HOSTED, f'"{checkout.folder}/Snakefile"\n    prefix: "fields"')
    status, output = run_theirs(checkout, theirs, local, "-n")
    assert status != 0 and "name its folders as pathvars" in output
    assert "Traceback" not in output

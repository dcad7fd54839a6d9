"""`snakemake plan` on the paper's configuration, of which nothing has run."""

import json

import pytest
import yaml

from deadpixel.files import parquet, schemas
from workflow.conftest import Checkout


def write_costs(file, model):
    """Of an imagined forward pass."""
    cost = {"model": model, "size": [224, 224], "flops": 1e10}
    cost |= {"parameters": 2e7, "activations": 1e7}
    file.parent.mkdir(parents=True)
    file.write_text(json.dumps([{**cost, "kernels": kernels} for kernels in ("odd", "padded")]))


@pytest.fixture(scope="module")
def planned(tmp_path_factory):
    checkout = Checkout(tmp_path_factory.mktemp("plan") / "checkout")
    for model in yaml.safe_load((checkout.folder / "config.yaml").read_text())["models"]:
        if model != "resnet50":  # counting is the longest part, and the same for each
            write_costs(checkout.folder / f"results/flops/model={model}/flops.json", model)
    status, output = checkout.snakemake("plan", "--cores", "2", overlay={"device": "cuda"})
    assert status == 0, output
    return checkout, output


@pytest.fixture
def plan(planned):
    return parquet.read(planned[0].folder / "results/plan.parquet", schemas.PLAN)


def test_it_answers_before_anything_is_downloaded(planned):
    checkout, output = planned
    assert "Worth asking for: " in output and "Assumed, not measured, are the speeds" in output
    assert (checkout.folder / "results/plan.md").read_text() in output
    assert not (checkout.folder / "resources").exists()
    made = {file.name for file in (checkout.folder / "results").glob("*.parquet")}
    assert made == {"plan.parquet", "plan_makespans.parquet"}
    assert (checkout.folder / "results/figures/plan.png").stat().st_size > 10_000


def test_every_job_of_the_paper_is_in_it(plan):
    jobs = plan.groupby("rule").size()
    assert jobs["finetune_model"] == 9 * 2 + 3 * 2 * 2
    assert jobs["train_microobject"] == 3 * 2 * 5
    assert jobs["accumulate_erf"] == 9 + 9 * 2
    assert jobs["retrieve_file"] == 9 + 2
    assert jobs["measure_starts"] == 3 * 2
    assert plan["needs_device"].sum() == 30 + 30 + 27 + 6
    assert plan["measured_seconds"].isna().all()


def test_the_work_is_that_of_the_paper(plan):
    """resnet50 on caltech101, 224 px: 4.09e9 multiplications and additions a forward pass."""
    run = plan.set_index("job").loc["finetune_model/caltech101+resnet50+imagenet+odd+0"]
    images = 8677 * (3 * 0.70 + 0.15)
    assert run["work"] == pytest.approx(200 * images * 2 * 4.09, rel=0.01)
    field = plan.set_index("job").loc["accumulate_erf/cub200+resnet50+imagenet+odd"]
    assert field["work"] == pytest.approx(5794 * 4 * 2 * 4.09, rel=0.01)


def test_the_optimum_is_between_its_bound_and_the_schedulers_time(planned, plan):
    spans = parquet.read(planned[0].folder / "results/plan_makespans.parquet", schemas.MAKESPANS)
    assert spans["devices"].tolist()[:4] == [1, 2, 4, 8]
    on_gpus = plan.loc[plan["needs_device"], "predicted_seconds"].sum()
    for row in spans.itertuples():
        assert on_gpus / row.devices <= row.bound_seconds * (1 + 1e-9)
        assert row.bound_seconds <= row.optimum_seconds <= row.list_seconds


def test_a_second_call_has_nothing_to_do(planned):
    status, output = planned[0].snakemake("plan", "-n", "--configfile", "mine.yaml")
    assert status == 0 and "Nothing to be done" in output

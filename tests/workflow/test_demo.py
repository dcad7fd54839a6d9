"""`make demo` end to end: results, contracts, a second run, a lost file, a kill, the report.

The demo of fewer images and epochs; that a network learns in it is for who runs it to see.
"""

import contextlib
import os
import re
import shutil
import signal
import time
import zipfile
from pathlib import Path

import nbclient
import nbformat
import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
import yaml
from PIL import Image

import browser
from deadpixel import extent as extents
from deadpixel import imbalance as metrics
from deadpixel.files import maps, parquet, schemas
from deadpixel.results import (
    causes,
    explained,
    fields,
    microobject,
    seen,
    shape_test,
    size_test,
)
from deadpixel.results.probes import attacks, linear, places, saliency, shifts
from deadpixel.results.survey import SURVEY
from waiting import until
from workflow.conftest import jobs

CONVERGING = "dataset=synthetic/model=resnet50/weights=calibrated/kernels=odd"
PROBED = "dataset=synthetic/model=resnet10/weights=finetuned/kernels=padded"
NOTEBOOK = Path(__file__).resolve().parents[2] / "docs/inspect_results.ipynb"
DEMO = ("--cores", "2", "--configfile", "config.demo.yaml")
MAPS = "dataset=synthetic/model={model}/weights=calibrated/kernels=odd/target={target}"
MODELS, TARGETS = ("resnet10", "resnet50"), ("layer3", "layer4", "output")
KERNELS = ("odd", "padded")
ARMS = ["odd", "padded", "stem"]
IMBALANCE = schemas.measures(metrics.columns())
EXTENT = schemas.measures(extents.columns())
STRONGER = 1.2  # pixels at odd rows and columns than those at even ones
ERRORS = 2  # of an index of imbalance, at least, above zero and between kinds of kernels
OFF = {"calibrated": 4, "finetuned": 6}  # px that a centre may be off: its errors are up to 3


@pytest.fixture
def settings(demo):
    return yaml.safe_load((demo.folder / "config.demo.yaml").read_text())


@pytest.fixture
def results(demo):
    return demo.folder / "results/demo"


def erf_path(results, model, target):
    return results / "erf" / MAPS.format(model=model, target=target) / "erf.parquet"


def test_every_file_keeps_its_contract(results):
    contracts = {
        "trf.parquet": schemas.TRF,
        "fits.parquet": schemas.FITS,
        "imbalance.parquet": IMBALANCE,
        "extent.parquet": EXTENT,
        f"convergence/{CONVERGING}/convergence.parquet": schemas.CONVERGENCE,
        "tables/table1.parquet": size_test.TABLE1.schema,
        "tables/correlations.parquet": size_test.CORRELATIONS.schema,
        "tables/receptive_fields.parquet": fields.FIELDS.schema,
        "tables/finetune_runs.parquet": shape_test.RUNS.schema,
        "tables/table2.parquet": shape_test.TABLE2.schema,
        "tables/table3.parquet": shape_test.TABLE3.schema,
        "tables/table4.parquet": microobject.TABLE4.schema,
        "tables/first_epochs.parquet": microobject.FIRST_EPOCHS.schema,
        "tables/causes.parquet": causes.CONTRASTS.schema,
        "tables/causes_arms.parquet": causes.ARMS.schema,
        "tables/causes_runs.parquet": causes.RUNS.schema,
        "tables/seen/causes/resnet10/shares.parquet": seen.SHARES.schema,
        "tables/seen/microobject/resnet10/explained.parquet": explained.EXPLAINED.schema,
        "data/dataset=synthetic/manifest.parquet": schemas.MANIFEST,
        "tables/probes_linear.parquet": linear.LINEAR.schema,
        "tables/probes_places.parquet": places.PLACES.schema,
        "tables/probes_shifts.parquet": shifts.SHIFTS.schema,
        "tables/probes_confidence.parquet": shifts.AT_CONFIDENCE.schema,
        "tables/probes_spectrum.parquet": shifts.SPECTRUM.schema,
        "tables/probes_attacks.parquet": attacks.ATTACKS.schema,
        "tables/probes_saliency.parquet": saliency.SALIENCY.schema,
        "tables/survey.parquet": SURVEY.schema,
        "survey/chunk=0/survey.parquet": schemas.SURVEY,
        "survey/chunk=0/tiles.parquet": schemas.SURVEY_TILES,
        **{f"probes/{PROBED}/{name}.parquet": schema for name, schema in schemas.PROBES.items()},
    }
    for name, schema in contracts.items():
        assert pq.read_schema(results / name).remove_metadata() == schema, name
        facts = parquet.read_provenance(results / name)
        # that of a manifest says nothing else, so that equal images give an equal file
        assert facts.get("versions", {}).get("torch") or facts.keys() == {"fractions", "seed"}, name
    figures = ["fig1", "fig2", "fig3", "fig4", "fig5", "accuracies", "causes", "probes", "saliency"]
    figures += ["survey"]
    figures += [
        "training_curves",
        "size_against_accuracy",
        "erf_maps/size_test/resnet50",
        "erf_maps/shape_test/resnet10",
        "convergence/size_test",
        "convergence/shape_test",
        "seen/causes/resnet10",
    ]
    for name in figures:
        with Image.open(results / f"figures/{name}.png") as picture:
            picture.load()
        assert (results / f"figures/{name}.svg").read_text().rstrip().endswith("</svg>")
        assert (results / f"figures/{name}.pdf").read_bytes().rstrip().endswith(b"%%EOF")
    tiles = {file.stem for file in (results / "figures/survey_tiles").glob("*.svg")}
    assert tiles == {"examples%2Fresnet10.py%3Abuild", "mobilenet_v2", "vgg11_bn"}


@pytest.mark.parametrize(
    ("name", "written"),
    [
        ("size_against_accuracy", "no accuracy is published of such weights"),
        ("erf_maps/size_test/resnet10", "untrained, batch norms measured on its images"),
        ("erf_maps/shape_test/resnet10", "fine-tuned on synthetic (seed 0), before that untrained"),
        ("fig1", "layer4, padded kernels"),
        ("convergence/size_test", "resnet50, layer4"),
        ("convergence/shape_test", "resnet10, padded, layer4"),
        ("fig2", "4 × 4, stride 2"),
        ("fig3", "redrawn at random, 8 × 8"),
        ("accuracies", "always the commonest class"),
        ("fig5", "padded, mean"),
        ("causes", "checkerboard"),
        ("probes", "one-pixel attacks"),
        ("saliency", "divided by the tile of R"),
    ],
)
def test_figures_say_what_they_are_of(results, name, written):
    svg = (results / f"figures/{name}.svg").read_text()
    assert re.search(rf">[^<]*{re.escape(written)}[^<]*</text>", svg)
    for theirs in (">the paper</text>", "first epoch in the paper"):
        assert theirs not in svg  # synthetic images, and weights of no one


def test_one_read_sees_every_map(results):
    everything = pd.read_parquet(results / "erf")
    key = ["dataset", "model", "weights", "kernels", "target"]
    assert set(everything.columns) == {"row", "col", "mean", "se", *key}
    assert len(everything) == (len(MODELS) + len(KERNELS)) * len(TARGETS) * 224 * 224
    assert (everything["mean"] >= 0).all() and (everything["se"] >= 0).all()


def images_of_the_test(results):
    manifest = parquet.read(results / "data/dataset=synthetic/manifest.parquet", schemas.MANIFEST)
    return manifest[manifest["split"] == "test"]


def test_provenance_of_a_map(results):
    facts = parquet.read_provenance(erf_path(results, "resnet10", "output"))
    assert facts["n_images"] == len(images_of_the_test(results))
    assert facts["device"] == "cpu" and facts["dtype"] == "float32"
    assert facts["logit"] == "predicted" and facts["input_size"] == 224 and facts["seed"] == 0
    assert {"batch_size", "seconds", "git_commit", "versions"} <= set(facts)
    path = "dataset=synthetic/model=resnet10/weights=finetuned/kernels=odd/target=output"
    facts = parquet.read_provenance(results / "erf" / path / "erf.parquet")
    assert facts["logit"] == "true", "the head was made for these images"


def test_the_numbers_are_those_of_the_networks(results):
    trf = parquet.read(results / "trf.parquet", schemas.TRF)
    trf = trf.set_index(["model", "kernels", "target"])["size_h"]
    assert trf[("resnet10", "odd", "layer4")] == 195
    assert trf[("resnet10", "padded", "layer4")] == 226
    assert trf[("resnet50", "odd", "layer4")] == 427
    assert trf[("resnet50", "odd", "output")] == np.inf
    fits = parquet.read(results / "fits.parquet", schemas.FITS)
    fits = fits[fits["weights"] == "calibrated"].set_index(["model", "target"])
    for model in MODELS:
        assert fits.loc[(model, "layer4"), "center_x"] == pytest.approx(96, abs=OFF["calibrated"])
        assert fits.loc[(model, "layer4"), "center_y"] == pytest.approx(96, abs=OFF["calibrated"])
        assert fits.loc[(model, "layer3"), "center_x"] == pytest.approx(112, abs=OFF["calibrated"])
    field = maps.read(erf_path(results, "resnet10", "layer3")).mean
    assert field[63:162, 63:162].any()
    assert not field[:63].any() and not field[162:].any()
    assert not field[:, :63].any() and not field[:, 162:].any()
    extent = parquet.read(results / "extent.parquet", EXTENT)
    extent = extent[extent["weights"] == "calibrated"].set_index(["model", "target"])
    layer3 = extent.loc[("resnet10", "layer3")]
    assert layer3["dead"] == pytest.approx(1 - (99 / 224) ** 2, abs=0.001)
    assert layer3["stride"] == 16 and layer3["mass_distance"] < 4 * layer3["mass_distance_se"] + 1
    assert (extent["radius_50_se"] < 0.1 * extent["radius_50"]).all()


def test_the_checkerboard_shows(results):
    """Pixels at odd rows and columns count most, at even ones least, well beyond the noise."""
    for model in MODELS:
        stored = maps.read(erf_path(results, model, "output"))
        strong, weak = stored.mean[1::2, 1::2].mean(), stored.mean[::2, ::2].mean()
        assert strong > STRONGER * weak
    imbalance = parquet.read(results / "imbalance.parquet", IMBALANCE)
    for index in ("l1", "l2", "contrast"):
        assert (imbalance[f"{index}_unbiased"] > ERRORS * imbalance[f"{index}_unbiased_se"]).all()
        assert (imbalance[f"{index}_floor"] < imbalance[index]).all()


def test_the_course_of_a_map_ends_at_what_is_measured_of_it(results):
    path = results / f"convergence/{CONVERGING}/convergence.parquet"
    course = parquet.read(path, schemas.CONVERGENCE).set_index("target").loc["layer4"]
    assert course["n_blocks"].tolist() == [*range(1, 11)]
    assert course["n_images"].iloc[-1] == len(images_of_the_test(results))
    for name, schema in (("fits", schemas.FITS), ("imbalance", IMBALANCE)):
        rows = parquet.read(results / f"{name}.parquet", schema)
        rows = rows.query("weights == 'calibrated' and target == 'layer4'").set_index("model")
        for column in {*rows} & {*course} - {"n_images"}:
            expected = rows.loc["resnet50", column]
            assert course[column].iloc[-1] == pytest.approx(expected, rel=1e-3), column


def test_padding_moves_the_field_and_lessens_the_imbalance(results):
    """Of the fine-tuned network: layer4 looks at the middle, the output is more even."""
    fits = parquet.read(results / "fits.parquet", schemas.FITS)
    fits = fits[(fits["weights"] == "finetuned") & (fits["target"] == "layer4")]
    centres = fits.set_index("kernels")[["center_x", "center_y"]]
    assert (centres.loc["odd"] - 96).abs().max() < OFF["finetuned"]
    assert (centres.loc["padded"] - 111.5).abs().max() < OFF["finetuned"]
    imbalance = parquet.read(results / "imbalance.parquet", IMBALANCE)
    imbalance = imbalance[imbalance["weights"] == "finetuned"]
    output = imbalance[imbalance["target"] == "output"].set_index("kernels")
    for index in ("l1_unbiased", "l2_unbiased", "contrast_unbiased"):
        fall = output.loc["odd", index] - output.loc["padded", index]
        assert fall > ERRORS * np.hypot(*output[f"{index}_se"])


def test_the_notebook_reads_the_results_as_they_are(demo, results):
    folder, names = demo.folder / "docs", ("checkerboard", "fitted")
    folder.mkdir()
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    keep = "\n".join(f"{name}.to_parquet('{name}.parquet')" for name in names)
    notebook.cells.append(nbformat.v4.new_code_cell(keep))
    beside = {"metadata": {"path": folder}}
    nbclient.NotebookClient(notebook, timeout=300, resources=beside).execute()
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    shown = [output["data"] for output in outputs]  # and nothing printed, as warnings are
    assert sum("image/png" in data for data in shown) == 1
    asked, fitted = (pd.read_parquet(folder / f"{name}.parquet") for name in names)
    assert len(asked) == len([*results.glob("erf/**/erf.parquet")])
    assert (asked["pixels"] == 224 * 224).all()
    ratios = asked.set_index(["weights", "kernels"])["odd_over_even"]
    assert ratios["calibrated"].min() > STRONGER
    assert ratios["finetuned", "odd"].min() > ratios["finetuned", "padded"].max()
    fits = parquet.read(results / "fits.parquet", schemas.FITS)
    of = "model == 'resnet10' and weights == 'calibrated' and target == 'layer4'"
    sigma_x = fits.query(of)["sigma_x"].item()
    assert fitted.loc["sigma_x", "stored"] == sigma_x
    assert np.allclose(fitted["again"], fitted["stored"], rtol=1e-6)


def test_every_epoch_and_every_prediction_is_kept(results, settings):
    count, seeds = settings["finetune"]["epochs"], settings["finetune"]["repeated"]["seeds"]
    runs = parquet.read(results / "tables/finetune_runs.parquet", shape_test.RUNS.schema)
    assert len(runs) == len(KERNELS) * len(seeds)
    path = "model=resnet10/weights=calibrated/kernels={}/seed=0"
    for kernels in KERNELS:
        folder = results / "finetune/epochs/dataset=synthetic" / path.format(kernels)
        epochs = parquet.read(folder / "epochs.parquet", schemas.EPOCHS)
        assert epochs["epoch"].tolist() == [*range(1, count + 1)]
        norm = parquet.read_provenance(folder / "epochs.parquet")["added_weights_norm"]
        assert (norm > 0) == (kernels == "padded")
    assert len(pd.read_parquet(results / "finetune/epochs")) == len(runs) * count
    predictions = pd.read_parquet(results / "finetune/predictions")
    assert len(predictions) == len(runs) * len(images_of_the_test(results))


def test_only_arithmetic_of_the_paper_stands_beside_untrained_networks(results):
    table = parquet.read(results / "tables/table1.parquet", size_test.TABLE1.schema).set_index(
        "model"
    )
    assert table.loc["resnet50", ["trf", "paper_trf"]].tolist() == [427, 427]
    assert table[["acc1", "paper_acc1", "paper_sigma_x"]].isna().all(axis=None)
    page = (results / "tables/table1.md").read_text()
    assert "No accuracy stands beside our sizes" in page
    assert "data set: synthetic instead of cub200" in page
    correlations = parquet.read(
        results / "tables/correlations.parquet", size_test.CORRELATIONS.schema
    )
    assert set(correlations["source"]) == {"the paper, all nine"}


def test_every_run_of_the_other_task_is_kept(results, settings):
    count, seeds = settings["microobject"]["epochs"], settings["microobject"]["seeds"]
    firsts = parquet.read(results / "tables/first_epochs.parquet", microobject.FIRST_EPOCHS.schema)
    assert len(firsts) == len(KERNELS) * len(seeds)
    compared = parquet.read(results / "tables/causes_runs.parquet", causes.RUNS.schema)
    assert {*zip(compared["kernels"], compared["seed"], strict=True)} == {
        (kernels, seed) for kernels in ARMS for seed in seeds
    }
    everything = pd.read_parquet(results / "microobject/epochs")
    assert len(everything) == len(ARMS) * len(seeds) * count
    assert everything["test_acc"].notna().all() and everything["valid_acc"].isna().all()


def test_the_stem_alone_ends_the_checkerboard_and_not_the_blind_edge(results):
    """Of the networks that the runs start with; of few images, so only what is clear."""
    read = parquet.read(results / "tables/causes_arms.parquet", causes.ARMS.schema)
    arms = read.set_index("kernels")
    assert [*arms.index] == ARMS and arms["left_odd"].tolist() == [8, 0, 6]
    assert arms.loc["odd", "added"] == 0 and arms.loc["stem", "added"] > 0
    assert arms.loc["stem", "added"] < arms.loc["padded", "added"]
    uneven = arms["edge_left"] - arms["edge_right"]
    assert uneven["odd"] > 0.2 and uneven["stem"] > 0.2 and abs(uneven["padded"]) < 0.2


def test_what_each_square_was_taken_for_makes_the_accuracy(results):
    squares, epochs = (pd.read_parquet(results / "microobject" / n) for n in ("seen", "epochs"))
    key = ["model", "kernels", "seed", "epoch"]
    right = (squares["square"] == squares["predicted"]).groupby([squares[k] for k in key]).mean()
    accuracies = epochs.set_index(key)["test_acc"]
    assert np.allclose(right, accuracies.reindex(right.index))
    places = squares[["seed", "epoch", "path", "square", "row", "col"]].drop_duplicates()
    assert len(places) == len(squares) / len(ARMS), "the same in every arm"
    answered = pd.read_parquet(results / "microobject/steps").groupby(key, observed=True)
    steps = answered[["images", "right"]].sum()
    share = steps["right"] / steps["images"]
    assert np.allclose(share, epochs.set_index(key)["train_acc"].reindex(share.index))


def test_the_plan_sets_measured_beside_predicted(demo, results):
    status, output = demo.snakemake("plan", *DEMO)
    assert status == 0, output
    assert "Predicted against measured: median error" in output
    plan = parquet.read(results / "plan.parquet", schemas.PLAN)
    assert (plan["measured_seconds"] > 0).all() and plan["needs_device"].all()
    assert (plan["predicted_seconds"] > 0).all()
    trained = plan[plan["rule"] == "train_microobject"]
    assert (trained["records"] == len(trained) - 1).all(), "a job's own record is left out"
    assert (trained["work"] > 0).all() and (trained["measured_memory_mb"] > 300).all()


def test_a_second_run_has_nothing_to_do(demo):
    status, output = demo.snakemake("-n", *DEMO)
    assert status == 0 and "Nothing to be done" in output


def test_a_lost_block_is_made_again_after_a_kill_and_nothing_else(demo, results, tmp_path):
    """A lost map needs no network at all: its blocks are kept."""
    path = erf_path(results, "resnet10", "layer4")
    before = shutil.copy(path, tmp_path / "before.parquet")
    fits_before = parquet.read(results / "fits.parquet", schemas.FITS)
    path.unlink()
    status, output = demo.snakemake("-n", *DEMO)
    assert status == 0
    after_it = {
        "measure_fields": 1,
        "collect_fields": 1,
        "make_size_test": 1,
        "plot_erf_maps": 1,
        "plot_convergence": 1,
        "make_report": 1,
        "all": 1,
    }
    assert jobs(output) == after_it
    network = "erf_blocks/dataset=synthetic/model=resnet10/weights=calibrated/kernels=odd"
    (results / network / "block=3/sums.parquet").unlink()
    status, output = demo.snakemake("-n", *DEMO)
    assert status == 0
    assert jobs(output) == {"accumulate_erf": 1, **after_it}

    process, scratch = demo.start("snakemake", *DEMO), results / ".scratch/erf"
    until(lambda: [*scratch.glob("*/*/block-1.npz")], process, demo.folder)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    finished = {file: file.stat().st_mtime_ns for file in scratch.glob("*/*/block-*.npz")}
    assert 2 <= len(finished) < 10

    printed = tmp_path / "printed"
    process = demo.start("snakemake", *DEMO, log=printed)
    kept = {}
    while process.poll() is None:
        for file in finished:
            with contextlib.suppress(FileNotFoundError):  # at the end it is removed
                kept[file] = file.stat().st_mtime_ns
        time.sleep(0.1)
    assert process.returncode == 0, printed.read_text()
    assert kept == finished, "finished blocks were computed again"
    assert not list(scratch.iterdir())
    after = parquet.read(path, schemas.ERF)
    pd.testing.assert_frame_equal(after, parquet.read(before, schemas.ERF), check_exact=True)
    fits_after = parquet.read(results / "fits.parquet", schemas.FITS)
    pd.testing.assert_frame_equal(fits_after, fits_before, check_exact=True)


def test_the_report_says_what_the_files_say(results):
    said = " ".join((results / "report.html").read_text(encoding="utf-8").split())
    imbalance = parquet.read(results / "imbalance.parquet", IMBALANCE)
    tuned = imbalance[(imbalance["weights"] == "finetuned") & (imbalance["target"] == "output")]
    odd, padded = tuned.set_index("kernels")["contrast_unbiased"][[*KERNELS]]
    assert f"contrast of the tile: {padded:.3f} instead of {odd:.3f} (95 % interval" in said
    assert "theoretical size of resnet50 is the paper" in said and "synthetic images" in said
    for section in (
        "size_test",
        "shape_test",
        "microobject",
        "causes",
        "probes",
        "maps",
        "explore",
    ):
        assert f'id="{section}"' in said


def test_probed_images_are_none_that_say_which_pixels_are_strong(results):
    facts = parquet.read_provenance(results / f"probes/{PROBED}/places.parquet")
    of_images = parquet.read(results / f"probes/{PROBED}/places.parquet", schemas.PROBES["places"])
    assert facts["n_probed"] == of_images["image"].nunique() and facts["split"] == "test"
    manifest = parquet.read(results / "data/dataset=synthetic/manifest.parquet", schemas.MANIFEST)
    assert facts["n_reference"] <= (manifest["split"] == "train").sum()
    assert facts["preprocess"]["crop"] == 64, "that of training"


def test_what_is_sent_holds_the_page_and_every_table_and_figure(results):
    kinds = {"tables": {".parquet", ".md"}, "figures": {".png", ".svg", ".pdf"}}
    files = {
        file
        for folder, suffixes in kinds.items()
        for file in (results / folder).rglob("*")
        if file.suffix in suffixes and file.stem != "plan"
    }
    with zipfile.ZipFile(results / "report.zip") as sent:
        held = {results.parent / name for name in sent.namelist()}
        assert held == {*files, results / "report.html"}
        assert sent.read("demo/report.html") == (results / "report.html").read_bytes()


@browser.needed
def test_the_report_opens_in_a_browser(results, tmp_path):
    """As it is, and within Snakemake's own."""
    page = browser.opened(results / "report.html", tmp_path)
    assert page.count("<svg") == 2 and "<polyline" in page, "profiles of the explorer"
    provenance = browser.opened(results / "provenance.html", tmp_path)
    for text in ("Which pixels does a convolutional network", "This is the demo", "Size test"):
        assert text in provenance

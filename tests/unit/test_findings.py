"""Sentences of the first page say what the Parquet files hold, and nothing where these are not."""

import numpy as np
import pandas as pd
import pytest

import reported
from deadpixel.files import parquet, schemas
from deadpixel.results import render
from deadpixel.results.explained import EXPLAINED
from deadpixel.results.report import findings
from deadpixel.results.report.run import Run


def said(tmp_path, finding, **changed):
    return [*getattr(findings, finding)(reported.write(tmp_path, **changed))]


@pytest.mark.parametrize(
    ("finding", "sentences"),
    [
        (
            "theoretical_size",
            ["The theoretical size of 1 of 2 networks is the paper's, to the pixel."],
        ),
        (
            "correlation",
            [
                "Over 9 networks the theoretical size does not tell the accuracy: Kendall's τ "
                "+0.24, exact p = 0.460.",
                "Over 9 networks the σx of the fit goes with the accuracy: Kendall's τ −0.90, "
                "exact p < 0.001.",
            ],
        ),
        (
            "unevenness",
            [
                "resnet18 sees pixels unevenly: by their place in a tile of 32 px the sensitivity "
                "of the logits deviates by 0.150 ± 0.010 from that of the pixels around (root "
                "mean square, as a share)."
            ],
        ),
        (
            "padding_and_the_tile",
            [
                "In resnet18, padded kernels lower the contrast of the tile: 0.040 instead of "
                "0.140 (95 % interval of the difference −0.128 to −0.072)."
            ],
        ),
        (
            "edges",
            [
                "In resnet18 with odd kernels the left edge counts 0.70 ± 0.02 of the middle, the "
                "right one 0.40 ± 0.01; in resnet18 with padded kernels the left edge counts 0.70 "
                "± 0.02 of the middle, the right one 0.69 ± 0.01 (no difference is shown)."
            ],
        ),
        (
            "accuracy",
            [
                "After fine-tuning with padded kernels in resnet18 the test accuracy is 1.50 "
                "points higher: 81.50 % instead of 80.00 % (3 seeds; 95 % interval of the "
                "difference 1.00 to 2.00; p = 0.500, and no p below 0.25 is possible)."
            ],
        ),
        (
            "micro_object",
            [
                "With padded kernels in resnet18 the square is seen 26.0 epochs sooner, at least: "
                "after 3.5 epochs instead of 29.5 (2 seeds; p = 0.500, and no p below 0.5 is "
                "possible).",
                "No run in resnet50 saw the square in time: there is nothing to compare.",
            ],
        ),
        (
            "contrasts_in_short",
            [
                "Of the contrasts in resnet18 (checkerboard and edge) checkerboard is shown to "
                "change how soon the square is seen."
            ],
        ),
        (
            "probed_pixels",
            [
                "In resnet18 with odd kernels the same small disturbance moves the logit 1.50 "
                "times as far on the strongest tenth of the pixels as on the weakest (95 % 1.12 to "
                "9.00); R says 2.50."
            ],
        ),
        (
            "probed_logits",
            [
                "The fixed linear model of R explains R² −2.50 of the logits of resnet18 with odd "
                "kernels over images (correlation +0.25, 95 % −0.10 to +0.50)."
            ],
        ),
        (
            "attacked",
            [
                "A one-pixel attack on resnet18 with odd kernels succeeds on 50 % of 20 images by "
                "strong pixels, on 10 % by weak ones (McNemar's p = 0.020)."
            ],
        ),
        (
            "saliency_contrast",
            [
                "Gradient maps of resnet18 with odd kernels have a tile contrast of 0.200; divided "
                "by the mean tile of R of other images, 0.050."
            ],
        ),
        (
            "surveyed",
            [
                "Of 2 networks with random weights uneven is expected to see most unevenly "
                "(contrast 0.400, 12 % of its pixels under half of the mean) and even least "
                "(0.010).",
                "With padded kernels the contrast of 1 of them is at most 0.020, with odd ones at "
                "least 0.400.",
            ],
        ),
    ],
)
def test_a_sentence_is_what_its_table_says(tmp_path, finding, sentences):
    assert said(tmp_path, finding) == sentences


@pytest.mark.parametrize(
    ("finding", "table"),
    [
        ("theoretical_size", "table1"),
        ("correlation", "correlations"),
        ("unevenness", "receptive_fields"),
        ("padding_and_the_tile", "receptive_fields"),
        ("edges", "receptive_fields"),
        ("accuracy", "table3"),
        ("micro_object", "table4"),
        ("contrasts_in_short", "causes"),
        ("contrasts", "causes"),
        ("probed_pixels", "probes_places"),
        ("probed_logits", "probes_linear"),
        ("attacked", "probes_attacks"),
        ("saliency_contrast", "probes_saliency"),
        ("surveyed", "survey"),
    ],
)
def test_without_its_table_there_is_no_sentence(tmp_path, finding, table):
    assert said(tmp_path / "with", finding)
    assert said(tmp_path / "without", finding, **{table: None}) == []


def test_where_no_accuracy_is_published_the_papers_correlation_stands_alone(tmp_path):
    theirs = reported.CORRELATIONS[2:]
    (sentence,) = said(tmp_path, "correlation", correlations=theirs)
    assert sentence.startswith("No accuracy is published of these weights")
    assert "nine networks the theoretical size does not tell" in sentence
    assert "τ +0.50, exact p = 0.060" in sentence


def test_a_difference_within_its_error_is_not_shown(tmp_path):
    close = reported.FIELDS.copy()
    close.loc[2, "contrast_unbiased"] = 0.13
    (sentence,) = said(tmp_path, "padding_and_the_tile", receptive_fields=close)
    assert "padded kernels are not shown to change the contrast of the tile" in sentence
    assert "0.130 instead of 0.140 (95 % interval of the difference −0.038 to 0.018)" in sentence


def test_three_networks_have_an_interval_over_networks(tmp_path):
    """Student's t of -0.1, -0.2, -0.3: -0.2 ± 4.303 x 0.1 / √3."""
    rows = [
        reported.field_row("finetuned", kernels, value, model=f"net{number}")
        for kernels, values in (("odd", (0.3, 0.4, 0.5)), ("padded", (0.2, 0.2, 0.2)))
        for number, value in enumerate(values)
    ]
    of_three = reported.frame(reported.fields.FIELDS, *rows)
    (sentence,) = said(tmp_path, "padding_and_the_tile", receptive_fields=of_three)
    assert sentence.startswith("On average over 3 networks, padded kernels are not shown to ")
    assert "0.200 instead of 0.400 (95 % interval of the difference −0.448 to 0.048)" in sentence
    steady = of_three.assign(contrast_unbiased=[0.3, 0.4, 0.5, 0.4, 0.51, 0.6])
    (sentence,) = said(tmp_path / "steady", "padding_and_the_tile", receptive_fields=steady)
    assert "padded kernels raise the contrast of the tile: 0.503 instead of 0.400" in sentence


def test_all_networks_of_the_papers_size_are_named(tmp_path):
    both = reported.TABLE1.assign(trf=reported.TABLE1["paper_trf"])
    assert said(tmp_path, "theoretical_size", table1=both) == [
        "The theoretical size of resnet18 and resnet50 is the paper's, to the pixel."
    ]


def test_networks_are_even_as_far_as_the_errors_tell(tmp_path):
    even = reported.FIELDS.assign(contrast_unbiased=0.039)
    assert said(tmp_path / "even", "unevenness", receptive_fields=even) == [
        "resnet18 sees pixels evenly, as far as the errors tell."
    ]
    (clear,) = said(tmp_path, "unevenness", receptive_fields=even.assign(contrast_unbiased=0.041))
    assert "unevenly" in clear


def test_without_fine_tuning_edges_are_those_of_networks_as_they_came(tmp_path):
    (sentence,) = said(tmp_path, "edges", receptive_fields=reported.FIELDS[:1])
    assert sentence.startswith("In resnet18 with odd kernels the left edge counts 0.70 ± 0.02")
    assert sentence.endswith("the right one 0.40 ± 0.01.")
    unknown = reported.FIELDS.assign(asymmetry_x_se=np.nan)
    assert said(tmp_path, "edges", receptive_fields=unknown) == []


@pytest.mark.parametrize(
    ("difference", "unseen_before", "unseen_after", "said_of_it"),
    [
        (4.0, 0, 1, "4.0 epochs later, at least:"),
        (4.0, 1, 0, "4.0 epochs later, at most:"),
        (-4.0, 1, 0, "4.0 epochs sooner, at least:"),
        (-4.0, 0, 1, "4.0 epochs sooner, at most:"),
        (-4.0, 0, 0, "4.0 epochs sooner: after"),
        (4.0, 1, 1, "4.0 epochs later, as far as runs that did not see it in time can tell:"),
        (0.0, 0, 1, "as soon, as far as runs that did not see it in time can tell:"),
    ],
)
@pytest.mark.parametrize("model", ["resnet18", "all"])
def test_runs_that_never_saw_the_square_bound_the_difference(
    tmp_path, difference, unseen_before, unseen_after, said_of_it, model
):
    counts = {"unseen_before": unseen_before, "unseen_after": unseen_after}
    row = reported.TABLE4[:1].assign(epochs_difference=difference, model=model, **counts)
    (sentence,) = said(tmp_path, "micro_object", table4=row)
    assert f"the square is seen {said_of_it}" in sentence


def test_networks_none_of_which_ever_saw_the_square_have_nothing_to_compare(tmp_path):
    row = reported.TABLE4[1:].assign(model="all")
    assert said(tmp_path, "micro_object", table4=row) == [
        "No run in 2 networks saw the square in time: there is nothing to compare."
    ]


def test_the_row_of_all_networks_stands_for_them(tmp_path):
    (own,) = said(tmp_path / "own", "accuracy", table3=reported.TABLE3.assign(mcnemar_p=0.0412))
    assert own.endswith("is possible; over the images of the first seed McNemar's p = 0.041).")
    overall = reported.TABLE3.assign(model="all", n_pairs=5, difference=-2.0)
    both = pd.concat([reported.TABLE3, overall], ignore_index=True)
    (sentence,) = said(tmp_path, "accuracy", table3=both)
    assert "in 5 networks the test accuracy is 2.00 points lower" in sentence
    assert "(5 networks; 95 %" in sentence


def test_contrasts_that_too_few_seeds_cannot_tell_say_so(tmp_path):
    few = reported.CAUSES.assign(signflip_p=0.5, signflip_smallest_p=0.5)
    (sentence,) = said(tmp_path, "contrasts_in_short", causes=few)
    assert "(checkerboard and edge) none is shown to change" in sentence
    assert sentence.endswith("With so few seeds no p below 0.5 is possible.")
    shared = reported.CAUSES.assign(level=0.01)  # p is 0.031, which by itself would do
    (sentence,) = said(tmp_path / "shared", "contrasts_in_short", causes=shared)
    assert "(checkerboard and edge) none is shown to change" in sentence
    assert sentence.endswith("With so few seeds no p below 0.031 is possible.")


def test_a_ratio_whose_interval_has_one_in_it_is_not_shown(tmp_path):
    rows = reported.PLACES.assign(ratio_low=0.5)
    (sentence,) = said(tmp_path, "probed_pixels", probes_places=rows)
    assert "(95 % 0.50 to 9.00: no difference is shown)" in sentence
    rows = reported.PLACES.assign(ratio_low=0.1, ratio_high=0.9)
    (sentence,) = said(tmp_path / "below", "probed_pixels", probes_places=rows)
    assert "no difference" not in sentence


def test_where_the_square_is_seen_is_of_the_micro_object_task_and_not_of_the_causes(tmp_path):
    files = []
    for experiment, share in (("microobject", 0.25), ("causes", 0.75)):
        odd = {"model": "resnet18", "kernels": "odd"}
        rows = reported.frame(
            EXPLAINED,
            reported.row(**odd, predictor="phase", explained=share),
            reported.row(**odd, predictor="edge", explained=0.01),
            reported.row(**odd, predictor="both"),
        )
        files.append(tmp_path / f"tables/seen/{experiment}/resnet18/explained.parquet")
        render.save(rows, EXPLAINED, {}, files[-1:])
    assert [*findings.where_seen(Run(tmp_path, tmp_path / "report.html", files))] == [
        "Of which squares resnet18 with odd kernels sees, the tile under them explains 25.0 % and "
        "the edges 1.0 % (of the deviance, by themselves)."
    ]


def write_course(folder, weights, model, **errors):
    """Of maps after five and after ten blocks; errors by target, as shares."""
    rows = [
        {"target": target, "n_blocks": number, "n_images": 10 * number, "l1": 2.0}
        | dict.fromkeys(["sigma_x", "sigma_y"], 2.0 + 0 * error)
        | dict.fromkeys(["sigma_x_jackknife_se", "sigma_y_jackknife_se"], 0.001)
        | {"l1_se": 2 * error}
        for target, shares in errors.items()
        for number, error in zip((5, 10), shares, strict=True)
    ]
    key = f"dataset=drawn/model={model}/weights={weights}/kernels=odd"
    path = folder / f"convergence/{key}/convergence.parquet"
    frame = pd.DataFrame(rows, columns=schemas.CONVERGENCE.names)
    parquet.write(frame, path, schemas.CONVERGENCE, {})
    return path


def test_maps_that_no_gaussian_fits_are_told_from_those_of_too_few_images(tmp_path):
    errors = "the standard errors of σ and L1"
    cases = {
        f"After 50 images {errors} of 1 of 3 maps are below 1 %; for 1 100 are too few; no "
        "Gaussian fits 1 of 3 maps.": {"a": (0.009, 0.008), "b": (0.03, 0.02), "c": (np.nan,) * 2},
        f"100 images are too few for {errors} of any map to be below 1 %; no Gaussian fits 1 of 2 "
        "maps.": {"b": (0.03, 0.02), "c": (np.nan,) * 2},
        "No Gaussian fits 1 of 1 maps.": {"c": (np.nan,) * 2},
    }
    for sentence, errors_of in cases.items():
        file = write_course(tmp_path, "calibrated", "a", **errors_of)
        run = Run(tmp_path, tmp_path / "report.html", [file])
        assert [*findings.images_enough(run)] == [sentence]


def test_intervals_of_maps_are_students_over_their_blocks(tmp_path):
    """Of ten blocks 2.26 standard errors."""
    for asymmetry, shown in ((0.043, False), (0.047, True)):
        folder = tmp_path / str(asymmetry)
        file = write_course(folder, "calibrated", "resnet18", output=(0.1, 0.1))
        fields = reported.FIELDS[:1].assign(asymmetry_x=asymmetry, asymmetry_x_se=0.02)
        run = reported.write(folder, receptive_fields=fields, more=[file])
        (sentence,) = findings.edges(run)
        assert ("no difference is shown" not in sentence) is shown


def test_how_many_images_are_enough_is_of_networks_as_they_came(tmp_path):
    early, late, never = (0.009, 0.008), (0.02, 0.009), (0.03, 0.02)
    errors = "the standard errors of σ and L1"
    cases = {
        f"After 100 images {errors} of every map are below 1 %.": (early, late),
        f"After 50 images {errors} of 2 of 3 maps are below 1 %; for the others 100 are too few.": (
            early,
            never,
        ),
        f"100 images are too few for {errors} of any map to be below 1 %.": (never, never),
    }
    for sentence, (layer4, output) in cases.items():
        files = [
            write_course(tmp_path, "calibrated", "a", layer4=layer4, output=output),
            write_course(tmp_path, "finetuned", "a", layer4=late, output=never),
        ]
        if layer4 == early and output == never:
            files.append(write_course(tmp_path, "calibrated", "b", layer4=early))
        run = Run(tmp_path, tmp_path / "report.html", files)
        assert [*findings.images_enough(run)] == [sentence]
    assert [*findings.images_enough(Run(tmp_path, tmp_path / "report.html", files[1:]))] == []


def test_a_wrong_number_is_another_sentence(tmp_path):
    """What the first page says follows every digit of the file."""
    right = said(tmp_path / "right", "padding_and_the_tile")
    wrong = reported.FIELDS.copy()
    wrong.loc[1, "contrast_unbiased"] += 0.001
    assert said(tmp_path / "wrong", "padding_and_the_tile", receptive_fields=wrong) != right


@pytest.mark.parametrize(
    ("names", "text"), [(["a"], "a"), (["a", "b"], "a and b"), (["a", "b", "c"], "a, b and c")]
)
def test_names_in_words(names, text):
    assert findings.words(names) == text

"""The page of a run: what it holds, what it leaves out, and that it works in a browser."""

import base64
import io
import os
import re
import zipfile
import zlib
from html.parser import HTMLParser
from urllib.parse import unquote

import numpy as np
import pandas as pd
import pytest
from PIL import Image

import browser
import reported
from deadpixel.files import maps, parquet, schemas
from deadpixel.imbalance import mean_tile
from deadpixel.results import pages, render, shape_test
from deadpixel.results.render import NUMBER, Column
from deadpixel.results.report import bundle, explorer, pictures, sections
from deadpixel.results.report.comparison import compared
from deadpixel.results.report.page import page
from deadpixel.results.report.run import Run

ODD = "synthetic/resnet18/finetuned/odd/output"
PADDED = "synthetic/resnet18/finetuned/padded/output"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Of a run that is whole, with its page."""
    place = tmp_path_factory.mktemp("run")
    (place / "report.html").write_text(page(reported.write(place)), encoding="utf-8")
    return place


class Links(HTMLParser):
    """Addresses and names of a page."""

    def __init__(self, text):
        super().__init__()
        self.to, self.names = [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        found = dict(attrs)
        self.to += [found[name] for name in ("href", "src") if found.get(name)]
        self.names += [found["id"]] if "id" in found else []


def test_every_link_leads_somewhere(folder):
    links = Links((folder / "report.html").read_text(encoding="utf-8"))
    files, known = [], {ODD, PADDED, ODD.replace("finetuned", "calibrated")}
    for link in links.to:
        if link.startswith("#left="):
            assert link.removeprefix("#left=") in known
        elif link.startswith("#"):
            assert link[1:] in links.names
        elif not link.startswith("data:"):
            files.append(folder / unquote(link))
    assert len(set(links.names)) == len(links.names)
    assert {*files} >= {*folder.glob("erf/**/erf.parquet"), *folder.glob("tables/*.parquet")} - {
        folder / "tables/receptive_fields.parquet"
    }
    assert all(file.is_file() for file in files)


def test_what_is_sent_holds_the_files_at_their_places_and_is_the_same_every_time(tmp_path):
    """Whatever the order of the files, their times and where they lie, in a folder or by name."""
    names = ["report.html", *(f"tables/table{number}.md" for number in (1, 2, 3, 4))]
    for place, order in (("a", names), ("b", ["tables", *names[::-1]])):
        run = tmp_path / place / "run"
        (run / "tables").mkdir(parents=True)
        for name in names:
            (run / name).write_text(f"text of {name} " * 99)
        (run / "tables/.hidden").touch()
        os.utime(run / "report.html", (1e9, 1e9 + len(order)))
        bundle.write(tmp_path / f"{place}.zip", run, [run / name for name in order])
    assert (tmp_path / "a.zip").read_bytes() == (tmp_path / "b.zip").read_bytes()
    with zipfile.ZipFile(tmp_path / "a.zip") as sent:
        assert sent.namelist() == [f"run/{name}" for name in names]
        assert sent.read("run/tables/table1.md") == (run / "tables/table1.md").read_bytes()
        page = sent.getinfo("run/report.html")
        assert page.external_attr >> 16 == 0o644 and page.compress_size < 99


def test_nothing_is_loaded_from_elsewhere(folder):
    text = (folder / "report.html").read_text(encoding="utf-8")
    assert "default-src 'none'" in text and "://" not in text.replace("://www.w3.org", "")
    assert not re.search(r"\b(fetch|import|XMLHttpRequest)\(", text)


def test_the_first_page_says_what_the_numbers_are_of_and_cannot_say(folder):
    text = (folder / "report.html").read_text(encoding="utf-8")
    for said in (
        "synthetic images, drawn by this workflow",
        "drawn at random and never trained",
        "Caltech-101, photographs of objects. Trained for 7 epochs from weights trained on",
        "Trained from scratch, at most 50 epochs",
        "With so few runs no p-value below 0.25 (Shape test) and 0.5 (Micro-object) is possible",
        "note of table3",
        "lower the contrast of the tile: 0.040 instead of 0.140",
    ):
        assert said in " ".join(text.split()), said
    assert "(Causes)" not in text and "None epochs" not in text


def test_an_experiment_that_is_not_there_has_no_place(tmp_path):
    of_maps = reported.write(tmp_path, table3=None, table4=None, causes=reported.CAUSES[:0])
    text = page(of_maps)
    for gone in ("microobject", "causes", "cost"):
        assert f'id="{gone}"' not in text and f"#{gone}" not in text
    assert 'id="size_test"' in text and 'id="maps"' in text
    without_maps = Run(tmp_path, tmp_path / "report.html", [tmp_path / "tables/table1.parquet"])
    text = page(without_maps)
    assert 'id="size_test"' in text
    assert "explorer" not in re.sub(r"<style>.*</style>", "", text, flags=re.DOTALL).lower()
    assert "Every map" not in text and "<dt>Shape test" not in text


def test_the_cost_is_that_of_the_plan(tmp_path):
    jobs = {"rule": ["a", "b", "a"], "predicted_seconds": [60.0, 600, 30]}
    plan = pd.DataFrame(jobs | {"measured_seconds": [30.0, np.nan, 60]})
    plan = plan.reindex(columns=schemas.PLAN.names).astype({"needs_device": bool})
    plan = plan.assign(after=[[]] * 3, priority=0, records=0, job="j", needs_device=True)
    parquet.write(plan, tmp_path / "plan.parquet", schemas.PLAN, {})
    rows = sections.costs(Run(tmp_path, tmp_path / "report.html", [tmp_path / "plan.parquet"]))
    expected = {
        "rule": ["b", "a"],
        "jobs": [1, 2],
        "predicted": [10, 1.5],
        "measured": [np.nan, 1.5],
    }
    pd.testing.assert_frame_equal(rows.reset_index(drop=True), pd.DataFrame(expected))
    assert sections.costs(Run(tmp_path, tmp_path / "report.html", [])) is None


def test_names_are_places_below_the_results_of_a_definition_too(tmp_path):
    own = tmp_path / "definition=absolute"
    files = [own / "figures/fig1.png", tmp_path / "figures/fig2.png"]
    run = Run(tmp_path, own / "report.html", files)
    assert run.names("figures/*.png") == ["figures/fig1.png", "figures/fig2.png"]
    assert run.link("figures/fig1.png") == "figures/fig1.png"
    assert run.link("figures/fig2.png") == "../figures/fig2.png"
    assert run.path("figures/fig2.png") == files[1]
    assert run.table("tables/table3.parquet", shape_test.TABLE3) is None


def test_kernels_are_called_as_in_the_other_tables(tmp_path):
    trf = tmp_path / "trf/model=resnet18/kernels=padded/trf.parquet"
    row = {"model": "resnet18", "kernels": "padded", "changed": 2, "left_odd": 3, "added": 0}
    parquet.write(pd.DataFrame([row], columns=schemas.TRF.names), trf, schemas.TRF, {})
    reported.write(tmp_path)
    run = Run(tmp_path, tmp_path / "report.html", [trf, tmp_path / "tables/table3.parquet"])
    found = run.table("tables/table3.parquet", shape_test.TABLE3)
    assert found.shown["kernels"].tolist() == ["padded (2 of 5)"]
    assert found.rows["kernels"].tolist() == ["padded"]


def test_the_papers_numbers_stand_beside_ours():
    rows, table = compared(reported.TABLE3, shape_test.TABLE3)
    shown = {column.header: cells[0].text for column, cells in render.readable(rows, table)}
    assert [*rows] == table.names
    (row,) = rows.to_dict("records")
    assert row["before_less_paper"] == 1.0 and row["difference_less_paper"] == 0.25
    assert shown["paper in our 95 %"] == "yes" and shown["paper: difference"] == "1.25"
    outside, _ = compared(reported.TABLE3.assign(paper_difference=2.01), shape_test.TABLE3)
    assert outside["difference_within"].tolist() == ["no"]
    unknown, table = compared(reported.TABLE3.assign(low=np.nan), shape_test.TABLE3)
    headers = [column.header for column, _ in render.readable(unknown, table)]
    assert "paper in our 95 %" not in headers


def unpacked(packed):
    """Values and errors of a packed map, as the docstring of `pack` says."""
    raw = zlib.decompress(base64.b64decode(packed["text"]))
    high, low, error = np.frombuffer(raw, np.uint8).reshape(3, packed["height"], packed["width"])
    steps = (256 * high.astype(int) + low - explorer.STEPS) / explorer.STEPS
    values = np.sign(steps) * steps**2 * packed["largest"]
    return values, (error / explorer.ERROR_STEPS) ** 2 * packed["largest_error"]


@pytest.mark.parametrize("least", [0, -1])
def test_a_packed_map_is_the_map_as_closely_as_is_said(least):
    draw = np.random.default_rng(1)
    values = draw.uniform(least, 1, (20, 30)) ** 3 * 7e-6
    values[3, 4], values[0, 0] = 9e-6, 0
    errors = draw.uniform(0, 1, (20, 30)) * 1e-6
    of_values, of_errors = unpacked(explorer.pack(values, errors))
    assert np.abs(of_values - values).max() <= 9e-6 / explorer.STEPS
    assert np.abs(of_errors - errors).max() <= errors.max() / explorer.ERROR_STEPS
    small = np.abs(values) < 1e-8
    assert small.sum() > 20 and np.abs(of_values - values)[small].max() < 3e-10
    assert of_values[0, 0] == 0


def test_a_map_of_zeros_and_errors_of_one_image_are_zero():
    with np.errstate(invalid="raise"):
        packed = explorer.pack(np.zeros((2, 3)), np.full((2, 3), np.nan))
    of_values, of_errors = unpacked(packed)
    assert not of_values.any() and not of_errors.any()


def test_the_packed_tile_is_the_librarys():
    values = np.random.default_rng(2).uniform(0, 1, (64, 64))
    found = explorer.tile(values)
    assert found["side"] == 32
    np.testing.assert_allclose(found["values"], mean_tile(values, 32).ravel(), atol=5.1e-4)
    assert {*explorer.tile(np.zeros((64, 64)))["values"]} == {None}


def test_maps_beyond_what_a_page_may_hold_are_named(monkeypatch):
    fields = [
        maps.StoredField({"model": name}, 2, np.full((8, 8), number), np.ones((8, 8)))
        for number, name in enumerate("abc")
    ]
    held, left_out = explorer.fitting(fields)
    assert [*held] == ["a", "b", "c"] and left_out == []
    monkeypatch.setattr(explorer, "MOST_TEXT", len(held["a"]["text"]) + len(held["b"]["text"]))
    held, left_out = explorer.fitting(fields)
    assert [*held] == ["a", "b"] and left_out == ["c"]


@pytest.mark.slow
def test_the_papers_maps_fit_on_the_page():
    """Nine networks, three targets, three kinds of weights: of one map of noise, 81 times."""
    draw = np.random.default_rng(0)
    images = draw.gamma(0.3, 1, (200, 224, 224)).astype(np.float32)
    mean, se = images.mean(0).astype(float), images.std(0).astype(float) / np.sqrt(200)
    packed = len(explorer.pack(mean, se)["text"])
    assert 81 * packed < explorer.MOST_TEXT
    assert 81 * (len(str(explorer.tile(mean))) + len(pictures.small(mean))) < 1_600_000


def test_pictures_have_the_colours_of_the_figures():
    picture = decoded(pictures.of_map(np.linspace(0, 1, 100).reshape(10, 10)))
    assert picture.size == (10, 10)
    dark, bright = (sum(picture.getpixel(at)) for at in ((0, 0), (9, 9)))
    assert dark < 20 and bright > 500
    signed = decoded(pictures.of_map(np.array([[-1.0, 0.0, 1.0]])))
    low, middle, high = (signed.getpixel((column, 0)) for column in range(3))
    assert low[2] > low[0] and high[0] > high[2] and min(middle) > 230
    tile = decoded(pictures.of_tile(np.array([[0.5, 1.0, 1.5]]), 0.5))
    violet, _, orange = (tile.getpixel((column, 0)) for column in range(3))
    assert violet[2] > violet[0] and orange[0] > orange[2]


def test_small_pictures_are_of_means():
    assert decoded(pictures.small(np.ones((224, 200)))).size == (100, 112)
    row, column = np.indices((224, 224))
    one_of_four = (row % 2 == 0) & (column % 2 == row // 2 % 2)  # now left, now right
    assert len(decoded(pictures.small(one_of_four.astype(float))).getcolors()) == 1
    assert decoded(pictures.small(np.ones((64, 65)))).size == (65, 64)


def decoded(address):
    data = base64.b64decode(address.partition(",")[2])
    return Image.open(io.BytesIO(data)).convert("RGB")


def test_a_wide_figure_becomes_smaller_and_a_narrow_one_stays(tmp_path):
    for width, expected in ((3000, 1200), (700, 700)):
        file = tmp_path / f"{width}.png"
        Image.new("RGB", (width, 100), "red").save(file)
        address, shown = pictures.of_figure(file)
        picture = decoded(address)
        assert shown == round(0.6 * width), "120 px for an inch of 200"
        assert picture.width == expected and picture.height == round(100 * expected / width)
        assert picture.getpixel((5, 5)) == (255, 0, 0)


def test_what_is_written_into_a_page_is_escaped():
    table = render.Table(render.MODEL, Column("x", NUMBER, "a < b"))
    text = render.html(pd.DataFrame({"model": ["<script>"], "x": [1.0]}), table, ["1 < 2"])
    assert "&lt;script&gt;" in text and "a &lt; b" in text and "1 &lt; 2" in text
    with pytest.raises(Exception, match="columns"):
        pages.page("table.html", notes=[])


SHOWN = "const box = document.getElementById('explorer'); await until(() => box.dataset.shown);"
READ = "document.getElementById('reading').textContent"


@browser.needed
@pytest.mark.slow
def test_the_page_opens_without_complaint_at_either_width(folder, tmp_path):
    for wide in (390, 1280):
        question = f"{SHOWN} return document.documentElement.scrollWidth <= window.innerWidth;"
        assert browser.asked(folder / "report.html", question, tmp_path, wide=wide) is True


@browser.needed
@pytest.mark.slow
def test_the_explorer_reads_the_values_of_the_files(folder, tmp_path):
    place = f"#left={ODD}&right={PADDED}&row=10&column=20"
    question = f"""{SHOWN}
        const unit = document.getElementById('unit');
        const relative = {READ};
        unit.value = 'raw'; unit.dispatchEvent(new Event('change'));
        await until(() => JSON.parse(box.dataset.shown).unit === 'raw');
        return [relative, {READ}];"""
    relative, raw = browser.asked(folder / "report.html", question, tmp_path, at=place)
    assert raw.startswith("row 10, column 20: left ") and relative.endswith("times the map's mean")
    for side, of in (("left", ODD), ("right", PADDED)):
        _, _, weights, kernels, _ = of.split("/")
        (file,) = folder.glob(f"erf/*/*/weights={weights}/kernels={kernels}/*/erf.parquet")
        rows = reported.rows_of(file).set_index(["row", "col"])
        mean, se = rows.loc[(10, 20), ["mean", "se"]]
        for text, unit in ((raw, 1), (relative, rows["mean"].mean())):
            value, error = re.search(rf"{side} (\S+) ± ([\d.e+-]+)", text).groups()
            assert float(value) == pytest.approx(mean / unit, rel=0.01)
            assert float(error) == pytest.approx(se / unit, rel=0.02)


@browser.needed
@pytest.mark.slow
def test_the_explorer_follows_wheel_drag_click_keys_and_menus(folder, tmp_path):
    question = f"""{SHOWN}
        const shown = () => JSON.parse(box.dataset.shown);
        const canvas = document.querySelector('canvas.view[data-side=left]');
        const area = canvas.getBoundingClientRect();
        const at = (x, y) => ({{
            clientX: area.left + x * area.width, clientY: area.top + y * area.height,
            pointerId: 1, pointerType: 'mouse', cancelable: true, bubbles: true,
        }});
        const found = [shown()];
        canvas.dispatchEvent(new WheelEvent('wheel', {{ ...at(0.25, 0.5), deltaY: -100 }}));
        await until(() => shown().zoom > 1); found.push(shown());
        canvas.setPointerCapture = undefined;
        canvas.dispatchEvent(new PointerEvent('pointerdown', at(0.5, 0.5)));
        canvas.dispatchEvent(new PointerEvent('pointermove', at(0.75, 0.5)));
        await until(() => shown().x !== found[1].x); found.push(shown());
        canvas.dispatchEvent(new PointerEvent('pointerup', at(0.75, 0.5)));
        document.querySelector('button[data-zoom="0"]').click();
        await until(() => shown().zoom === 1); found.push(shown());
        canvas.dispatchEvent(new PointerEvent('pointerdown', at(0.75, 0.25)));
        canvas.dispatchEvent(new PointerEvent('pointerup', at(0.75, 0.25)));
        await until(() => location.hash.includes('row=16')); found.push(shown());
        canvas.dispatchEvent(new KeyboardEvent('keydown', {{ key: 'ArrowDown' }}));
        await until(() => shown().row === 17); found.push(shown());
        const menu = document.querySelector('select[data-side=right]');
        menu.value = menu.options[0].value; menu.dispatchEvent(new Event('change'));
        await until(() => shown().right === menu.options[0].value); found.push(shown());
        return found;"""
    start, zoomed, moved, whole, clicked, _, chosen = browser.asked(
        folder / "report.html", question, tmp_path
    )
    assert [start["left"], start["right"]] == [ODD, PADDED], "before and after padding at first"
    assert zoomed["zoom"] == 1.25 and zoomed["y"] == pytest.approx(32, abs=0.1)
    assert zoomed["x"] == pytest.approx(16 + 16 / 1.25, abs=0.1), "the pixel under the wheel stays"
    assert moved["x"] == pytest.approx(zoomed["x"] - 16 / 1.25, abs=0.1)
    assert whole["x"] == 32 and (clicked["row"], clicked["column"]) == (16, 48)
    assert chosen["right"] == ODD.replace("finetuned", "calibrated")


@browser.needed
@pytest.mark.slow
def test_tables_are_sorted_by_number_and_searched_by_words(tmp_path):
    table = render.Table(render.MODEL, Column("x", NUMBER, "x", decimals=0))
    rows = {"model": [*"abcdef"], "x": [9.0, 10.0, np.nan, -1.0, np.inf, 9.4]}
    file = tmp_path / "table.html"
    file.write_text(render.html(pd.DataFrame(rows), table), encoding="utf-8")
    question = """
        const rows = () => [...document.querySelectorAll('tbody tr')].filter((row) => !row.hidden)
            .map((row) => row.cells[0].textContent).join('');
        const found = [rows()];
        const [byModel, byX] = document.querySelectorAll('th button');
        for (const button of [byX, byX, byModel]) { button.click(); found.push(rows()); }
        const search = document.querySelector('input[type=search]');
        for (const words of ['D', '9 f', '']) {
            search.value = words; search.dispatchEvent(new Event('input')); found.push(rows());
        }
        return found;"""
    assert browser.asked(file, question, tmp_path) == [
        *("abcdef", "dafbec", "ebfadc", "abcdef"),
        *("d", "f", "abcdef"),
    ]

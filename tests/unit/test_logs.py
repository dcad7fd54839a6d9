"""One line for what the user can mend, a traceback for a defect, and progress now and then."""

import io
import logging
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

import deadpixel
from deadpixel import logs

SCRIPT = """
import sys, warnings
from deadpixel import logs
from deadpixel.errors import InputError

class FitError(InputError):
    pass

logs.to_file(sys.argv[1])
logs.log.info("started")
warnings.warn("careful")
{last}
"""


def _run(log: Path, last: str) -> tuple[int, list[str]]:
    """Exit code of a script that ends with the line `last`, and the lines of its log."""
    env = {**os.environ, "PYTHONPATH": str(Path(deadpixel.__file__).parents[1])}
    command = [sys.executable, "-c", SCRIPT.format(last=last), str(log)]
    ended = subprocess.run(command, env=env, check=False, capture_output=True)
    return ended.returncode, log.read_text().splitlines()


@pytest.mark.parametrize("error", ["InputError", "FitError"])
def test_input_error_is_one_line(tmp_path: Path, error: str) -> None:
    """So is one of its kind; an older log is replaced."""
    (tmp_path / "new").mkdir()
    log = tmp_path / "job.log"
    log.write_text("an older run\n")
    code, lines = _run(log, f"raise {error}('mend the config')")
    assert code == 1
    assert re.fullmatch(r"\d\d:\d\d:\d\d INFO started", lines[0])
    assert "careful" in lines[1]
    assert re.fullmatch(r"\d\d:\d\d:\d\d ERROR mend the config", lines[-1])
    assert not any("Traceback" in line for line in lines)


def test_other_errors_keep_their_traceback(tmp_path: Path) -> None:
    """The log's folder is made if there is none."""
    code, lines = _run(tmp_path / "job.log", "1 / 0")
    assert code == 1
    start = lines.index("Traceback (most recent call last):")
    assert "CRITICAL" in lines[start - 1]
    assert lines[-1] == "ZeroDivisionError: division by zero"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="/dev/full is Linux's")
def test_a_full_disk_is_one_line(tmp_path: Path) -> None:
    code, lines = _run(tmp_path / "job.log", "open('/dev/full', 'wb', buffering=0).write(b'1')")
    assert code == 1
    assert lines[-1].endswith("left on device: make room and run again; what is finished is kept")
    assert "Traceback" not in "\n".join(lines)


def test_success_logs_no_error(tmp_path: Path) -> None:
    code, lines = _run(tmp_path / "job.log", "logs.log.info('done')")
    assert code == 0
    assert lines[-1].endswith(" INFO done")


def _slowly(items: Iterator[int], monkeypatch: pytest.MonkeyPatch, seconds: float) -> list[int]:
    """Take the items, spending `seconds` on each by a clock of our own."""
    now = [0.0]
    monkeypatch.setattr(logs, "time", SimpleNamespace(monotonic=lambda: now[0]))
    taken = []
    for item in items:
        taken.append(item)
        now[0] += seconds
    return taken


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        (1, []),
        (25, ["3 of 10 after 75 s", "6 of 10 after 150 s", "9 of 10 after 225 s"]),
        (60, [f"{n} of 10 after {60 * n} s" for n in range(1, 11)]),
    ],
)
def test_progress_is_at_most_a_line_a_minute(
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    seconds: float,
    expected: list[str],
) -> None:
    """The items pass unchanged."""
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    caplog.set_level(logging.INFO)
    items = logs.progress(iter(range(10)), total=10, what="images")
    assert _slowly(items, monkeypatch, seconds) == [*range(10)]
    assert caplog.messages == [f"images: {line}" for line in expected]


def test_progress_on_a_terminal_is_a_bar(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    terminal = io.StringIO()
    terminal.isatty = lambda: True
    monkeypatch.setattr(sys, "stderr", terminal)
    caplog.set_level(logging.INFO)
    items = logs.progress([5, 6], total=2, what="images")
    assert _slowly(items, monkeypatch, 100) == [5, 6]
    assert "images" in terminal.getvalue()
    assert caplog.messages == []

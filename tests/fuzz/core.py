"""Cases, each run in a process of its own, and what became of them."""

import collections
import contextlib
import json
import logging
import os
import pickle
import random
import re
import resource
import shutil
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deadpixel.errors import InputError

SECONDS = 20  # after so long a case hangs
MEMORY = 2 << 30  # bytes that a case may take beyond what it starts with
LINES = 4  # that a message may have
KINDS = {
    "right": "accepted, and what was read is right",
    "named": "accepted, and a line of the log names what is odd",
    "refused": "refused: the message names the file or key, and says what to do",
    "foreign": "refused by Snakemake before it reads this workflow, in words of its own",
    "unhelpful": "refused, but the message names nothing or does not say what to do",
    "silent": "accepted though wrong, without a word",
    "traceback": "another exception than the one that means: the user can fix this",
    "hang": "no end in time",
    "crash": "the process died",
}
GOOD = ("right", "named", "refused", "foreign")
VALID = ("whole", "as it is")  # ends of the names of cases that nothing is wrong with
# What a message that helps tells to do.
REMEDY = re.compile(
    r"(?:^|[:;,.(]\s*|\b(?:or|and|to|then|please|known)\s+)(replace|remove|delete|run|use|name|give|"
    r"choose|convert|lower|raise|install|put|save|make|fix|add|set|change|check|rename|restore|"
    r"retrieve|download|move|unpack|write|point|exclude|leave|keep|list|split|merge|load|take|"
    r"correct|try|pass|start|call|turn|fill|train|are|did you mean|do not use|create|ask|return|"
    r"import|export|unzip|decompress|draw|let|allow|register|end|free|wrap)\b",
    re.IGNORECASE,
)


class Silent(Exception):  # noqa: N818
    """Accepted though wrong."""


class Foreign(Exception):  # noqa: N818
    """Refused by what runs before this workflow, and cannot be told to say it otherwise."""


@dataclass(frozen=True)
class Case:
    """One input.

    run: makes the input in an empty folder and reads it. Returns if that is right, raises `Silent`
    if it is not; an `InputError` refuses it.
    about: words of which the message of a refusal, or the line of the log, must have one.
    seconds: after so long it hangs.
    """

    name: str
    run: Callable[[Path], None]
    about: tuple[str, ...]
    seconds: float = SECONDS


@dataclass(frozen=True)
class Outcome:
    """What became of a case: one of `KINDS`, and the message or the end of the traceback."""

    reader: str
    number: int
    name: str
    kind: str
    detail: str
    seconds: float


class _Lines(logging.Handler):
    """Lines of the log."""

    def __init__(self) -> None:
        super().__init__(logging.INFO)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())


def _judged(case: Case, folder: Path) -> tuple[str, str]:
    """In the child: run the case, and class what happens."""
    log = _Lines()
    logging.basicConfig(level=logging.INFO, handlers=[log], force=True)
    logging.captureWarnings(False)
    try:
        case.run(folder)
    except Silent as silent:
        named = [line for line in log.lines if _names(line, case)]
        return ("named", named[0]) if named else ("silent", " ".join(str(silent).split())[:200])
    except Foreign as error:
        return "foreign", str(error)
    except InputError as error:
        message = str(error)
        if case.name.endswith(VALID):
            return "unhelpful", f"refused though nothing is wrong: {message}"
        faults = [
            *([] if _names(message, case) else [f"names none of {', '.join(case.about)}"]),
            *([] if REMEDY.search(message) else ["does not say what to do"]),
            *([] if message.count("\n") < LINES else ["is long"]),
        ]
        if faults:
            return "unhelpful", f"{' and '.join(faults)}: {message}"
        return "refused", message
    except BaseException as error:
        where = [
            f for f in traceback.extract_tb(error.__traceback__) if "/deadpixel/" in f.filename
        ]
        place = f" at {Path(where[-1].filename).name}:{where[-1].lineno}" if where else ""
        lines = str(error).splitlines() or [""]
        return "traceback", f"{type(error).__name__}{place}: {lines[0][:200]}"
    return "right", ""


def _names(message: str, case: Case) -> bool:
    return any(word.lower() in message.lower() for word in case.about)


def in_child(work: Callable[[], Any], log: Path, seconds: float = SECONDS) -> tuple[str, Any]:
    """("done", what `work` returns), ("hang", None) or ("crash", how the process ended)."""
    answer = log.with_suffix(".pickle")
    answer.unlink(missing_ok=True)
    child = os.fork()
    if child == 0:
        try:
            os.setsid()
            with log.open("w") as output:
                os.dup2(output.fileno(), 1)
                os.dup2(output.fileno(), 2)
            taken = int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGESIZE")
            resource.setrlimit(resource.RLIMIT_AS, (taken + MEMORY, taken + MEMORY))
            resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
            answer.write_bytes(pickle.dumps(work()))
            sys.stdout.flush()
        finally:
            os._exit(0)
    end = time.monotonic() + seconds
    while True:
        pid, status = os.waitpid(child, os.WNOHANG)
        if pid:
            break
        if time.monotonic() > end:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(child, signal.SIGKILL)
            os.waitpid(child, 0)
            return "hang", None
        time.sleep(0.002)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child, signal.SIGKILL)  # what it has started
    if os.WIFSIGNALED(status) or not answer.exists():
        how = signal.Signals(os.WTERMSIG(status)).name if os.WIFSIGNALED(status) else "exit"
        return "crash", f"{how} {' '.join(log.read_text(errors='replace').split())[-200:]}"
    return "done", pickle.loads(answer.read_bytes())


def run(reader: str, number: int, case: Case, work: Path) -> Outcome:
    """Run one case in a process of its own."""
    folder = work / "case"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    start = time.monotonic()
    how, answer = in_child(lambda: _judged(case, folder), work / "case.log", case.seconds)
    kind, detail = answer if how == "done" else (how, answer or "")
    return Outcome(reader, number, case.name, kind, detail, time.monotonic() - start)


def chosen(cases: Iterable[Case], most: int | None, rng: random.Random) -> list[tuple[int, Case]]:
    """All cases with their numbers, or `most` of them."""
    numbered = list(enumerate(cases))
    if most is None or most >= len(numbered):
        return numbered
    return sorted(rng.sample(numbered, most), key=lambda pair: pair[0])


def run_all(
    readers: dict[str, Callable[[random.Random, Path], Iterable[Case]]],
    seed: int,
    work: Path,
    *,
    most: int | None = None,
    only: int | None = None,
) -> Iterator[Outcome]:
    """Run the cases of `readers`: all, at `most` so many of each, or `only` that of one number."""
    for name, cases in readers.items():
        place = work / name.replace(" ", "_")
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir(parents=True)
        listed = cases(random.Random(f"{seed} {name}"), place)
        for number, case in chosen(listed, most, random.Random(seed)):
            if only in (None, number):
                yield run(name, number, case, place)


def table(outcomes: Iterable[Outcome]) -> str:
    """Numbers of each kind by reader, as Markdown."""
    counts: dict[str, collections.Counter] = collections.defaultdict(collections.Counter)
    for outcome in outcomes:
        counts[outcome.reader][outcome.kind] += 1
        counts["all"][outcome.kind] += 1
    counts["all"] = counts.pop("all", collections.Counter())
    lines = [f"| reader | inputs | {' | '.join(KINDS)} |", f"|---|{'--:|' * (len(KINDS) + 1)}"]
    for reader, found in counts.items():
        numbers = " | ".join(str(found[kind]) for kind in KINDS)
        lines.append(f"| {reader} | {found.total()} | {numbers} |")
    return "\n".join(lines)


def as_json(outcomes: Iterable[Outcome]) -> str:
    return "\n".join(json.dumps(vars(outcome)) for outcome in outcomes)


def line(outcome: Outcome, seed: int) -> str:
    """A failure, and how to run it alone."""
    return (
        f"{outcome.kind}: {outcome.reader} --only {outcome.number} --seed {seed} "
        f"({outcome.name}): {outcome.detail}"
    )

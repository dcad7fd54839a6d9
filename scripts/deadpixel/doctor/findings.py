"""What a check found, in a line that says what to do about it."""

import dataclasses
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from ..errors import InputError, in_one_line

State = Literal["ok", "warning", "problem", "not checked"]


@dataclass(frozen=True)
class Finding:
    """One line; `do` is what to do about it, `check` the name of the check that found it."""

    state: State
    found: str
    do: str = ""
    check: str = ""

    def __str__(self) -> str:
        """As the terminal shows it."""
        line = f"{self.state:<11}  {self.check}: {self.found}"
        return f"{line}\n{'':>13}-> {self.do}" if self.do else line


@dataclass(frozen=True)
class Place:
    """Where a run would be: the folder of the clone, that of its results, whether on a network."""

    folder: Path
    results: Path
    is_offline: bool


def made_by(name: str, check: Callable[[], Iterable[Finding]]) -> Iterator[Finding]:
    """What `check` finds, under its name; a check that cannot be made is a finding too."""
    try:
        for finding in check():
            yield dataclasses.replace(finding, check=finding.check or name)
    except ModuleNotFoundError as error:
        yield Finding("not checked", f"{error.name} is not installed", check=name)
    except InputError as error:
        yield Finding("problem", str(error), check=name)
    except Exception as error:  # a driver's, a library's, a file system's
        yield Finding("problem", in_one_line(error), "mend this, or report it", check=name)


def summary(findings: Iterable[Finding]) -> str:
    """How many lines there are of each state."""
    counts = Counter(finding.state for finding in findings)
    return ", ".join(f"{number} {state}" for state, number in counts.items())

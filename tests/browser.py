"""Pages in headless Chromium: what they hold once their scripts have run."""

import html
import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

needed = pytest.mark.skipif(not shutil.which("chromium"), reason="Chromium is not installed")
_COMMAND = ["chromium", "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run"]
_QUIET = ["--disable-background-networking", "--disable-component-update", "--disable-sync"]
_OF_SNAKEMAKE = "cdn.tailwindcss.com should not be used in production"  # in its own report
_WAITING = (
    "const until = async (is) => { while (!is()) await new Promise((d) => setTimeout(d, 20)); };"
)


def opened(page: Path, scratch: Path, *, at: str = "", wide: int = 1280) -> str:
    """The page's HTML after ten seconds of its own time; raises what its console complains of."""
    found = subprocess.run(
        [
            *(*_COMMAND, *_QUIET, f"--user-data-dir={scratch / 'profile'}"),
            *("--enable-logging=stderr", f"--window-size={wide},900"),
            *("--virtual-time-budget=10000", "--dump-dom", page.as_uri() + at),
        ],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    said = [line for line in found.stderr.splitlines() if "CONSOLE" in line]
    complaints = [line for line in said if _OF_SNAKEMAKE not in line]
    assert not complaints, complaints
    return found.stdout


def asked(page: Path, question: str, scratch: Path, *, at: str = "", wide: int = 1280) -> Any:
    """What a script finds that runs in a copy of the page, after its own: it ends in a `return`,
    and may `await until(() => ...)`."""
    text = page.read_text(encoding="utf-8")
    run = f"(async () => {{ {_WAITING} {question} }})()"
    keep = f"{run}.then((found) => {{ document.body.dataset.found = JSON.stringify(found); }});"
    copy = scratch / f"asked-{page.name}"
    copy.write_text(text.replace("</body>", f"<script>{keep}</script></body>"), encoding="utf-8")
    body = re.search(r'data-found="([^"]*)"', opened(copy, scratch, at=at, wide=wide))
    assert body, "the script found no answer"
    return json.loads(html.unescape(body[1]))

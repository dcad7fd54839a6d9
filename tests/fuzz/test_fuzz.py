"""A few cases of every reader; the whole by hand: python tests/fuzz/run.py."""

import subprocess
import sys
from pathlib import Path


def test_damage_is_refused_in_one_line_or_does_no_harm():
    command = [sys.executable, Path(__file__).with_name("run.py"), "--most", "10"]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr

"""CPU seconds that the imports of each script take, against those of the packages it is about.

    python benchmarks/imports.py [--times 3]

A script that imports PyTorch is held against PyTorch alone, and then builds a resnet18, because
torchvision is imported on demand; every other one against pandas and pyarrow. Least of some runs.
"""

import argparse
import ast
import os
import resource
import subprocess
import sys
from pathlib import Path

SCRIPTS = Path(__file__).resolve().parents[1] / "scripts"
TABLES, NETWORKS = "import pandas, pyarrow.parquet", "import pandas, pyarrow.parquet, torch"
BUILD = "\nfrom deadpixel.networks import zoo\nzoo.build('resnet18')"
IS_FOR_NETWORKS = "\nimport sys\nsys.exit('torch' in sys.modules)"


def imports(script: Path) -> str:
    """All of its imports and no other line."""
    tree = ast.parse(script.read_text())
    tree.body = [node for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom)]
    return ast.unparse(tree)


def run(program: str) -> tuple[int, float]:
    """Exit status and CPU seconds of a Python process."""
    environment = {**os.environ, "PYTHONPATH": str(SCRIPTS), "OMP_NUM_THREADS": "1"}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    status = subprocess.run([sys.executable, "-c", program], env=environment, check=False)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return status.returncode, sum(after[:2]) - sum(before[:2])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--times", type=int, default=3)
    times = parser.parse_args().times

    def seconds(program: str) -> float:
        return min(run(program)[1] for _ in range(times))

    floors = {False: seconds(TABLES), True: seconds(NETWORKS)}
    print(f"pandas and pyarrow {floors[False]:.2f} s, with PyTorch {floors[True]:.2f} s\n")
    print("| script | CPU s | times its packages alone |\n| --- | --- | --- |")
    for script in sorted(SCRIPTS.glob("*.py")):
        program = imports(script)
        of_networks = bool(run(program + IS_FOR_NETWORKS)[0])
        taken = seconds(program + BUILD * of_networks)
        print(f"| {script.stem} | {taken:.2f} | {taken / floors[of_networks]:.2f} |", flush=True)


if __name__ == "__main__":
    main()

"""Run the cases by hand.

python tests/fuzz/run.py                         every case of every reader
python tests/fuzz/run.py packs archives          every case of some
python tests/fuzz/run.py packs --only 17 --seed 3    one case alone, as a failure prints it
Options: --most N of each reader; --table FILE for the table; --record FILE for every outcome,
a line of JSON each.
"""

import argparse
import os
import sys
import tempfile
from pathlib import Path

for variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(variable, "1")
TESTS = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(TESTS), str(TESTS.parent / "scripts")]

from fuzz import core  # noqa: E402
from fuzz.readers import READERS  # noqa: E402


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("readers", nargs="*", metavar="READER", help=", ".join(READERS))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", type=int, metavar="NUMBER")
    parser.add_argument("--most", type=int)
    parser.add_argument("--table", type=Path, metavar="FILE")
    parser.add_argument("--record", type=Path, metavar="FILE")
    options = parser.parse_args()
    if unknown := set(options.readers) - set(READERS):
        parser.error(f"unknown readers {sorted(unknown)}: known are {', '.join(READERS)}")
    readers = {name: READERS[name] for name in options.readers or READERS}
    outcomes = []
    with tempfile.TemporaryDirectory(prefix="deadpixel-fuzz-") as work:
        for outcome in core.run_all(
            readers, options.seed, Path(work), most=options.most, only=options.only
        ):
            outcomes.append(outcome)
            if outcome.kind not in core.GOOD or options.only is not None:
                print(core.line(outcome, options.seed), flush=True)
    print("\n" + core.table(outcomes))
    if options.table:
        options.table.write_text(core.table(outcomes) + "\n")
    if options.record:
        options.record.write_text(core.as_json(outcomes) + "\n")
    sys.exit(any(outcome.kind not in core.GOOD for outcome in outcomes))


if __name__ == "__main__":
    main()

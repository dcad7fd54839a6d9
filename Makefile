# Set-up and what to do with it. Everything lives in .venv; nothing outside is touched.
PYTHON ?= python3
CORES ?= all
RESULTS := results/demo
BIN := .venv/bin
# Set, it makes every job compile all that it imports: on some machines half of a short job's time.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: setup demo doctor check test lint api lock timm clean

setup: .venv/installed

demo: .venv/installed
	$(BIN)/snakemake --cores $(CORES) --configfile config.demo.yaml --quiet host reason --report-after-run --report $(RESULTS)/provenance.html
	@echo "The report is $(RESULTS)/report.html: open it in a browser."

# What on this machine stands in the way of a run; a GPU is tried.
doctor: .venv/installed
	PYTHONPATH=scripts $(BIN)/python -m deadpixel doctor

# What to run while changing things: style, types and the quick tests.
check: lint
	$(BIN)/pytest -n 2 -m "not slow" tests/unit

test: .venv/installed
	$(BIN)/pytest -n 2 --dist loadfile --no-loadscope-reorder

lint: .venv/installed
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/snakefmt --check Snakefile rules
	$(BIN)/snakemake --lint
	$(BIN)/basedpyright

# Pages of the library from its docstrings. Matplotlib lists the fonts first: pdoc forbids programs.
api: .venv/installed
	$(BIN)/python -c "import matplotlib.font_manager"
	$(BIN)/python -W error::UserWarning -m pdoc scripts/deadpixel -o site

# After a change of the dependencies in pyproject.toml; then bring envs/ in line (a test tells).
lock: .venv/installed
	$(BIN)/uv pip compile pyproject.toml --quiet --extra workflow --extra timm --group dev --universal --fork-strategy fewest \
	    --python-version 3.11 --generate-hashes --no-annotate --no-header --no-emit-index-url -o requirements.lock

# After a new timm (a test tells): which weights and which transforms its networks have, and their families and sizes.
timm: .venv/installed
	PYTHONPATH=scripts $(BIN)/python data/list_timm.py > data/timm.csv.new && mv data/timm.csv.new data/timm.csv
	$(BIN)/python data/list_timm_architectures.py > data/timm.csv.new && mv data/timm.csv.new data/timm_architectures.csv

clean:
	rm -rf .venv .snakemake site $(RESULTS) logs/demo

# pip brings uv, at the hash of the lock; uv brings the rest, in a fraction of the time.
.venv/installed: requirements.lock
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' || \
	    { echo "Python 3.11 to 3.13 is needed: make PYTHON=/path/to/python3.12"; exit 1; }
	$(PYTHON) -m venv .venv
	sed -n '/^uv==/,/[^\\]$$/p' requirements.lock > .venv/uv.txt
	$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r .venv/uv.txt
	$(BIN)/uv pip install --quiet --require-hashes -r requirements.lock
	touch $@

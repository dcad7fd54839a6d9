# Where things are, and which experiments there are. No rules.
import re

DEFINITION = config["erf"]["definition"]


# Results of the paper's definition have no name; those of another a folder of their own, so that nobody takes one for
# the other.
pathvars:
    measured=(
        "<results>" if DEFINITION == "kim" else f"<results>/definition={DEFINITION}"
    ),


# Snakemake itself decides on its executor only later.
DEVICE = costs.assumed_device(
    config["device"],
    on_cluster=workflow.remote_exec or costs.runs_elsewhere(sys.argv[1:]),
)
GPU = int(DEVICE == "cuda")
# On the CPU two jobs of one thread do more than one of two, and none of them waits for a GPU.
THREADS = 2 if GPU else 1
# First what finds unknown networks and targets in seconds, then maps, to have something to look at while trainings run.
# These, the longest, come before other jobs, which would keep a GPU waiting.
PRIORITY = {"check": 40, "look": 30, "train": 20, "follow": 10}
TARGETS = list(config["targets"])

DATA = "<results>/data/dataset={dataset}"
MANIFEST, PACK, SPLITS = (
    f"{DATA}/{name}" for name in ("manifest.parquet", "images.arrow", "splits.json")
)
FLOPS = "<results>/flops/model={model}/flops.json"
TRF = "<results>/trf/model={model}/kernels={kernels}/trf.parquet"
NETWORK = "dataset={dataset}/model={model}/weights={weights}/kernels={kernels}"
BLOCK = f"<measured>/erf_blocks/{NETWORK}/block={{block}}/sums.parquet"
ERF = f"<measured>/erf/{NETWORK}/target={{target}}/erf.parquet"
FITS, IMBALANCE, EXTENT, TILES = (
    f"<measured>/fields/{NETWORK}/{name}.parquet"
    for name in ("fits", "imbalance", "extent", "tiles")
)
CONVERGENCE = f"<measured>/convergence/{NETWORK}/convergence.parquet"
CHECKPOINT = "<results>/checkpoints/model={model}/weights={weights}/kernels={kernels}/checkpoint.safetensors"
CALIBRATED = "<results>/checkpoints/model={model}/weights={weights}/kernels={kernels}/dataset={dataset}/checkpoint.safetensors"
SEEN_OF = "{experiment}/{model}"
SHARES, EXPLAINED, EXPLAINED_EACH = (
    f"<results>/tables/seen/{SEEN_OF}/{name}.parquet"
    for name in ("shares", "explained", "explained_runs")
)
SEEN_FIGURE = f"<results>/figures/seen/{SEEN_OF}.png"


wildcard_constraints:
    dataset="|".join(map(re.escape, config["datasets"])),
    model="|".join(map(re.escape, config["models"])),
    weights=r"\w+",  # which there are says the schema of the configuration
    kernels=r"\w+",
    experiment=r"\w+",
    seed=r"\d+",
    target="|".join(map(re.escape, TARGETS)),


# What weights are, in words.
WEIGHTS = {
    "imagenet": "trained on ImageNet",
    "calibrated": "untrained, batch norms measured on its images",
    "file": "with weights from a file",
}
# Each experiment's file adds itself under its name, as which all its results can be asked for:
# settings: its part of the configuration, with a dataset and models if it is of images.
# kernels: every kind that it computes with.
# fields: networks whose maps it needs, each by its wildcards; weights: what these are, in words.
# runs: of the micro-object task, each by its wildcards, of which each may be a list.
EXPERIMENTS = {}
# Weights that an experiment trains: `checkpoint` of a network's wildcards, the weights that they `start` from, and the
# `logit` that their maps are of.
TRAINED = {}


def fields_of(experiments, pattern, **only):
    """Paths of what there is of each network whose maps the experiments need, `only` of some of them."""
    networks = [
        network
        for experiment in experiments
        for network in EXPERIMENTS[experiment].get("fields", [])
        if only.items() <= network.items()
    ]
    paths = [expand(pattern, **network, target=TARGETS) for network in networks]
    return list(dict.fromkeys(sum(paths, [])))


def arms(experiment, own):
    """Kinds of kernels at each crop of an experiment; those at another than its `own` have that in their names."""
    crops = experiment.get("crops") or [own]
    return [
        kind if crop == own else kinds.at_crop(kind, crop)
        for crop in crops
        for kind in experiment.get("kernels", ["odd"])
    ]


def surgeries(wildcards):
    kind, _ = kinds.kind_and_crop(wildcards.kernels)
    return config["kernels"][kind]


def runs_of(pattern, runs):
    """Paths of training runs, each given by its wildcards, of which each may be a list."""
    paths = [path for run in runs for path in expand(pattern, **run)]
    return list(dict.fromkeys(paths))


def micro_runs(wildcards):
    """Of one network."""
    return [
        {**run, "model": wildcards.model}
        for run in EXPERIMENTS[wildcards.experiment]["runs"]
        if wildcards.model in run["model"]
    ]


def seeds_of(model, kernels):
    """Of all micro-object runs of an arm."""
    runs = [run for e in EXPERIMENTS.values() for run in e.get("runs", [])]
    seeds = [r["seed"] for r in runs if model in r["model"] and kernels in r["kernels"]]
    return sorted({*itertools.chain(*seeds)})


def seen_results(experiment):
    models = [
        model for run in EXPERIMENTS[experiment]["runs"] for model in run["model"]
    ]
    return runs_of(
        [SHARES, EXPLAINED, EXPLAINED_EACH, SEEN_FIGURE],
        [{"experiment": experiment, "model": models}],
    )

# What jobs cost: a model of their arithmetic, calibrated by the records of earlier runs.
import functools

costs = library("costs")
FLOPS = "<results>/flops/model={model}/flops.json"
SPLITS = "<results>/data/dataset={dataset}/splits.json"
BENCHMARKS = config["pathvars"]["benchmarks"]
# Networks, and kinds of kernels, that anything is computed with.
NETWORKS = {
    model: list(
        dict.fromkeys(
            ["odd"]
            + (FINETUNE["kernels"] if model in FINETUNE["models"] else [])
            + (MICROOBJECT["kernels"] if model in MICROOBJECT["models"] else [])
        )
    )
    for model in dict.fromkeys(
        SIZE_TEST["models"] + FINETUNE["models"] + MICROOBJECT["models"]
    )
}
DOWNLOADS = {file: entry["bytes"] for file, entry in PUBLISHED.items()} | {
    source: entry["bytes"] for source, entry in REGISTRY["datasets"].items()
}
# At least so many minutes, so that a short job is not cut off by a slow file system.
LEAST_MINUTES = 15
IN_USE = {
    name: config["datasets"][name]
    for name in (SIZE_TEST["dataset"], FINETUNE["dataset"], MICROOBJECT["dataset"])
}


def splits_of_folders():
    """Where the images of the users' own folders are counted: nobody has before."""
    return {
        name: SPLITS.replace("<results>", config["pathvars"]["results"]).format(
            dataset=name
        )
        for name, dataset in IN_USE.items()
        if dataset["source"] == "folder"
    }


def known_splits():
    """Images of each split of the other data sets: their number is known beforehand."""
    return {
        name: known_split(name)
        for name, dataset in IN_USE.items()
        if dataset["source"] != "folder"
    }


def known_split(name):
    dataset = config["datasets"][name]
    if dataset["source"] == "synthetic":
        contents = {"images": dataset["classes"] * dataset["images_per_class"]}
    else:
        contents = published_contents(name)
    images = contents["images"]
    if test := contents.get("test_images"):
        return {"train": images - test, "valid": 0, "test": test}
    return {split: share * images for split, share in config["split"].items()}


@functools.cache
def cost_model(dataset, flops, splits):
    """Raises FileNotFoundError, as Snakemake expects it, until these inputs are there."""
    for file in (flops, splits):
        Path(file).stat()
    splits = known_splits().get(dataset) or costs.read_splits(splits)
    return costs.CostModel(
        config,
        costs.read_forward([flops]),
        {dataset: splits},
        DOWNLOADS,
        records(),
    )


@functools.cache
def records():
    return costs.read_records(BENCHMARKS)


def budget(rule):
    """Resources of a job that runs a network: twice the predicted time, and more with each attempt."""

    def predicted(wildcards, input):
        model = cost_model(wildcards.dataset, str(input.flops), str(input.splits))
        return model.predict(rule, dict(wildcards.items()))

    def work(wildcards, input):
        return math.ceil(predicted(wildcards, input).work)

    def runtime(wildcards, input, attempt):
        minutes = math.ceil(2 * predicted(wildcards, input).seconds / 60)
        return attempt * max(LEAST_MINUTES, minutes)

    def mem_mb(wildcards, input, attempt):
        return attempt * math.ceil(predicted(wildcards, input).memory_mb)

    def disk_mb(wildcards, input):
        return math.ceil(predicted(wildcards, input).disk_mb)

    return {"work": work, "runtime": runtime, "mem_mb": mem_mb, "disk_mb": disk_mb}


def finished_jobs():
    """How many records there are and when the last one came: a plan is made again after it."""
    times = [file.lstat().st_mtime for file in Path(BENCHMARKS).rglob("*.jsonl")]
    return [len(times), max(times, default=0)]

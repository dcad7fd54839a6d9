# What a job will take, for the scheduler of a cluster and for the plan. Each rule says what its own work is; its speed
# is that of earlier jobs of the rule, which Snakemake has recorded. No rules.
import functools
import math

BENCHMARKS = config["pathvars"]["benchmarks"]
# At least so many minutes, so that a short job is not cut off by a slow file system.
LEAST_MINUTES = 15
Rate = costs.Rate


@functools.cache
def records():
    return costs.read_records(BENCHMARKS)


def cost(name, rate=Rate(4), work=None, disk_mb=None):
    """Resources of a job that runs no network: `work` and `disk_mb` of its wildcards."""
    found = {
        "predicted_s": lambda w: predicted_seconds(name, rate, work and work(w), w)
    }
    if work:
        found["work"] = lambda w: math.ceil(work(w))
    if disk_mb:
        found["disk_mb"] = lambda w: math.ceil(disk_mb(w))
    return found


def network_cost(name, rate, size, work, memory_mb, disk_mb):
    """Resources of a job that runs a network, each of its `costs.Network`: more time and memory with each attempt.

    size: height and width of its images, of its wildcards.
    """

    def network(wildcards, input):
        paths = str(input.flops), str(input.splits)
        kind, _ = kinds.kind_and_crop(wildcards.kernels)
        return known_network(wildcards.dataset, kind, size(wildcards), *paths)

    def seconds(wildcards, input):
        return predicted_seconds(name, rate, work(network(wildcards, input)), wildcards)

    def memory(wildcards, input, attempt):
        known = costs.others(records(), name, wildcards)
        most = costs.memory_mb(memory_mb(network(wildcards, input)), known)
        return attempt * math.ceil(most)

    def minutes(wildcards, input, attempt):
        return attempt * max(
            LEAST_MINUTES, math.ceil(2 * seconds(wildcards, input) / 60)
        )

    return {
        "predicted_s": seconds,
        "work": lambda wildcards, input: math.ceil(work(network(wildcards, input))),
        "disk_mb": lambda wildcards, input: math.ceil(
            disk_mb(network(wildcards, input))
        ),
        "mem_mb": memory,
        "runtime": minutes,
    }


def predicted_seconds(name, rate, work, wildcards):
    known = costs.others(records(), name, wildcards)
    return math.ceil(costs.seconds(rate, work, known, DEVICE))


@functools.cache
def known_network(dataset, kernels, size, flops, splits):
    """Raises FileNotFoundError, as Snakemake expects it, until its inputs are there."""
    return costs.Network(
        costs.read_forward(flops, kernels, size),
        images_by_split(dataset, splits),
        size,
    )


def finished_jobs():
    """How many records there are and when the last one came: a plan is made again after it."""
    times = [file.lstat().st_mtime for file in Path(BENCHMARKS).rglob("*.jsonl")]
    return [len(times), max(times, default=0)]


def probe_passes(net):
    """Forward passes of all probes of a network; a way back counts as two."""
    probes = config["probes"]
    images = net.at_most(probes["images"], probes["split"])
    changed = 10 * probes["places"] * 2 * (len(probes["sizes"]) + len(probes["sides"]))
    moved = 2 * (4 * probes["shift"] + 1)
    attacked = 3 * probes["attack"]["population"] * probes["attack"]["generations"]
    maps, corrections = 7, 3
    mapped = 3 * (2 * probes["saliency"]["samples"] + maps)
    pointed = maps * corrections * 2 * probes["saliency"]["steps"]
    reference = 4 * net.at_most(probes["reference"], "train")
    return reference + images * (changed + moved + attacked + mapped + pointed)

# Networks and their checkpoints: published weights, the user's own, or a seeded initialisation calibrated on data.


def model_source(model):
    """A torchvision name, or the user's file.py:factory."""
    return config["models"][model].get("source", model)


def model_files(wildcards):
    """The user's own file, if the network comes from one."""
    return own_file(config["models"][wildcards.model]) or []


def model_targets(model):
    """Module of the network for each target."""
    own = config["models"][model].get("targets", {})
    return {target: own.get(target, target) for target in TARGETS}


def weights_file(wildcards):
    """The file that published weights come in, or that the user names."""
    if wildcards.weights == "file":
        return config["models"][wildcards.model]["checkpoint"]
    published = REGISTRY["weights"]["files"][model_source(wildcards.model)]
    return ancient(retrieved(published))


def starting_weights(wildcards):
    """Weights of a network before any training here: its kernels are odd."""
    pattern = CALIBRATED if wildcards["weights"] == "calibrated" else CHECKPOINT
    return pattern.format(**{**wildcards, "kernels": "odd"})


def checkpoint(wildcards):
    """Weights of a network that maps are made of."""
    trained = TRAINED.get(wildcards.weights)
    return trained["checkpoint"](wildcards) if trained else starting_weights(wildcards)


def kernels_of(model):
    """Every kind of kernels that anything is computed with, odd ones first."""
    uses = [e for e in EXPERIMENTS.values() if model in e["settings"]["models"]]
    return list(
        dict.fromkeys(["odd", *(kind for use in uses for kind in use["kernels"])])
    )


def networks_in_use():
    settings = [experiment["settings"] for experiment in EXPERIMENTS.values()]
    return list(dict.fromkeys(model for s in settings for model in s["models"]))


rule convert_weights:
    input:
        file=weights_file,
        source=model_files,
    output:
        checkpoint=CHECKPOINT,
    log:
        "<logs>/convert_weights/{model}_{weights}_{kernels}.log",
    benchmark:
        "<benchmarks>/convert_weights/{model}_{weights}_{kernels}.jsonl"
    wildcard_constraints:
        weights="imagenet|file",
    conda:
        "../envs/deadpixel.yaml"
    resources:
        **cost("convert_weights"),
    params:
        code=fingerprint("convert_weights"),
        model=lambda w: model_source(w.model),
    script:
        "../scripts/convert_weights.py"


rule calibrate_weights:
    input:
        manifest=MANIFEST,
        pack=PACK,
        source=model_files,
        flops=ancient(FLOPS),
        splits=ancient(SPLITS),
    output:
        checkpoint=CALIBRATED,
    log:
        "<logs>/calibrate_weights/{dataset}+{model}_{weights}_{kernels}.log",
    benchmark:
        "<benchmarks>/calibrate_weights/{dataset}+{model}_{weights}_{kernels}.jsonl"
    wildcard_constraints:
        weights="calibrated",
    priority: PRIORITY["calibrate"]
    conda:
        "../envs/deadpixel.yaml"
    threads: THREADS
    resources:
        **network_cost(
            "calibrate_weights",
            Rate(5, 0.012, 1e-3),
            work=lambda net: net.at_most(config["calibration"]["images"], "train")
            * net.passes(config["preprocess"]["crop"]),
            memory_mb=lambda net: net.memory_mb(config["preprocess"]["crop"], DEVICE),
            disk_mb=lambda net: net.weights_mb,
        ),
        gpu=GPU,
    params:
        code=fingerprint("calibrate_weights"),
        model=lambda w: model_source(w.model),
        preprocess=config["preprocess"],
        calibration=config["calibration"],
        seed=config["seed"],
    script:
        "../scripts/calibrate_weights.py"


# Without a benchmark, as plans are made again when there is a new one.
rule count_flops:
    input:
        source=model_files,
    output:
        flops=FLOPS,
    log:
        "<logs>/count_flops/{model}.log",
    priority: PRIORITY["look"]
    conda:
        "../envs/deadpixel.yaml"
    params:
        code=fingerprint("count_flops"),
        model=lambda w: model_source(w.model),
        kernels=lambda w: kernels_of(w.model),
        sides=sorted(
            {
                config["preprocess"]["crop"],
                config["training"]["augmentation"]["crop"],
            }
        ),
    script:
        "../scripts/count_flops.py"


# Of all that is published; an image that cannot be decoded is found on the way.
rule retrieve_all:
    input:
        expand(
            PACK,
            dataset=[
                name
                for name, dataset in config["datasets"].items()
                if dataset["source"] in REGISTRY["datasets"]
            ],
        ),
        expand(
            CHECKPOINT,
            model=[
                model
                for model in config["models"]
                if model_source(model) in REGISTRY["weights"]["files"]
            ],
            weights="imagenet",
            kernels="odd",
        ),
    localrule: True

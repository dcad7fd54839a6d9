# Networks and their checkpoints: published weights, the user's own, or a seeded initialisation calibrated on data.


rule convert_weights:
    input:
        file=weights_file,
        hub=hub_facts,
        source=model_files,
    output:
        checkpoint=CHECKPOINT,
    log:
        "<logs>/convert_weights/{model}+{weights}+{kernels}.log",
    benchmark:
        "<benchmarks>/convert_weights/{model}+{weights}+{kernels}.jsonl"
    wildcard_constraints:
        weights="imagenet|file",
    conda:
        "../envs/deadpixel.yaml"
    resources:
        **cost("convert_weights"),
    params:
        code=fingerprint("convert_weights"),
        model=lambda w: model_source(w.model),
        preprocess=preprocess,
    message:
        "Verify the {wildcards.weights} weights of {wildcards.model}"
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
        "<logs>/calibrate_weights/{dataset}+{model}+{weights}+{kernels}.log",
    benchmark:
        "<benchmarks>/calibrate_weights/{dataset}+{model}+{weights}+{kernels}.jsonl"
    wildcard_constraints:
        weights="calibrated",
    priority: PRIORITY["look"]
    conda:
        "../envs/deadpixel.yaml"
    threads: THREADS
    resources:
        **network_cost(
            "calibrate_weights",
            Rate(5, 0.012, 1e-3),
            size=input_size,
            work=lambda net: net.at_most(config["calibration"]["images"], "train")
            * net.work,
            memory_mb=lambda net: net.memory_mb(DEVICE),
            disk_mb=lambda net: net.weights_mb,
        ),
        gpu=GPU,
    params:
        code=fingerprint("calibrate_weights"),
        model=lambda w: model_source(w.model),
        preprocess=preprocess,
        calibration=config["calibration"],
        seed=config["seed"],
    message:
        "Calibrate an untrained {wildcards.model}"
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
    priority: PRIORITY["check"]
    conda:
        "../envs/deadpixel.yaml"
    params:
        code=fingerprint("count_flops"),
        model=lambda w: model_source(w.model),
        kernels=lambda w: {k: config["kernels"][k] for k in kernels_of(w.model)},
        sizes=lambda w: sizes_seen(w.model),
        channels=lambda w: channels_of(w.model),
    message:
        "Count the operations of {wildcards.model}"
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
        [
            CHECKPOINT.format(model=model, weights=weights, kernels="odd")
            for model in config["models"]
            for weights in ("imagenet", "file")
            if hub_file(model, weights)
            or weights == "imagenet"
            and model_source(model) in REGISTRY["weights"]["files"]
        ],
    localrule: True

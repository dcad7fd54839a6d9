# Checkpoints: published weights, the user's own, or a seeded initialisation calibrated on data.


rule convert_weights:
    input:
        file=weights_file,
        source=lambda w: model_files(w.model),
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
    params:
        code=fingerprint("convert_weights"),
        model=lambda w: model_source(w.model),
    script:
        "../scripts/convert_weights.py"


rule calibrate_weights:
    input:
        manifest="<results>/data/dataset={dataset}/manifest.parquet",
        pack="<results>/data/dataset={dataset}/images.arrow",
        source=lambda w: model_files(w.model),
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
    priority: PRIORITY["calibrate_weights"]
    conda:
        "../envs/deadpixel.yaml"
    threads: THREADS
    resources:
        **budget("calibrate_weights"),
        gpu=GPU,
    params:
        code=fingerprint("calibrate_weights"),
        model=lambda w: model_source(w.model),
        preprocess=config["preprocess"],
        calibration=config["calibration"],
        seed=config["seed"],
    script:
        "../scripts/calibrate_weights.py"

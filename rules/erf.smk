# Receptive fields: the theoretical ones from the networks' arithmetic, the effective ones from gradients.


rule compute_trf:
    input:
        source=lambda w: model_files(w.model),
    output:
        trf=TRF,
    log:
        "<logs>/compute_trf/{model}_{kernels}.log",
    benchmark:
        "<benchmarks>/compute_trf/{model}_{kernels}.jsonl"
    priority: PRIORITY["compute_trf"]
    conda:
        "../envs/deadpixel.yaml"
    params:
        code=fingerprint("compute_trf"),
        models=lambda w: {w.model: model_source(w.model)},
        kernels=lambda w: {w.model: [w.kernels]},
        targets=lambda w: {w.model: model_targets(w.model)},
        crop=config["preprocess"]["crop"],
    script:
        "../scripts/compute_trf.py"


rule accumulate_erf:
    input:
        checkpoint=checkpoint,
        manifest="<results>/data/dataset={dataset}/manifest.parquet",
        pack="<results>/data/dataset={dataset}/images.arrow",
        source=lambda w: model_files(w.model),
        flops=ancient(FLOPS),
        splits=ancient(SPLITS),
    output:
        sums=temp(expand(SUMS, target=config["targets"], allow_missing=True)),
    log:
        "<logs>/accumulate_erf/{dataset}_{model}_{weights}_{kernels}_{shard}.log",
    benchmark:
        "<benchmarks>/accumulate_erf/{dataset}_{model}_{weights}_{kernels}_{shard}.jsonl"
    priority: PRIORITY["accumulate_erf"]
    conda:
        "../envs/deadpixel.yaml"
    threads: THREADS
    resources:
        **budget("accumulate_erf"),
        gpu=GPU,
    params:
        code=fingerprint("accumulate_erf"),
        **config["erf"] | {"logit": str(config["erf"]["logit"]).lower()},
        model=lambda w: model_source(w.model),
        targets=lambda w: model_targets(w.model),
        preprocess=config["preprocess"],
        device=config["device"],
        seed=config["seed"],
        scratch=Path(config["pathvars"]["results"], ".scratch/erf").as_posix(),
    script:
        "../scripts/accumulate_erf.py"


rule merge_erf:
    input:
        sums=expand(
            SUMS,
            target=config["targets"],
            shard=range(config["erf"]["shards"]),
            allow_missing=True,
        ),
    output:
        erf=expand(ERF, target=config["targets"], allow_missing=True),
        blocks=expand(BLOCKS, target=config["targets"], allow_missing=True),
    log:
        "<logs>/merge_erf/{dataset}_{model}_{weights}_{kernels}.log",
    benchmark:
        "<benchmarks>/merge_erf/{dataset}_{model}_{weights}_{kernels}.jsonl"
    conda:
        "../envs/deadpixel.yaml"
    params:
        code=fingerprint("merge_erf"),
        targets=config["targets"],
    script:
        "../scripts/merge_erf.py"

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
        model=lambda w: model_source(w.model),
        targets=lambda w: model_targets(w.model),
        crop=config["preprocess"]["crop"],
    script:
        "../scripts/compute_trf.py"


# A rule for each shard, not a wildcard: the files that are merged are those of the blocks, however many jobs share
# them out. So the number of shards is no part of a result.
for shard in range(SHARDS):

    rule:
        name:
            shard_rule(shard)
        input:
            checkpoint=checkpoint,
            manifest="<results>/data/dataset={dataset}/manifest.parquet",
            pack="<results>/data/dataset={dataset}/images.arrow",
            source=lambda w: model_files(w.model),
            flops=ancient(FLOPS),
            splits=ancient(SPLITS),
        output:
            sums=temp(
                expand(
                    SUMS,
                    block=range(shard, config["erf"]["blocks"], SHARDS),
                    target=config["targets"],
                    allow_missing=True,
                )
            ),
        log:
            f"<logs>/{shard_rule(shard)}/{{dataset}}+{{model}}_{{weights}}_{{kernels}}.log",
        benchmark:
            f"<benchmarks>/{shard_rule(shard)}/{{dataset}}+{{model}}_{{weights}}_{{kernels}}.jsonl"
        priority: PRIORITY["accumulate_erf"]
        conda:
            "../envs/deadpixel.yaml"
        threads: THREADS
        resources:
            **budget("accumulate_erf"),
            gpu=GPU,
        params:
            **{k: v for k, v in config["erf"].items() if k not in KNOBS},
            code=fingerprint("accumulate_erf"),
            logit=logit,
            model=lambda w: model_source(w.model),
            targets=lambda w: model_targets(w.model),
            preprocess=config["preprocess"],
            seed=config["seed"],
        script:
            "../scripts/accumulate_erf.py"


rule merge_erf:
    input:
        sums=expand(
            SUMS,
            block=range(config["erf"]["blocks"]),
            target=config["targets"],
            allow_missing=True,
        ),
    output:
        erf=expand(ERF, target=config["targets"], allow_missing=True),
        blocks=expand(BLOCKS, target=config["targets"], allow_missing=True),
    log:
        "<logs>/merge_erf/{dataset}+{model}_{weights}_{kernels}.log",
    benchmark:
        "<benchmarks>/merge_erf/{dataset}+{model}_{weights}_{kernels}.jsonl"
    conda:
        "../envs/deadpixel.yaml"
    params:
        code=fingerprint("merge_erf"),
    script:
        "../scripts/merge_erf.py"

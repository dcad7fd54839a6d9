# Receptive fields: the theoretical ones from the networks' arithmetic, the effective ones from gradients.


rule compute_trf:
    input:
        source=[model_files(model) for model in MODELS],
        code=library(
            "receptive_field", "field_algebra", "field_rules", "kernels", "models"
        ),
    output:
        trf="<results>/trf.parquet",
    log:
        "<logs>/compute_trf.log",
    benchmark:
        "<benchmarks>/compute_trf.jsonl"
    priority: PRIORITY["compute_trf"]
    conda:
        "../envs/deadpixel.yaml"
    params:
        models={model: model_source(model) for model in MODELS},
        kernels={model: kernels_of(model) for model in MODELS},
        targets={model: model_targets(model) for model in MODELS},
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
        code=library("erf", "kernels", "maps", "models", "preprocessing"),
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
        **config["erf"],
        logit=logit,
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
        code=library("maps"),
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
        targets=config["targets"],
    script:
        "../scripts/merge_erf.py"

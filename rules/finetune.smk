# Fine-tuning with odd and with even kernels, everything else the same.


rule finetune_model:
    input:
        checkpoint=starting_weights,
        manifest="<results>/data/dataset={dataset}/manifest.parquet",
        pack="<results>/data/dataset={dataset}/images.arrow",
        source=lambda w: model_files(w.model),
        flops=ancient(FLOPS),
        splits=ancient(SPLITS),
    output:
        epochs=EPOCHS,
        predictions=PREDICTIONS,
        checkpoint=FINETUNED,
    log:
        "<logs>/finetune_model/{dataset}+{model}_{weights}_{kernels}_{seed}.log",
    benchmark:
        "<benchmarks>/finetune_model/{dataset}+{model}_{weights}_{kernels}_{seed}.jsonl"
    wildcard_constraints:
        weights="imagenet|calibrated|file",
    priority: PRIORITY["finetune_model"]
    conda:
        "../envs/deadpixel.yaml"
    threads: THREADS
    resources:
        **budget("finetune_model"),
        gpu=GPU,
    params:
        code=fingerprint("finetune_model"),
        recipe=recipe(FINETUNE),
        batch_size=FINETUNE["batch_size"],
        augmentation=AUGMENTATION,
        method=config["training"]["augmentation"]["method"],
        init=FINETUNE["init"],
        model=lambda w: model_source(w.model),
    script:
        "../scripts/finetune_model.py"

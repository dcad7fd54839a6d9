# How many epochs until a network sees a small square, with odd and with even kernels.


rule train_microobject:
    input:
        manifest="<results>/data/dataset={dataset}/manifest.parquet",
        pack="<results>/data/dataset={dataset}/images.arrow",
        source=lambda w: model_files(w.model),
        flops=ancient(FLOPS),
        splits=ancient(SPLITS),
    output:
        epochs=MICROOBJECT_EPOCHS,
    log:
        "<logs>/train_microobject/{dataset}+{model}_{kernels}_{seed}.log",
    benchmark:
        "<benchmarks>/train_microobject/{dataset}+{model}_{kernels}_{seed}.jsonl"
    priority: PRIORITY["train_microobject"]
    conda:
        "../envs/deadpixel.yaml"
    threads: THREADS
    resources:
        **budget("train_microobject"),
        gpu=GPU,
    params:
        code=fingerprint("train_microobject"),
        recipe=recipe(MICROOBJECT),
        batch_size=MICROOBJECT["batch_size"],
        augmentation=AUGMENTATION,
        method=config["training"]["augmentation"]["method"],
        templates=MICROOBJECT["templates"],
        size=MICROOBJECT["size"],
        init=MICROOBJECT["init"],
        model=lambda w: model_source(w.model),
    script:
        "../scripts/train_microobject.py"

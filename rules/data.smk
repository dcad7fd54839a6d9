# Data sets: images of one folder per class, their split, and a pack of decoded images.


rule generate_synthetic:
    output:
        directory("<results>/data/dataset={dataset}/images"),
    log:
        "<logs>/generate_synthetic/{dataset}.log",
    benchmark:
        "<benchmarks>/generate_synthetic/{dataset}.jsonl"
    conda:
        "../envs/deadpixel.yaml"
    params:
        code=fingerprint("generate_synthetic"),
        classes=lambda w: config["datasets"][w.dataset]["classes"],
        images_per_class=lambda w: config["datasets"][w.dataset]["images_per_class"],
        seed=config["seed"],
    script:
        "../scripts/generate_synthetic.py"


rule split_dataset:
    input:
        images=images_to_make,
    output:
        manifest="<results>/data/dataset={dataset}/manifest.parquet",
        splits=SPLITS,
    log:
        "<logs>/split_dataset/{dataset}.log",
    benchmark:
        "<benchmarks>/split_dataset/{dataset}.jsonl"
    conda:
        "../envs/deadpixel.yaml"
    params:
        code=fingerprint("split_dataset"),
        layout=lambda w: published(w.dataset).get("layout", "folders"),
        folder=lambda w: images_folder(w.dataset),
        exclude=lambda w: no_classes(w.dataset),
        contents=lambda w: published_contents(w.dataset),
        users_images=users_images,
        fractions=config["split"],
        seed=config["seed"],
    script:
        "../scripts/split_dataset.py"


rule pack_images:
    input:
        manifest="<results>/data/dataset={dataset}/manifest.parquet",
        images=images_to_make,
    output:
        pack="<results>/data/dataset={dataset}/images.arrow",
    log:
        "<logs>/pack_images/{dataset}.log",
    benchmark:
        "<benchmarks>/pack_images/{dataset}.jsonl"
    conda:
        "../envs/deadpixel.yaml"
    params:
        code=fingerprint("pack_images"),
        folder=lambda w: images_folder(w.dataset),
    script:
        "../scripts/pack_images.py"

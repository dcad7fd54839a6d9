# Data sets: published files, verified and unpacked; their split, and a pack of decoded images.


# On the host of Snakemake itself: nodes of a cluster often have no internet. Without a fingerprint: whatever code
# brought a file, its checksum says that it is right.
rule retrieve_file:
    output:
        "<resources>/retrieved/{file}",
    log:
        "<logs>/retrieve_file/{file}.log",
    benchmark:
        "<benchmarks>/retrieve_file/{file}.jsonl"
    localrule: True
    conda:
        "../envs/deadpixel.yaml"
    resources:
        **cost(
            "retrieve_file",
            Rate(2, 0.1, 0.1),
            work=lambda w: PUBLISHED[w.file]["bytes"] / costs.MB,
            disk_mb=lambda w: PUBLISHED[w.file]["bytes"] / costs.MB,
        ),
    params:
        published=lambda w: PUBLISHED[w.file],
        root=lambda w: config["data"]["root"],
        downloads=Path(config["pathvars"]["resources"], "downloads").as_posix(),
    message:
        "Retrieve {wildcards.file}"
    script:
        "../scripts/retrieve_file.py"


# Like retrieve_file. A revision that is a branch is the commit that it was when first retrieved.
rule retrieve_hub:
    output:
        file="<resources>/retrieved/hub/{repository}@{revision}/{hub_file}",
        facts="<resources>/retrieved/hub/{repository}@{revision}/{hub_file}.json",
    log:
        "<logs>/retrieve_hub/{repository}@{revision}/{hub_file}.log",
    benchmark:
        "<benchmarks>/retrieve_hub/{repository}@{revision}/{hub_file}.jsonl"
    wildcard_constraints:
        repository=r"[\w.-]+/[\w.-]+",
        revision=r"[\w.-]+",
        hub_file=r".+\.safetensors",
    localrule: True
    conda:
        "../envs/deadpixel.yaml"
    resources:
        **cost("retrieve_hub"),
    params:
        downloads=Path(config["pathvars"]["resources"], "downloads/hub").as_posix(),
    message:
        "Retrieve {wildcards.hub_file} of {wildcards.repository}, revision {wildcards.revision}"
    script:
        "../scripts/retrieve_hub.py"


rule unpack_dataset:
    input:
        # its checksum says that it is the same, whatever its time of change
        archive=lambda w: ancient(retrieved(REGISTRY["datasets"][w.source])),
    output:
        directory("<resources>/unpacked/{source}"),
    log:
        "<logs>/unpack_dataset/{source}.log",
    benchmark:
        "<benchmarks>/unpack_dataset/{source}.jsonl"
    conda:
        "../envs/deadpixel.yaml"
    resources:
        **cost(
            "unpack_dataset",
            Rate(3, 0.03, 0.03),
            work=lambda w: REGISTRY["datasets"][w.source]["bytes"] / costs.MB,
            disk_mb=lambda w: REGISTRY["datasets"][w.source]["bytes"] / costs.MB,
        ),
    params:
        code=fingerprint("unpack_dataset"),
        checksum=lambda w: REGISTRY["datasets"][w.source].get("sha256"),
        inner=lambda w: REGISTRY["datasets"][w.source].get("inner"),
    message:
        "Unpack {wildcards.source}"
    script:
        "../scripts/unpack_dataset.py"


rule generate_synthetic:
    output:
        directory(f"{DATA}/images"),
    log:
        "<logs>/generate_synthetic/{dataset}.log",
    benchmark:
        "<benchmarks>/generate_synthetic/{dataset}.jsonl"
    conda:
        "../envs/deadpixel.yaml"
    resources:
        **cost(
            "generate_synthetic",
            Rate(2, 0.02, 0.02),
            work=images_in,
            disk_mb=lambda w: 0.12 * images_in(w),
        ),
    params:
        code=fingerprint("generate_synthetic"),
        classes=lambda w: config["datasets"][w.dataset]["classes"],
        images_per_class=lambda w: config["datasets"][w.dataset]["images_per_class"],
        seed=config["seed"],
    message:
        "Draw the images of {wildcards.dataset}"
    script:
        "../scripts/generate_synthetic.py"


rule split_dataset:
    input:
        images=images_to_make,
    output:
        manifest=MANIFEST,
        splits=SPLITS,
    log:
        "<logs>/split_dataset/{dataset}.log",
    benchmark:
        "<benchmarks>/split_dataset/{dataset}.jsonl"
    conda:
        "../envs/deadpixel.yaml"
    resources:
        **cost("split_dataset", Rate(3, 0.001, 0.001), work=images_in),
    params:
        code=fingerprint("split_dataset"),
        layout=lambda w: published(w.dataset).get("layout", "folders"),
        folder=lambda w: images_folder(w.dataset),
        exclude=lambda w: no_classes(w.dataset),
        contents=lambda w: published_contents(w.dataset),
        users_images=users_images,
        fractions=config["split"],
        seed=config["seed"],
    message:
        "Split {wildcards.dataset}"
    script:
        "../scripts/split_dataset.py"


rule pack_images:
    input:
        manifest=MANIFEST,
        images=images_to_make,
    output:
        pack=PACK,
    log:
        "<logs>/pack_images/{dataset}.log",
    benchmark:
        "<benchmarks>/pack_images/{dataset}.jsonl"
    conda:
        "../envs/deadpixel.yaml"
    resources:
        **cost(
            "pack_images",
            Rate(3, 0.003, 0.003),
            work=images_in,
            disk_mb=lambda w: 0.35 * images_in(w),
        ),
    params:
        code=fingerprint("pack_images"),
        folder=lambda w: images_folder(w.dataset),
    message:
        "Decode the images of {wildcards.dataset}"
    script:
        "../scripts/pack_images.py"

# Data sets: images of one folder per class, their split, and a pack of decoded images.
import functools
import hashlib
import os


def users_images(wildcards):
    """What the user's own folder holds: if that changes, the data set is listed again.

    Names, sizes and times of change are looked at when jobs are chosen, not at every parse: 0.5 s for 100,000 images.
    Whether any image's content differs is for the manifest to say, which has their checksums.
    """
    source = config["datasets"][wildcards.dataset]["source"]
    if source != "folder" and not (
        source in REGISTRY["datasets"] and published_copy(source)
    ):
        return None
    return digest_of_files(images_folder(wildcards.dataset), lists=source == "cub200")


@functools.cache
def digest_of_files(folder, lists):
    digest = hashlib.sha256()
    parents = [Path(folder).parent.as_posix()] if lists else []
    parents += [entry.path for entry in visible(folder) if entry.is_dir()]
    for parent in parents:
        for entry in visible(parent):
            status = os.stat(entry, follow_symlinks=os.path.exists(entry))
            facts = (status.st_size, status.st_mtime_ns) if entry.is_file() else ()
            digest.update(repr((entry.path, *facts)).encode())
    return digest.hexdigest()


def visible(folder):
    """What is in a folder, in the order of names; hidden files are no images."""
    return sorted(
        (entry for entry in os.scandir(folder) if not entry.name.startswith(".")),
        key=lambda entry: entry.name,
    )


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
        source=lambda w: config["datasets"][w.dataset]["source"],
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

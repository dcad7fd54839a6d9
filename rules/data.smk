# Data sets: published files, verified and unpacked; images of one folder per class, their split, and a pack of decoded
# images.
import functools
import hashlib
import os
from urllib.parse import urlsplit


def file_name(published):
    """Name of a published file: the last part of its URL."""
    return Path(urlsplit(published["url"]).path).name


def retrieved(published):
    return f"<resources>/retrieved/{file_name(published)}"


# What others publish.
PUBLISHED = {
    file_name(entry): entry
    for entry in [
        *REGISTRY["datasets"].values(),
        *REGISTRY["weights"]["files"].values(),
    ]
}


wildcard_constraints:
    file="|".join(map(re.escape, PUBLISHED)),
    source="|".join(map(re.escape, REGISTRY["datasets"])),


def published_copy(source):
    """Folder of a published data set's images in data.root, if the user has put it there."""
    folder = Path(config["data"]["root"], REGISTRY["datasets"][source]["images"])
    return folder if folder.is_dir() else None


def images_folder(dataset):
    """Folder with one sub-folder of images per class."""
    own, source = config["datasets"][dataset], config["datasets"][dataset]["source"]
    if source == "folder":
        return own["path"]
    if source == "synthetic":
        return f"{config['pathvars']['results']}/data/dataset={dataset}/images"
    unpacked = Path(config["pathvars"]["resources"], "unpacked", source)
    images = REGISTRY["datasets"][source]["images"]
    return (published_copy(source) or unpacked / images).as_posix()


def images_to_make(wildcards):
    """The folder of images that the workflow makes, if it does."""
    source = config["datasets"][wildcards.dataset]["source"]
    if source == "synthetic":
        return f"<results>/data/dataset={wildcards.dataset}/images"
    if source in REGISTRY["datasets"] and not published_copy(source):
        return ancient(f"<resources>/unpacked/{source}")
    return []


def no_classes(dataset):
    """Sub-folders of a data set that are no classes."""
    own = config["datasets"][dataset]
    published = REGISTRY["datasets"].get(own["source"], {})
    if "background" in published and not own["include_background"]:
        return [published["background"]["folder"]]
    return own.get("exclude", [])


def published_contents(dataset):
    """How many classes and images a published data set holds."""
    own = config["datasets"][dataset]
    published = REGISTRY["datasets"].get(own["source"], {})
    contents = published.get("contents")
    if own.get("include_background"):
        return {
            "classes": contents["classes"] + 1,
            "images": contents["images"] + published["background"]["images"],
        }
    return contents


def images_by_split(dataset, splits):
    """Images of train, valid and test; of a user's folder by its `splits`, a file, as nobody has counted them before."""
    own = config["datasets"][dataset]
    if own["source"] == "folder":
        return costs.read_splits(splits)
    if own["source"] == "synthetic":
        contents = {"images": own["classes"] * own["images_per_class"]}
    else:
        contents = published_contents(dataset)
    images = contents["images"]
    if test := contents.get("test_images"):
        return {"train": images - test, "valid": 0, "test": test}
    return {split: share * images for split, share in config["split"].items()}


def images_in(wildcards):
    """How many images a data set has; none as long as nobody has counted them."""
    splits = SPLITS.replace("<results>", config["pathvars"]["results"])
    try:
        found = images_by_split(wildcards.dataset, splits.format(**wildcards))
    except FileNotFoundError:
        return 0
    return sum(found.values())


def users_images(wildcards):
    """What the user's own folder holds: if that changes, the data set is listed again.

    Names, sizes and times of change are looked at when jobs are chosen, not at every parse: 2 s for 100,000 images.
    Whether any image's content differs is for the manifest to say, which has their checksums. Where only times have
    changed, list the images alone first (--until split_dataset): their manifest is the same, and results stand.
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
            try:
                status = entry.stat()
            except OSError:  # a link that leads nowhere
                status = entry.stat(follow_symlinks=False)
            facts = (status.st_size, status.st_mtime_ns) if entry.is_file() else ()
            digest.update(f"{entry.path} {facts}\n".encode(errors="surrogateescape"))
    return digest.hexdigest()


def visible(folder):
    """What is in a folder, in the order of names; hidden files are no images."""
    return sorted(
        (entry for entry in os.scandir(folder) if not entry.name.startswith(".")),
        key=lambda entry: entry.name,
    )


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
    script:
        "../scripts/retrieve_file.py"


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
    script:
        "../scripts/pack_images.py"

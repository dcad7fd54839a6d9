# Where images, networks and weights come from, by the configuration and the registry. No rules.
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
    own, background = config["datasets"][dataset], published(dataset).get("background")
    if background and not own["include_background"]:
        return [background["folder"]]
    return own.get("exclude", [])


def published_contents(dataset):
    """How many classes and images a published data set holds."""
    known = published(dataset)
    contents = known.get("contents")
    if config["datasets"][dataset].get("include_background"):
        return {
            "classes": contents["classes"] + 1,
            "images": contents["images"] + known["background"]["images"],
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
    lists = "splits" in published(wildcards.dataset)
    return digest_of_files(images_folder(wildcards.dataset), lists=lists)


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


def model_files(wildcards):
    """The user's own file, if the network comes from one."""
    return own_file(config["models"][wildcards.model]) or []


def model_targets(model):
    """What each target is in the network: a module, or more than its name; None is found by the job."""
    own = config["models"][model].get("targets", {})
    found = {target: None for target in TARGETS if AUTO and target != "output"}
    return {target: target for target in TARGETS} | found | own


def hub_copy(wildcards, suffix=""):
    """What retrieve_hub makes of a network's weights, if they come from the Hub."""
    if not (found := hub_file(wildcards.model, wildcards.weights)):
        return []
    name = f"{found['repository']}@{found['revision'] or 'main'}/{found['file']}"
    return ancient(f"<resources>/retrieved/hub/{name}{suffix}")


def hub_facts(wildcards):
    return hub_copy(wildcards, ".json")


def weights_file(wildcards):
    """The file that published weights come in, or that the user names."""
    if copy := hub_copy(wildcards):
        return copy
    if wildcards.weights == "file":
        return config["models"][wildcards.model]["checkpoint"]
    published = REGISTRY["weights"]["files"][model_source(wildcards.model)]
    return ancient(retrieved(published))


def starting_weights(wildcards):
    """Weights of a network before any training here: its kernels are odd."""
    pattern = CALIBRATED if wildcards["weights"] == "calibrated" else CHECKPOINT
    return pattern.format(**{**wildcards, "kernels": "odd"})


def checkpoint(wildcards):
    """Weights of a network that maps are made of."""
    trained = TRAINED.get(wildcards.weights)
    return trained["checkpoint"](wildcards) if trained else starting_weights(wildcards)


def preprocess(wildcards):
    """The evaluation transform of a network; trained weights keep that of those they start from."""
    trained = TRAINED.get(wildcards.weights)
    transform = preprocess_of(
        wildcards.model, trained["start"] if trained else wildcards.weights
    )
    _, crop = kinds.kind_and_crop(wildcards.kernels)
    return {**transform, "crop": crop} if crop else transform


def input_size(wildcards):
    """Height and width of the images that maps of a network are of."""
    return height_and_width(preprocess(wildcards)["crop"])


def theory_size(model, kernels="odd"):
    """Height and width of the images that theory is of: those of its maps, if there are any."""
    _, crop = kinds.kind_and_crop(kernels)
    sizes = sizes_of_maps(model)
    return height_and_width(
        crop or next(iter(sizes.values()), None) or preprocess_of(model)["crop"]
    )


def sizes_seen(model):
    """Every height and width that a network is run at: a transformer may take no other."""
    sizes = {theory_size(model)}
    for experiment in experiments_with(model):
        for kernels in experiment["kernels"]:
            sizes.add(theory_size(model, kernels))
            if "epochs" in experiment["settings"]:
                sizes.add(height_and_width(training_crop(kernels)))
    return sorted(sizes)


def training_crop(kernels):
    _, crop = kinds.kind_and_crop(kernels)
    return crop or config["training"]["augmentation"]["crop"]


def experiments_with(model):
    return [e for e in EXPERIMENTS.values() if model in e["settings"].get("models", [])]


def kernels_of(model):
    """Every kind of kernels that anything is computed with, odd ones first."""
    names = [name for e in experiments_with(model) for name in e["kernels"]]
    return list(
        dict.fromkeys(["odd", *(kinds.kind_and_crop(name)[0] for name in names)])
    )


def networks_in_use():
    settings = [experiment["settings"] for experiment in EXPERIMENTS.values()]
    return list(dict.fromkeys(model for s in settings for model in s.get("models", [])))


def logit(wildcards):
    """Which logit `output` is; YAML reads a bare `true` as a truth value."""
    trained = TRAINED.get(wildcards.weights)
    return str(trained["logit"] if trained else config["size_test"]["logit"]).lower()

# What the configuration means: devices, paths, the files of each experiment. No rules.
from urllib.parse import urlsplit

# Snakemake itself decides on its executor only later.
DEVICE = costs.assumed_device(
    config["device"],
    on_cluster=workflow.remote_exec or costs.runs_elsewhere(sys.argv[1:]),
)
GPU = int(DEVICE == "cuda")
# On the CPU two jobs of one thread do more than one of two, and none of them waits for a GPU.
THREADS = 2 if GPU else 1
SIZE_TEST, FINETUNE = config["size_test"], config["finetune"]
MICROOBJECT = config["microobject"]
TRF = "<results>/trf/model={model}/kernels={kernels}/trf.parquet"
ERF = "<results>/erf/dataset={dataset}/model={model}/weights={weights}/kernels={kernels}/target={target}/erf.parquet"
BLOCKS = "<results>/erf_blocks/dataset={dataset}/model={model}/weights={weights}/kernels={kernels}/target={target}/blocks.parquet"
SUMS = "<results>/.scratch/sums/block={block}/dataset={dataset}/model={model}/weights={weights}/kernels={kernels}/target={target}/sums.parquet"
CHECKPOINT = "<results>/checkpoints/model={model}/weights={weights}/kernels={kernels}/checkpoint.safetensors"
CALIBRATED = "<results>/checkpoints/model={model}/weights={weights}/kernels={kernels}/dataset={dataset}/checkpoint.safetensors"
SHARDS = config["erf"]["shards"]
# Keys of `erf` that change how maps are computed, not what they are: no params, so that a change computes nothing again.
KNOBS = {"batch_size", "shards"}
EXPERIMENTS = ["size_test", "shape_test"]
RUN = "dataset={dataset}/model={model}/weights={weights}/kernels={kernels}/seed={seed}"
EPOCHS = f"<results>/finetune/epochs/{RUN}/epochs.parquet"
PREDICTIONS = f"<results>/finetune/predictions/{RUN}/predictions.parquet"
FINETUNED = f"<results>/finetune/checkpoints/{RUN}/checkpoint.safetensors"
MICROOBJECT_EPOCHS = "<results>/microobject/dataset={dataset}/model={model}/kernels={kernels}/seed={seed}/epochs.parquet"


# Jobs that need a GPU start before those that do not, which would keep it waiting; among them the longest first, and
# first of all what finds unknown networks and targets in seconds.
PRIORITY = {
    "compute_trf": 30,
    "count_flops": 30,
    "calibrate_weights": 20,
    "finetune_model": 15,
    "train_microobject": 15,
    "accumulate_erf": 10,
}


wildcard_constraints:
    dataset="|".join(map(re.escape, config["datasets"])),
    model="|".join(map(re.escape, config["models"])),
    weights="imagenet|calibrated|file|finetuned",
    kernels="odd|padded|sliced",
    seed=r"\d+",
    experiment="|".join(EXPERIMENTS),
    target="|".join(map(re.escape, config["targets"])),


def shard_rule(shard):
    return f"accumulate_erf_{shard + 1}" if shard else "accumulate_erf"


def model_source(model):
    """A torchvision name, or the user's file.py:factory."""
    return config["models"][model].get("source", model)


def model_files(model):
    """The user's own file, if the network comes from one."""
    file = own_file(config["models"][model])
    return [file] if file else []


def file_name(published):
    """Name of a published file: the last part of its URL."""
    return Path(urlsplit(published["url"]).path).name


def retrieved(published):
    return f"<resources>/retrieved/{file_name(published)}"


def weights_file(wildcards):
    """The file that published weights come in, or that the user names."""
    if wildcards.weights == "file":
        return config["models"][wildcards.model]["checkpoint"]
    published = REGISTRY["weights"]["files"][model_source(wildcards.model)]
    return ancient(retrieved(published))


def model_targets(model):
    """Module of the network for each target."""
    own = config["models"][model].get("targets", {})
    return {target: own.get(target, target) for target in config["targets"]}


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


def checkpoint(wildcards):
    """Weights of a network that maps are made of; calibrated ones depend on the data set."""
    if wildcards.weights == "finetuned":
        return FINETUNED.format(
            **{**wildcards, "weights": FINETUNE["weights"]}, seed=FINETUNE["seeds"][0]
        )
    return starting_weights(wildcards)


def starting_weights(wildcards):
    """Weights of a network before any training here: its kernels are odd."""
    pattern = CALIBRATED if wildcards["weights"] == "calibrated" else CHECKPOINT
    return pattern.format(**{**wildcards, "kernels": "odd"})


def logit(wildcards):
    """Which logit `output` is; YAML reads a bare `true` as a truth value."""
    experiment = FINETUNE if wildcards.weights == "finetuned" else SIZE_TEST
    return str(experiment["logit"]).lower()


def size_test_maps(pattern, models=SIZE_TEST["models"]):
    """Paths of the maps of the size test, every target of each network."""
    return expand(
        pattern,
        dataset=SIZE_TEST["dataset"],
        weights=SIZE_TEST["weights"],
        model=models,
        kernels="odd",
        target=config["targets"],
    )


def shape_test_maps(pattern, models=FINETUNE["models"]):
    """Paths of the maps of the fine-tuned networks, every target of each kind of kernels."""
    return expand(
        pattern,
        dataset=FINETUNE["dataset"],
        weights="finetuned",
        model=models,
        kernels=FINETUNE["kernels"],
        target=config["targets"],
    )


def experiment_maps(pattern):
    """Input function: the maps of an experiment, of one network if there is such a wildcard."""
    maps = {"size_test": size_test_maps, "shape_test": shape_test_maps}

    def paths(wildcards):
        models = {"models": wildcards.model} if "model" in wildcards.keys() else {}
        return maps[wildcards.experiment](pattern, **models)

    return paths


def experiment_fields(wildcards):
    """Input function: theoretical fields of the networks of an experiment."""
    if wildcards.experiment == "size_test":
        return expand(TRF, model=SIZE_TEST["models"], kernels="odd")
    return expand(TRF, model=FINETUNE["models"], kernels=FINETUNE["kernels"])


def finetune_runs(pattern):
    """Paths of every run of the fine-tuning."""
    repeated = FINETUNE["repeated"]
    return [
        path
        for model in FINETUNE["models"]
        for path in expand(
            pattern,
            dataset=FINETUNE["dataset"],
            model=model,
            weights=FINETUNE["weights"],
            kernels=FINETUNE["kernels"],
            seed=dict.fromkeys(
                FINETUNE["seeds"]
                + (repeated["seeds"] if model in repeated["models"] else [])
            ),
        )
    ]


def microobject_runs():
    """Paths of every run of the micro-object task."""
    return expand(
        MICROOBJECT_EPOCHS,
        dataset=MICROOBJECT["dataset"],
        model=MICROOBJECT["models"],
        kernels=MICROOBJECT["kernels"],
        seed=MICROOBJECT["seeds"],
    )


def recipe(experiment):
    """What a training run follows, apart from its seed."""
    common = config["training"]
    return {
        "epochs": experiment["epochs"],
        "learning_rate": experiment["learning_rate"],
        "momentum": common["momentum"],
        "weight_decay": common["weight_decay"],
        "precision": common["precision"],
    }


AUGMENTATION = {
    key: value
    for key, value in config["training"]["augmentation"].items()
    if key != "method"
}
# The run whose kernels are drawn.
DRAWN = {
    "dataset": FINETUNE["dataset"],
    "model": config["shape_test"]["model"],
    "weights": FINETUNE["weights"],
    "seed": FINETUNE["seeds"][0],
}


def published_packs():
    """Packs of the published data sets: an image that cannot be decoded is found on the way."""
    return expand(
        "<results>/data/dataset={dataset}/images.arrow",
        dataset=[
            name
            for name, dataset in config["datasets"].items()
            if dataset["source"] in REGISTRY["datasets"]
        ],
    )


def published_weights():
    """Checkpoints of every network whose ImageNet weights are published."""
    return expand(
        CHECKPOINT,
        model=[
            model
            for model in config["models"]
            if model_source(model) in REGISTRY["weights"]["files"]
        ],
        weights="imagenet",
        kernels="odd",
    )

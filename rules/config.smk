# Checks the configuration and the registry before anything else; every problem is one line that names its key.
import csv
import difflib
import functools
import itertools
import math
import re
from pathlib import Path

import jsonschema

from snakemake.pathvars import Pathvars
from snakemake.utils import update_config

kinds = library("surgery.kinds")
LEAST_BLOCKS = library("precision").LEAST_BLOCKS


def over_defaults(settings):
    """What a module is given is laid over config.yaml, as a file behind --configfile is."""
    complete = read_yaml(beside("config.yaml"))
    update_config(complete, settings)
    workflow.pathvars.update(Pathvars.from_config(complete))
    folders = {name: workflow.pathvars.get(name) for name in complete["pathvars"]}
    return {**complete, "pathvars": folders}


def read_registry(path):
    if not Path(ROOT, path).is_file():
        stop_at([f"data.registry: there is no file {path}"])
    registry = read_yaml(beside(path))
    problems = schema_problems(registry, "schemas/registry.schema.yaml")
    stop_at([f"{path}: {problem}" for problem in problems])
    return registry


def is_integer(_, value):
    """Not 1.0, which scripts would stumble over hours later."""
    return isinstance(value, int) and not isinstance(value, bool)


def is_number(_, value):
    return is_integer(_, value) or isinstance(value, float) and math.isfinite(value)


def schema_problems(document, schema):
    draft = jsonschema.Draft202012Validator
    types = draft.TYPE_CHECKER.redefine("integer", is_integer).redefine(
        "number", is_number
    )
    validator = jsonschema.validators.extend(draft, type_checker=types)
    errors = validator(read_yaml(beside(schema))).iter_errors(document)
    return [
        schema_problem(error) for error in sorted(errors, key=lambda e: str(e.path))
    ]


def path_problems():
    """Folders that Snakemake or the shell would take for something else."""
    paths = {name: path for name, path in config["pathvars"].items()}
    prefixed = workflow.modifier.path_modifier.replace_prefix
    if any(prefixed(f"{path}/") != f"{path}/" for path in paths.values()):
        yield "the module's prefix: its jobs would not know of it; name its folders as pathvars"
    for name, path in paths.items():
        key = f"pathvars.{name}: {path!r}"
        if (
            not path.strip()
            or path != Path(path).as_posix()
            or Path(path).name in ("", "..")
        ):
            yield f"{key}: name a folder, such as {name}, without a slash behind it"
        elif path.startswith("~"):
            yield f"{key}: is not taken for the home folder here; write that folder out"
        elif set(path) & set("{}<>*?\n"):
            yield f"{key}: braces, wildcards and line breaks mean something else to Snakemake; choose another name"
        elif any(part.is_file() for part in [Path(path), *Path(path).parents]):
            yield f"{key}: this is a file or lies in one; move it away or name a folder"
    folders = {name: Path(path).resolve() for name, path in paths.items()}
    for name, other in itertools.permutations(folders, 2):
        if folders[name] == folders[other] and name < other:
            yield f"pathvars.{name} and pathvars.{other} are the same folder: name two"
        elif name == "results" and folders[other] in folders[name].parents:
            yield f"pathvars.results lies in pathvars.{other}: put it beside it"
    for folder in {ROOT, Path.cwd()}:
        if set(str(folder)) & set("{}"):
            yield f"the folder {folder} has braces in its name, which Snakemake takes for wildcards: rename it"


def schema_problem(error):
    key = ".".join(map(str, error.absolute_path))
    if error.validator != "additionalProperties":
        return f"{key or 'top level'}: {in_words(error)}"
    known = error.schema["properties"]
    unknown = [name for name in error.instance if name not in known]
    problem = ".".join(filter(None, [key, unknown[0]])) + ": unknown key"
    near = difflib.get_close_matches(unknown[0], known, 1)
    return problem + (
        f"; did you mean {near[0]}?" if near else f"; known are {', '.join(known)}"
    )


def in_words(error):
    """The schema says in its own words what names are and what has to be in a list."""
    found = error.instance
    if error.validator in ("pattern", "contains") and "description" in error.schema:
        return f"{found!r}, but {error.schema['description']}"
    if isinstance(found, str) and re.fullmatch(r"[-+]?\d+e[-+]?\d+", found, re.I):
        return f"{error.message}; YAML takes it for text, write {float(found)}"
    return error.message


def cross_field_problems():
    """What no schema sees, one line each."""
    size_test, finetune = config["size_test"], config["finetune"]
    if size_test["target"] not in config["targets"] or size_test["target"] == "output":
        yield f"size_test.target: {size_test['target']!r} is no module among targets ({', '.join(config['targets'])})"
    if "output" not in config["targets"]:
        yield "targets: lacks output, whose imbalance Fig. 4 shows"
    if not math.isclose(sum(config["split"].values()), 1, abs_tol=1e-9):
        yield f"split: the shares add up to {sum(config['split'].values()):g}, not 1"
    if str(size_test["logit"]).lower() == "true" and size_test["weights"] != "file":
        yield (
            f"size_test.logit: true, but the head of weights {size_test['weights']} was not made for "
            f"{size_test['dataset']}; use predicted or mean, or weights: file with a head that was"
        )
    if len(config["preprocess"]["mean"]) != len(config["preprocess"]["std"]):
        yield "preprocess.std: not as many numbers as preprocess.mean"
    yield from square_problems("microobject", config["microobject"])
    for block in config["causes"]["microobject"]:
        yield from square_problems("causes.microobject", block)
    if too_large(config["preprocess"]):
        yield "preprocess.crop: larger than preprocess.resize"
    for model in config["models"]:
        yield from transform_problems(model)
    if config["shape_test"]["model"] not in finetune["models"]:
        yield f"shape_test.model: {config['shape_test']['model']!r} is not in finetune.models"
    for name in set(finetune["repeated"]["models"]) - set(finetune["models"]):
        yield f"finetune.repeated.models: {name!r} is not in finetune.models"
    augmentation = config["training"]["augmentation"]
    if augmentation["crop"] > augmentation["resized_crop"]:
        yield "training.augmentation.crop: larger than training.augmentation.resized_crop"
    if augmentation["scale"][0] > augmentation["scale"][1]:
        yield "training.augmentation.scale: the first is larger than the second"
    if lacks_validation(finetune["dataset"]):
        yield f"finetune.dataset: {finetune['dataset']} has its own split, without images for validation"
    if config["erf"]["shards"] > config["erf"]["blocks"]:
        yield "erf.shards: more than erf.blocks, of which each has some"
    if config["erf"]["precision"]:
        yield from precision_problems(**config["erf"])
    if config["erf"]["split"] == "valid" and lacks_validation(size_test["dataset"]):
        yield f"erf.split: valid, but {size_test['dataset']} has its own split, without images for validation"
    for name, dataset in config["datasets"].items():
        yield from dataset_problems(name, **dataset)
    yield from crop_problems()
    yield from causes_problems()
    if config["probes"]["models"]:
        yield from probe_problems(**config["probes"])
    for name, meaning in kinds.KINDS.items():
        if config["kernels"].get(name, meaning) != meaning:
            yield f"kernels.{name}: {config['kernels'][name]} is not what the paper's are, {meaning}; choose another name"
    for name in config["kernels"]:
        if kinds.kind_and_crop(name) != (name, None):
            yield f"kernels.{name}: reads as kernels at another crop; choose another name"
    yield from kernel_problems("survey", **config["survey"])
    for source in config["survey"]["networks"]:
        yield from source_problems("survey.networks", source)
    for name, section in config.items():
        if isinstance(section, dict) and {"dataset", "models"} <= section.keys():
            yield from experiment_problems(name, **section)
            yield from kernel_problems(name, **section)
    for name, model in config["models"].items():
        for target in set(model.get("targets", {})) - set(config["targets"]):
            yield f"models.{name}.targets: {target!r} is not among targets"
        trained = model.get("checkpoint", "")
        if trained.startswith("hf://") and not HUB_FILE.fullmatch(trained):
            yield f"models.{name}.checkpoint: {trained!r} is not like hf://OWNER/REPO/FILE.safetensors or hf://OWNER/REPO@REVISION/FILE.safetensors; write it like one of these"


def precision_problems(shards, blocks, definition, **_):
    """Of maps that end once they are precise."""
    if shards > 1:
        yield f"erf.precision: the {shards} jobs of erf.shards do not know of each other's images; make erf.shards 1, or leave precision null"
    if blocks < LEAST_BLOCKS:
        yield f"erf.precision: errors need at least {LEAST_BLOCKS} blocks; make erf.blocks {LEAST_BLOCKS} or more"
    if definition == "signed":
        yield "erf.precision: a signed field has no L1 relative to its mean; choose another erf.definition, or leave precision null"


# What may stand before the name of a network in `source`; it is no file.
LIBRARIES = {"", "torchvision", "timm"}


def own_file(model):
    """The user's file of file.py:factory; empty for a name in a library."""
    before = model.get("source", "").rpartition(":")[0]
    return "" if before in LIBRARIES else before


def model_source(model):
    """A torchvision classifier's name, timm:NAME, or the user's file.py:factory."""
    return config["models"][model].get("source", model).removeprefix("torchvision:")


# hf://OWNER/REPO[@REVISION]/FILE; no part starts with a dot, as ".." does.
HUB_FILE = re.compile(
    r"hf://(?P<repository>\w[\w.-]*/\w[\w.-]*)(@(?P<revision>\w[\w.-]*))?/"
    r"(?P<file>(\w[\w.-]*/)*\w[\w.-]*\.safetensors)",
    re.ASCII,
)


def hub_file(model, weights):
    """Repository, revision and file on the Hugging Face Hub that weights come from; None if from elsewhere."""
    if weights == "file":
        address = config["models"][model].get("checkpoint", "")
    elif weights == "imagenet" and model_source(model).startswith("timm:"):
        # where timm itself looks for them
        repository = published_weights(model).get("repository", "")
        address = f"hf://{repository}/model.safetensors"
    else:
        return None
    return HUB_FILE.fullmatch(address)


def published(dataset):
    """What the registry says of a data set; nothing where it is the user's or synthetic."""
    source = config["datasets"].get(dataset, {}).get("source")
    return REGISTRY["datasets"].get(source, {})


def preprocess_of(model, weights=None):
    """A network's evaluation transform: its own keys, else that of its published weights, else the common one."""
    known = published_weights(model) if weights == "imagenet" else {}
    own = config["models"][model].get("preprocess", {})
    return {**config["preprocess"], **known.get("preprocess", {}), **own}


def no_timm_weights(model):
    source = model_source(model)
    near = difflib.get_close_matches(source.removeprefix("timm:"), timm_weights(), 3)
    return (
        f"models.{model}.source: {source} names no weights that are in data/timm.csv; "
        + (f"did you mean {' or '.join(near)}? Else w" if near else "w")
        + "rite timm:NAME.TAG as timm.list_pretrained() has it, or take weights: file with a checkpoint"
    )


def published_weights(model):
    """What the registry, or the list of timm's networks, says of a network's published weights."""
    source = model_source(model)
    if not source.startswith("timm:"):
        return REGISTRY["weights"]["files"].get(source, {})
    row = timm_weights().get(source.removeprefix("timm:"))
    return timm_entry(**row) if row else {}


@functools.cache
def timm_weights():
    """Rows of the list of timm's networks, by name."""
    with open(beside("data/timm.csv"), newline="") as file:
        return {row.pop("name"): row for row in csv.DictReader(file)}


def timm_architectures(asked, size):
    """Those that take images of `size` px: the smallest of each family, or of each size in it, or all, or none."""
    if not asked:
        return []
    with open(beside("data/timm_architectures.csv"), newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["side"] in ("", str(size))]
    chosen = {}
    for row in rows:  # small ones come first
        twofold = int(row["parameters"]).bit_length()
        of_family = {"families": (), "sizes": twofold, "all": row["architecture"]}[
            asked
        ]
        chosen.setdefault((row["family"], of_family), f"timm:{row['architecture']}")
    return [*chosen.values()]


def timm_entry(repository, interpolation, mean, std, **sizes):
    numbers = {key: [*map(int, size.split())] for key, size in sizes.items()}
    transform = {
        **{key: size if len(size) > 1 else size[0] for key, size in numbers.items()},
        "interpolation": interpolation,
        "mean": [*map(float, mean.split())],
        "std": [*map(float, std.split())],
    }
    return {"repository": repository, "preprocess": transform}


def channels_of(model):
    """Of its images: there is a mean for each."""
    return len(preprocess_of(model)["mean"])


def height_and_width(size):
    """Of a side or of both."""
    return (size, size) if isinstance(size, int) else tuple(size)


def too_large(transform):
    crop, resize = (height_and_width(transform[name]) for name in ("crop", "resize"))
    return crop[0] > resize[0] or crop[1] > resize[1]


def sizes_of_maps(model):
    """Height and width of the images that a network's maps are of, by its weights."""
    sections = [config["size_test"], config["finetune"]]
    used = [section["weights"] for section in sections if model in section["models"]]
    return {
        weights: height_and_width(preprocess_of(model, weights)["crop"])
        for weights in used
    }


def square_problems(name, section):
    for model in config["models"].keys() & {*section["models"]}:
        if channels_of(model) != 3:
            yield f"{name}.models: the squares are black and red, and models.{model}.preprocess.mean is not of red, green and blue; leave {model} out, or ask for other experiments by their names"


def transform_problems(model):
    key = f"models.{model}.preprocess"
    sizes = sizes_of_maps(model)
    if len(set(sizes.values())) > 1:
        differ = ", ".join(
            f"{weights} {height}x{width}"
            for weights, (height, width) in sorted(sizes.items())
        )
        yield f"{key}.crop: missing, as maps of its weights are of different sizes ({differ}) and theory is of one; say which"
    if "preprocess" in config["models"][model]:
        if any(
            len(found["mean"]) != len(found["std"])
            for found in (preprocess_of(model, weights) for weights in [*sizes, None])
        ):
            yield f"{key}.std: not as many numbers as {key}.mean"
        if any(too_large(preprocess_of(model, w)) for w in [*sizes] or [None]):
            yield f"{key}.crop: larger than {key}.resize"


def kernel_problems(experiment, kernels=(), init=None, **_):
    for name in kernels:
        if name not in config["kernels"]:
            yield f"{experiment}.kernels: {name!r} is not among kernels ({', '.join(config['kernels'])})"
        elif "redraw" in config["kernels"][name] and init == "zero":
            yield f"{experiment}.kernels: {name!r} redraws kernels, which with {experiment}.init: {init} are not drawn; leave it out, or take init: random"


def crop_problems():
    """An experiment's own crop, which is one, is among those that it compares; causes have what they list."""
    for name in ("size_test", "finetune", "microobject"):
        section, used = config[name], crops_used(name)
        own = {f"{key}.crop": crop for key, crop, _ in used}
        if section["crops"] and list in map(type, own.values()):
            yield f"{name}.crops: of squares, and {min(own)} is {own[min(own)]}; write one side there, or leave {name}.crops null"
            continue
        if section["crops"] and len({*own.values()}) > 1:
            yield f"{name}.crops: {' and '.join(own)} differ ({', '.join(map(str, own.values()))}); make them one, as a crop is of both"
        elif section["crops"] and not {*own.values()} <= {*section["crops"]}:
            yield f"{name}.crops: lacks {min(own.values())} ({min(own)}), which the others are compared with; add it"
        yield from unfit_crops(name, used, **section)
    for task in ("microobject", "finetune"):
        for block in config["causes"][task]:
            section = {**config[task], "crops": None, **block}
            yield from unfit_crops(f"causes.{task}", crops_used(task), **section)


def crops_used(experiment):
    """Whose crop an experiment has, what it is, and how large images are before it."""
    maps, training = config["preprocess"], config["training"]["augmentation"]
    of_maps = "preprocess", maps["crop"], min(height_and_width(maps["resize"]))
    trained = "training.augmentation", training["crop"], training["resized_crop"]
    return {
        "size_test": [of_maps],
        "finetune": [of_maps, trained],
        "microobject": [trained],
    }[experiment]


def unfit_crops(name, used, crops, models, weights=None, size=1, **_):
    for key, _, largest in used if crops else ():
        if max(crops) > largest:
            yield f"{name}.crops: {max(crops)} is larger than what {key} scales images to, {largest} px"
    own = height_and_width(used[-1][1])
    if size > min([*(crops or []), *own]):
        yield f"{name}: microobject.size is larger than a crop of its images"
    for model in {*models} & config["models"].keys() if crops and weights else ():
        crop = preprocess_of(model, weights)["crop"]
        if crop != config["preprocess"]["crop"]:
            yield f"{name}.crops: models.{model} has a crop of its own, {crop}; leave it out, or give it none"


def causes_problems():
    for task in ("microobject", "finetune"):
        for block in config["causes"][task]:
            section = {**config[task], **block}
            yield from experiment_problems(f"causes.{task}", **section)
            yield from kernel_problems(f"causes.{task}", **section)
    for name, pairs in config["causes"]["contrasts"].items():
        for arm in itertools.chain(*pairs):
            kind, _ = kinds.kind_and_crop(arm)
            if kind not in config["kernels"]:
                yield f"causes.contrasts.{name}: {arm!r} is not among kernels ({', '.join(config['kernels'])})"


def probe_problems(dataset, weights, models, kernels, split, shift, **_):
    finetune = config["finetune"]
    if weights != "finetuned" and kernels != ["odd"]:
        yield f"probes.kernels: {weights} weights are of odd kernels; leave the others out, or take weights: finetuned"
    elif weights == "finetuned":
        if dataset != finetune["dataset"]:
            yield f"probes.dataset: {dataset}, but finetune.dataset is {finetune['dataset']}; make them one"
        for key, names in (("models", models), ("kernels", kernels)):
            for name in names:
                if name not in finetune[key]:
                    yield f"probes.{key}: {name!r} is not in finetune.{key}"
    if split == "valid" and lacks_validation(dataset):
        yield f"probes.split: valid, but {dataset} has its own split, without images for validation"
    for model in {*models} & config["models"].keys():
        transform = probe_transform(model)
        rooms = zip(*(height_and_width(transform[n]) for n in ("resize", "crop")))
        if shift > (room := min(larger - smaller for larger, smaller in rooms) // 2):
            yield f"probes.shift: {shift}, but images of models.{model} have room for {room} px each way; make it smaller, or resize larger"


def probe_transform(model):
    """The evaluation transform of a network that is probed; of a fine-tuned one, that of its training."""
    weights, trained = config["probes"]["weights"], config["training"]["augmentation"]
    if weights != "finetuned":
        return preprocess_of(model, weights)
    return {
        **preprocess_of(model, config["finetune"]["weights"]),
        "resize": trained["resized_crop"],
        "crop": trained["crop"],
    }


def lacks_validation(dataset):
    return "valid" not in published(dataset).get("splits", ["valid"])


def dataset_problems(name, source, include_background=None, **_):
    """A published data set is whatever the registry has, which no schema sees."""
    known = ["folder", "synthetic", *REGISTRY["datasets"]]
    if source not in known:
        yield f"datasets.{name}.source: {source!r} is not one of {', '.join(known)}"
    elif "background" in published(name) and include_background is None:
        yield f"datasets.{name}.include_background: missing; is the folder of clutter a class, true or false?"
    elif "background" not in published(name) and include_background is not None:
        yield f"datasets.{name}.include_background: {source} has no folder of clutter; remove the key"


def experiment_problems(experiment, dataset, models, weights=None, **_):
    registry = config["data"]["registry"]
    if dataset not in config["datasets"]:
        yield f"{experiment}.dataset: {dataset!r} is not among datasets"
    elif not Path(path := config["datasets"][dataset].get("path", ".")).is_dir():
        yield f"datasets.{dataset}.path: there is no folder {path}; put the images there"
    for name in models:
        model = config["models"].get(name)
        if model is None:
            yield f"{experiment}.models: {name!r} is not among models"
            continue
        source = model.get("source", "")
        yield from source_problems(f"models.{name}.source", model.get("source", name))
        trained = model.get("checkpoint")
        if weights == "file" and not trained:
            yield f"models.{name}.checkpoint: missing, {experiment}.weights is file"
        elif (
            weights == "file"
            and not trained.startswith("hf://")
            and not Path(trained).is_file()
        ):
            yield f"models.{name}.checkpoint: there is no file {trained}; put the weights there"
        elif weights == "imagenet" and source.startswith("timm:"):
            if not published_weights(name):
                yield no_timm_weights(name)
        elif (
            weights == "imagenet"
            and model_source(name) not in REGISTRY["weights"]["files"]
        ):
            near = difflib.get_close_matches(
                model_source(name), REGISTRY["weights"]["files"], 1, 0.8
            )
            yield f"{experiment}.weights: {registry} has no ImageNet weights of models.{name}; " + (
                f"did you mean {near[0]}?" if near else "use file or calibrated"
            )


def source_problems(key, source):
    if not re.fullmatch(r"(torchvision:)?\w+|timm:[\w.-]+|.+\.py:[^\W\d]\w*", source):
        yield f"{key}: {source!r} is neither file.py:factory nor timm:NAME nor torchvision:NAME; write it like one of these"
    elif (file := own_file({"source": source})) and not Path(file).is_file():
        yield f"{key}: there is no file {file}; put the network's code there"


# For a module Snakemake reads no configfile.
if workflow.modifier.skip_configfile:
    config = over_defaults(config)

# The last map of each stride, found by the job that needs it; and the output.
AUTO = config.get("targets") == "auto"
if AUTO:
    config["targets"] = [f"stride{stride}" for stride in (4, 8, 16, 32)] + ["output"]

for file in workflow.overwrite_configfiles or []:
    check_yaml(file)
stop_at(schema_problems(config, "schemas/config.schema.yaml"))
stop_at(list(path_problems()))
REGISTRY = read_registry(config["data"]["registry"])
stop_at(list(cross_field_problems()))

# Checks the configuration and the registry before anything else; every problem is one line that names its key.
import difflib
import math
from pathlib import Path

import jsonschema
import yaml


def stop_at(problems):
    if problems:
        raise WorkflowError(
            "Mend the configuration and try again:\n  " + "\n  ".join(problems)
        )


def read_yaml(path):
    """A YAML file beside the Snakefile, or of an absolute path."""
    return yaml.safe_load(Path(workflow.basedir, path).read_text())


def read_registry(path):
    if not Path(workflow.basedir, path).is_file():
        stop_at([f"data.registry: there is no file {path}"])
    registry = read_yaml(path)
    problems = schema_problems(registry, "schemas/registry.schema.yaml")
    stop_at([f"{path}: {problem}" for problem in problems])
    return registry


def schema_problems(document, schema):
    errors = jsonschema.Draft202012Validator(read_yaml(schema)).iter_errors(document)
    return [
        schema_problem(error) for error in sorted(errors, key=lambda e: str(e.path))
    ]


def schema_problem(error):
    key = ".".join(map(str, error.absolute_path))
    if error.validator == "anyOf":
        return f"{key}: {' or '.join(part.message for part in error.context)}"
    if error.validator != "additionalProperties":
        return f"{key or 'top level'}: {error.message}"
    known = error.schema["properties"]
    unknown = [name for name in error.instance if name not in known]
    problem = ".".join(filter(None, [key, unknown[0]])) + ": unknown key"
    near = difflib.get_close_matches(unknown[0], known, 1)
    return problem + (
        f"; did you mean {near[0]}?" if near else f"; known are {', '.join(known)}"
    )


def cross_field_problems():
    """What no schema sees, one line each."""
    size_test, finetune = config["size_test"], config["finetune"]
    if size_test["target"] not in config["targets"] or size_test["target"] == "output":
        yield f"size_test.target: {size_test['target']!r} is no module among targets"
    if not math.isclose(sum(config["split"].values()), 1, abs_tol=1e-9):
        yield f"split: the shares add up to {sum(config['split'].values()):g}, not 1"
    if str(size_test["logit"]).lower() == "true" and size_test["weights"] != "file":
        yield (
            f"size_test.logit: true, but the head of weights {size_test['weights']} was not made for "
            f"{size_test['dataset']}; use predicted or mean, or weights: file with a head that was"
        )
    if config["preprocess"]["crop"] > config["preprocess"]["resize"]:
        yield "preprocess.crop: larger than preprocess.resize"
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
        yield "finetune.dataset: CUB-200-2011 has its own split, without images for validation"
    if config["erf"]["shards"] > config["erf"]["blocks"]:
        yield "erf.shards: more than erf.blocks, of which each has some"
    if config["erf"]["split"] == "valid" and lacks_validation(size_test["dataset"]):
        yield "erf.split: valid, but CUB-200-2011 has its own split into train and test"
    if config["microobject"]["size"] > augmentation["crop"]:
        yield "microobject.size: larger than training.augmentation.crop"
    for experiment in ("size_test", "finetune", "microobject"):
        yield from experiment_problems(experiment, **config[experiment])
    for name, model in config["models"].items():
        for target in set(model.get("targets", {})) - set(config["targets"]):
            yield f"models.{name}.targets: {target!r} is not among targets"


def lacks_validation(dataset):
    return config["datasets"].get(dataset, {}).get("source") == "cub200"


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
        elif weights == "file" and "checkpoint" not in model:
            yield f"models.{name}.checkpoint: missing, {experiment}.weights is file"
        elif (
            weights == "imagenet"
            and model.get("source", name) not in REGISTRY["weights"]["files"]
        ):
            yield f"{experiment}.weights: {registry} has no ImageNet weights of models.{name}; use file or calibrated"


stop_at(schema_problems(config, "schemas/config.schema.yaml"))
REGISTRY = read_registry(config["data"]["registry"])
stop_at(list(cross_field_problems()))

# Checks the configuration and says where things are. No rules, no imports of the library.
import difflib
import math
from pathlib import Path

import jsonschema
import yaml


def config_problems():
    """Everything that is wrong with the configuration, one line each."""
    schema = yaml.safe_load(
        Path(workflow.basedir, "schemas/config.schema.yaml").read_text()
    )
    errors = jsonschema.Draft202012Validator(schema).iter_errors(config)
    problems = [
        schema_problem(error) for error in sorted(errors, key=lambda e: str(e.path))
    ]
    return problems or cross_field_problems()


def schema_problem(error):
    key = ".".join(map(str, error.absolute_path))
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
    size_test, models, targets = (
        config["size_test"],
        config["models"],
        config["targets"],
    )
    if size_test["dataset"] not in config["datasets"]:
        yield f"size_test.dataset: {size_test['dataset']!r} is not among datasets"
    if size_test["target"] not in targets or size_test["target"] == "output":
        yield f"size_test.target: {size_test['target']!r} is no module among targets"
    if config["shape_test"]["model"] not in size_test["models"]:
        yield f"shape_test.model: {config['shape_test']['model']!r} is not in size_test.models"
    if not math.isclose(sum(config["split"].values()), 1, abs_tol=1e-9):
        yield f"split: the shares add up to {sum(config['split'].values()):g}, not 1"
    if config["preprocess"]["crop"] > config["preprocess"]["resize"]:
        yield "preprocess.crop: larger than preprocess.resize"
    for name in size_test["models"]:
        if name not in models:
            yield f"size_test.models: {name!r} is not among models"
        elif size_test["weights"] == "file" and "checkpoint" not in models[name]:
            yield f"models.{name}.checkpoint: missing, size_test.weights is file"
        elif size_test["weights"] == "imagenet" and ":" in models[name].get(
            "source", name
        ):
            yield f"size_test.weights: imagenet has no weights for models.{name}, which is your own"
    for name, model in models.items():
        for target in set(model.get("targets", {})) - set(targets):
            yield f"models.{name}.targets: {target!r} is not among targets"


problems = list(config_problems())
if problems:
    raise WorkflowError(
        "Mend the configuration and try again:\n  " + "\n  ".join(problems)
    )

SIZE_TEST = config["size_test"]
ERF = "<results>/erf/dataset={dataset}/model={model}/weights={weights}/kernels={kernels}/target={target}/erf.parquet"
BLOCKS = "<results>/erf_blocks/dataset={dataset}/model={model}/weights={weights}/kernels={kernels}/target={target}/blocks.parquet"
CHECKPOINT = "<results>/checkpoints/model={model}/weights={weights}/kernels={kernels}/checkpoint.safetensors"
CALIBRATED = "<results>/checkpoints/model={model}/weights={weights}/kernels={kernels}/dataset={dataset}/checkpoint.safetensors"


wildcard_constraints:
    dataset="|".join(map(re.escape, config["datasets"])),
    model="|".join(map(re.escape, config["models"])),
    weights="imagenet|calibrated|file",
    kernels="odd",
    target="|".join(map(re.escape, config["targets"])),


def library(*modules):
    """Source files of the library: an edit of these, and of no others, runs a rule again."""
    return [f"scripts/deadpixel/{module}.py" for module in modules]


def model_source(model):
    """A torchvision name, or the user's file.py:factory."""
    return config["models"][model].get("source", model)


def model_files(model):
    """The user's own file, if the network comes from one."""
    source = model_source(model)
    return [source.rpartition(":")[0]] if ":" in source else []


def model_targets(model):
    """Module of the network for each target."""
    own = config["models"][model].get("targets", {})
    return {target: own.get(target, target) for target in config["targets"]}


def images_folder(wildcards):
    """Folder of a data set's images; only a synthetic one is made by the workflow."""
    dataset = config["datasets"][wildcards.dataset]
    if dataset["source"] == "synthetic":
        return f"<results>/data/dataset={wildcards.dataset}/images"
    return []


def checkpoint(wildcards):
    """Weights of a network; calibrated ones depend on the data set."""
    pattern = CALIBRATED if wildcards.weights == "calibrated" else CHECKPOINT
    return pattern.format(**wildcards)


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

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
    size_test, models, targets = (
        config["size_test"],
        config["models"],
        config["targets"],
    )
    if size_test["dataset"] not in config["datasets"]:
        yield f"size_test.dataset: {size_test['dataset']!r} is not among datasets"
    elif (
        config["datasets"][size_test["dataset"]]["source"] == "cub200"
        and config["erf"]["split"] == "valid"
    ):
        yield "erf.split: valid, but CUB-200-2011 has its own split into train and test"
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
        elif (
            size_test["weights"] == "imagenet"
            and models[name].get("source", name) not in REGISTRY["weights"]["files"]
        ):
            yield f"size_test.weights: {config['data']['registry']} has no ImageNet weights of models.{name}; use file or calibrated"
    for name, model in models.items():
        for target in set(model.get("targets", {})) - set(targets):
            yield f"models.{name}.targets: {target!r} is not among targets"


stop_at(schema_problems(config, "schemas/config.schema.yaml"))
REGISTRY = read_registry(config["data"]["registry"])
stop_at(list(cross_field_problems()))

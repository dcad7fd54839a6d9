# The library beside these rules, for what is asked while the workflow is read; whatever else is installed stays as it
# is. Its modules that are used here need the standard library only: with conda, Snakemake has an environment of its own.
import importlib.util
import sys
from pathlib import Path

from snakemake.sourcecache import HostingProviderFile


def root():
    """The folder of this repository. From a Git host Snakemake copies only the files that rules name: here the rest."""
    rules = workflow.current_basedir
    if not isinstance(rules, HostingProviderFile):
        return Path(str(rules)).parent
    parts = ["Snakefile", "config.yaml", "data", "schemas", "scripts"]
    parts += ["envs", "report", "rules"]  # which the plan reads again from here
    listed = rules.hosted_repo.repo.git.ls_tree(
        "-r", "--name-only", rules.ref, "--", *parts
    )
    copies = {
        file: workflow.sourcecache.get_path(rules.join(f"../{file}"))
        for file in listed.splitlines()
    }
    return Path(copies["Snakefile"]).parent


ROOT = root()


def beside(path):
    """A file beside the Snakefile, from wherever Snakemake runs."""
    return path if Path.cwd() == ROOT else (ROOT / path).as_posix()


def load_library(name="deadpixel_beside_snakefile"):
    folder = ROOT / "scripts/deadpixel"
    spec = importlib.util.spec_from_file_location(
        name, folder / "__init__.py", submodule_search_locations=[str(folder)]
    )
    sys.modules[name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(sys.modules[name])
    return lambda module: importlib.import_module(f"{name}.{module}")


library = load_library()
FINGERPRINTS = library("operations.fingerprints").Fingerprints(
    ROOT / "scripts", Path(".snakemake/fingerprints.json")
)


def fingerprint(script):
    """What a script and all that it imports do: an edit of it, but not of prose, runs the rule again."""
    return FINGERPRINTS.of(script)


strict_yaml, costs = library("operations.strict_yaml"), library("operations.costs")


def stop_at(problems):
    if problems:
        raise WorkflowError(
            "Fix the configuration and run again:\n  "
            + "\n  ".join(dict.fromkeys(problems))
        )


def read_yaml(path):
    try:
        return strict_yaml.read(path)
    except ValueError as error:
        stop_at([str(error)])


def check_yaml(path):
    """Jobs need not look again."""
    if workflow.is_main_process:
        read_yaml(path)

"""What of kernel padding makes a difference: every run, every arm, every contrast; as a figure."""

from deadpixel import extent
from deadpixel.files import maps, parquet, schemas
from deadpixel.operations import job
from deadpixel.results import arms, causes, microobject, render, shape_test, style

job.begin(snakemake)
params, inputs, output = snakemake.params, snakemake.input, snakemake.output
trf = parquet.read_all(inputs.trf, schemas.TRF)
named = params.contrasts

parts = []
if inputs.epochs:
    epochs = parquet.read_partitioned(inputs.epochs, schemas.EPOCHS)
    steps = parquet.read_partitioned(inputs.steps, schemas.STEPS)
    firsts = microobject.first_epochs(epochs, steps, params.threshold, params.epochs)
    parts.append(causes.counted(firsts))
if inputs.finetuned:
    epochs = parquet.read_partitioned(inputs.finetuned, schemas.EPOCHS)
    predictions = parquet.read_partitioned(inputs.predictions, schemas.PREDICTIONS)
    parts.append(shape_test.finetune_runs(epochs, predictions))
runs = causes.joined(parts)

starts = {}
fields = maps.read_starts(inputs.starts)
for model, kernels in dict.fromkeys(key[:2] for key in fields):
    of_arm = [field for key, field in fields.items() if key[:2] == (model, kernels)]
    rows = trf.query("model == @model and kernels == @kernels").to_dict("records")
    starts[model, kernels] = causes.at_start(of_arm, extent.theories(rows)["output"])

facts = parquet.provenance(
    contrasts=named, threshold=params.threshold, epochs=params.epochs, settings=params.settings
)
contrasts = causes.contrasts(runs, named)
notes = [*causes.in_words(contrasts), *causes.lacking(named, contrasts)]
for name, frame, table, below in (
    ("runs", runs, causes.RUNS, []),
    ("arms", causes.arms(runs, starts, trf), causes.ARMS, []),
    ("contrasts", contrasts, causes.CONTRASTS, notes),
):
    paths = [output[f"{name}{ending}"] for ending in ("", "_markdown", "_html")]
    shown = arms.labelled(frame, trf) if "kernels" in frame else frame
    render.save(frame, table, facts, paths, below, shown=shown)

style.save(causes.figure(runs, contrasts), [output.png, *output.vector])

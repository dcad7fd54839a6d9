"""Tables 2 and 3 and their figures: what even kernels do to accuracy and to the fields."""

from deadpixel import imbalance
from deadpixel.files import parquet, schemas
from deadpixel.operations import job
from deadpixel.results import arms, fields, pairs, published, render, shape_test, style

job.begin(snakemake)
params, output = snakemake.params, snakemake.output

epochs = parquet.read_partitioned(snakemake.input.epochs, schemas.EPOCHS)
predictions = parquet.read_partitioned(snakemake.input.predictions, schemas.PREDICTIONS)
runs = shape_test.finetune_runs(epochs, predictions)
fits = parquet.read_all(snakemake.input.fits, schemas.FITS).query("target == @params.target")
trf = parquet.read_all(snakemake.input.trf, schemas.TRF)
of_target = trf.query("target == @params.target")
facts = parquet.provenance(settings=params.settings)

paths = output.finetune_runs, output.finetune_runs_markdown, output.finetune_runs_html
render.save(runs, shape_test.RUNS, facts, paths, shown=arms.labelled(runs, trf))

differ = published.differences(params.settings)
paper = published.beside(2, params.networks, differ)
first = runs.query("seed == @params.seed")
table2 = shape_test.table2(first, fits, of_target, paper)
notes = [*published.note(2, differ), *fields.poor_fits(table2)]
paths = output.table2, output.table2_markdown, output.table2_html
render.save(table2, shape_test.TABLE2, facts, paths, notes, shown=arms.labelled(table2, trf))

differ = published.differences({"fine-tuning": params.settings["fine-tuning"]})
paper = published.beside(3, params.networks, differ)
table3 = shape_test.table3(runs, predictions, paper)
notes = [*pairs.few(table3), *published.note(3, differ)]
paths = output.table3, output.table3_markdown, output.table3_html
render.save(table3, shape_test.TABLE3, facts, paths, notes, shown=arms.labelled(table3, trf))

titles = arms.titles(trf)
of_paper = paper.rename(index=titles)
accuracies = shape_test.accuracies(runs.replace({"model": titles}), of_paper)
style.save(accuracies, [output.accuracies_png, *output.accuracies_vector])
curves = shape_test.training_curves(epochs.replace({"model": titles}))
style.save(curves, [output.curves_png, *output.curves_vector])
measured = parquet.read_all(snakemake.input.imbalance, schemas.measures(imbalance.columns()))
of_output = measured.query("target == 'output'").replace({"model": titles})
figure = shape_test.imbalance_before_and_after(of_output, "output")
style.save(figure, [output.imbalance_png, *output.imbalance_vector])

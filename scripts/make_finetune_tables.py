"""Tables 2 and 3: what fine-tuning with even kernels does to accuracy and to the fields."""

from deadpixel import logs, store, tables

logs.configure(snakemake.log[0])
chosen, output = snakemake.params.target, snakemake.output

epochs = store.read_partitioned(snakemake.input.epochs, store.EPOCHS)
predictions = store.read_partitioned(snakemake.input.predictions, store.PREDICTIONS)
runs = tables.finetune_runs(epochs, predictions)
fits = store.read(snakemake.input.fits, store.FITS).query("target == @chosen")
trf = store.read(snakemake.input.trf, store.TRF).query("target == @chosen")
facts = store.provenance()

paths = output.finetune_runs, output.finetune_runs_markdown, output.finetune_runs_html
tables.save(runs, tables.RUNS, facts, *paths)
first = runs[runs["seed"] == snakemake.params.seed]
table2 = tables.table2(first, fits, trf)
tables.save(table2, tables.TABLE2, facts, output.table2, output.table2_markdown, output.table2_html)
table3 = tables.table3(runs, predictions)
tables.save(table3, tables.TABLE3, facts, output.table3, output.table3_markdown, output.table3_html)

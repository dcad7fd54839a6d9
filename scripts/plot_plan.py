"""Figure of the plan."""

from deadpixel import logs, plan_plots, plots, store

logs.configure(snakemake.log[0])
jobs = store.read(snakemake.input.plan, store.PLAN)
makespans = store.read(snakemake.input.makespans, store.MAKESPANS)
devices = store.read_provenance(snakemake.input.plan)["devices"]
plots.save(plan_plots.plan(jobs, makespans, devices), snakemake.output)

"""How the workflow runs: jobs, devices, costs and the plan. The only room that knows Snakemake."""

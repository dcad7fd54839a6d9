# The page that a run is read by, of all its experiments. Snakemake's own report, of where each file came from, holds it.
SHOWN = {"tables", "figures", "erf", "trf", "convergence"}
ASKED_FOR = [path for name in EXPERIMENTS for path in getattr(rules, name).input]
RESULTS_SHOWN = [
    path
    for path in ASKED_FOR
    if path.endswith((".parquet", ".png")) and SHOWN & {*Path(path).parts}
]
SENT = {".parquet": [".parquet", ".md"], ".png": [".png", ".svg", ".pdf"]}
RESULTS_SENT = [
    str(Path(path).with_suffix(suffix))
    for path in RESULTS_SHOWN
    if {"tables", "figures"} & {*Path(path).parts}
    for suffix in SENT[Path(path).suffix]
]
FOLDERS_SENT = [
    path
    for path in ASKED_FOR
    if "figures" in Path(path).parts and not Path(path).suffix
]


rule make_report:
    input:
        results=list(dict.fromkeys(RESULTS_SHOWN)),
        sent=list(dict.fromkeys(RESULTS_SENT + FOLDERS_SENT)),
        of_all=multiext(
            "<measured>/tables/",
            "receptive_fields.parquet",
            "receptive_fields.md",
            "targets.parquet",
            "targets.md",
        ),
        trf=list(dict.fromkeys(fields_of(EXPERIMENTS, TRF) + MICROOBJECT_TRF)),
        templates=[
            beside(f"scripts/deadpixel/results/pages/{name}")
            for name in (
                "frame.html",
                "macros.html",
                "report.html",
                "style.css",
                "tables.js",
                "explorer.js",
            )
        ],
    output:
        page=report(
            "<measured>/report.html",
            caption="../report/report.rst",
            category="The report",
            labels={"result": "What was found"},
        ),
        bundle="<measured>/report.zip",
    log:
        "<logs>/make_report.log",
    benchmark:
        "<benchmarks>/make_report.jsonl"
    conda:
        "../envs/deadpixel.yaml"
    resources:
        **cost("make_report", Rate(20)),
    params:
        code=fingerprint("make_report"),
    message:
        "Write the report"
    script:
        "../scripts/make_report.py"

# The dead pixel survey: how unevenly networks see, by their structure alone, without weights or images.
SURVEY = config["survey"]
EXPERIMENTS["survey"] = {"settings": SURVEY, "kernels": SURVEY["kernels"]}
EACH = SURVEY["networks_per_job"]
NETWORKS = SURVEY["networks"] + timm_architectures(SURVEY["timm"], SURVEY["size"])
SURVEYED = {
    str(number): NETWORKS[start : start + EACH]
    for number, start in enumerate(range(0, len(NETWORKS), EACH))
}
SURVEY_ROWS, SURVEY_TILES = (
    f"<results>/survey/chunk={{chunk}}/{name}.parquet" for name in ("survey", "tiles")
)


rule survey_networks:
    input:
        source=lambda w: [
            file
            for file in map(own_file, [{"source": s} for s in SURVEYED[w.chunk]])
            if file
        ],
    output:
        rows=SURVEY_ROWS,
        tiles=SURVEY_TILES,
    log:
        "<logs>/survey_networks/{chunk}.log",
    benchmark:
        "<benchmarks>/survey_networks/{chunk}.jsonl"
    wildcard_constraints:
        chunk=r"\d+",
    conda:
        "../envs/deadpixel.yaml"
    resources:
        **cost("survey_networks", Rate(6, 5), work=lambda w: len(SURVEYED[w.chunk])),
    params:
        code=fingerprint("survey_networks"),
        networks=lambda w: SURVEYED[w.chunk],
        kernels={kind: config["kernels"][kind] for kind in SURVEY["kernels"]},
        size=SURVEY["size"],
    message:
        "Survey {params.networks}"
    script:
        "../scripts/survey_networks.py"


rule make_survey:
    input:
        rows=expand(SURVEY_ROWS, chunk=SURVEYED),
        tiles=expand(SURVEY_TILES, chunk=SURVEYED),
    output:
        table="<results>/tables/survey.parquet",
        markdown="<results>/tables/survey.md",
        html=report(
            "<results>/tables/survey.html",
            caption="../report/survey.rst",
            category="Survey",
            labels={"result": "How unevenly each network sees"},
        ),
        png=report(
            "<results>/figures/survey.png",
            caption="../report/survey_figure.rst",
            category="Survey",
            labels={"result": "Networks by their contrast"},
        ),
        vector=multiext("<results>/figures/survey", ".svg", ".pdf"),
        tiles=directory("<results>/figures/survey_tiles"),
    log:
        "<logs>/make_survey.log",
    benchmark:
        "<benchmarks>/make_survey.jsonl"
    conda:
        "../envs/deadpixel.yaml"
    resources:
        **cost("make_survey"),
    params:
        code=fingerprint("make_survey"),
        size=SURVEY["size"],
    message:
        "Rank the networks of the survey"
    script:
        "../scripts/make_survey.py"


rule survey:
    input:
        (
            [
                "<results>/tables/survey.parquet",
                "<results>/figures/survey.png",
                "<results>/figures/survey_tiles",
            ]
            if SURVEYED
            else []
        ),
    localrule: True
    message:
        "All of the survey is there"

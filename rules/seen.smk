# Where the micro-object is seen, and what explains it: of any list of its runs, one network at a time.


rule make_seen:
    input:
        seen=lambda w: runs_of(MICROOBJECT_SEEN, micro_runs(w)),
        starts=lambda w: runs_of(STARTS, micro_runs(w)),
        trf=lambda w: runs_of(TRF, micro_runs(w)),
    output:
        shares=SHARES,
        shares_markdown=f"<results>/tables/seen/{SEEN_OF}/shares.md",
        explained=EXPLAINED,
        explained_markdown=f"<results>/tables/seen/{SEEN_OF}/explained.md",
        explained_html=report(
            f"<results>/tables/seen/{SEEN_OF}/explained.html",
            caption="../report/explained.rst",
            category="Micro-object",
            labels={"result": "What explains where it is seen: {model}, {experiment}"},
        ),
        runs=EXPLAINED_EACH,
        runs_markdown=f"<results>/tables/seen/{SEEN_OF}/explained_runs.md",
        png=report(
            SEEN_FIGURE,
            caption="../report/seen.rst",
            category="Micro-object",
            labels={"result": "Where it is seen: {model}, {experiment}"},
        ),
        vector=multiext(f"<results>/figures/seen/{SEEN_OF}", ".svg", ".pdf"),
    log:
        "<logs>/make_seen/{experiment}+{model}.log",
    benchmark:
        "<benchmarks>/make_seen/{experiment}+{model}.jsonl"
    conda:
        "../envs/deadpixel.yaml"
    resources:
        **cost("make_seen", Rate(30)),
    params:
        code=fingerprint("make_seen"),
        threshold=config["microobject"]["threshold"],
        size=config["microobject"]["size"],
    message:
        "Tabulate and draw where {wildcards.model} sees the square"
    script:
        "../scripts/make_seen.py"

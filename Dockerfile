# The workflow with all that it needs, at the versions and hashes of the lock; docs/reuse.md says how to run it.
FROM python:3.12-slim-bookworm

RUN apt-get update \
    && apt-get install --yes --no-install-recommends make \
    && rm -rf /var/lib/apt/lists/*

WORKDIR /opt/dead-pixel-test
COPY Makefile requirements.lock ./
# Compiled now, as who runs it may not write here.
RUN PIP_NO_CACHE_DIR=1 UV_NO_CACHE=1 UV_COMPILE_BYTECODE=1 make .venv/installed

COPY Snakefile config.yaml config.causes.yaml config.probes.yaml config.survey.yaml config.survey.timm.yaml ./
COPY data data
COPY envs envs
COPY profiles profiles
COPY report report
COPY rules rules
COPY schemas schemas
COPY scripts scripts
RUN .venv/bin/python -m compileall -q scripts

# Of whoever runs it, who has no home in here and no name, which Snakemake asks for.
ENV HOME=/tmp USER=user
WORKDIR /work
ENTRYPOINT ["/opt/dead-pixel-test/.venv/bin/snakemake", "--snakefile", "/opt/dead-pixel-test/Snakefile"]

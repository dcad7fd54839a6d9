"""What follows from dead pixels: a table of each probe, and the figure of all."""

from deadpixel.files import parquet, schemas
from deadpixel.operations import job
from deadpixel.results import arms, render, style
from deadpixel.results.probes import (
    attacks,
    figure,
    linear,
    picture,
    places,
    saliency,
    shifts,
)

job.begin(snakemake)
inputs, output = snakemake.input, snakemake.output
rows = {
    name: parquet.read_partitioned(inputs[name], schema) for name, schema in schemas.PROBES.items()
}
tables = {
    "linear": (linear.explained(rows["logits"]), linear.LINEAR),
    "places": (places.answers(rows["places"]), places.PLACES),
    "shifts": (shifts.bearing(rows["shifts"]), shifts.SHIFTS),
    "confidence": (shifts.at_equal_confidence(rows["shifts"]), shifts.AT_CONFIDENCE),
    "spectrum": (shifts.periods(rows["shifts"]), shifts.SPECTRUM),
    "attacks": (attacks.compared(rows["attacks"]), attacks.ATTACKS),
    "saliency": (saliency.compared(rows["saliency"], rows["contrasts"]), saliency.SALIENCY),
}
trf = parquet.read_all(inputs.trf, schemas.TRF)
facts = parquet.provenance(settings=snakemake.params.settings)
for name, (frame, table) in tables.items():
    paths = [output[f"{name}{ending}"] for ending in ("", "_markdown", "_html")]
    render.save(frame, table, facts, paths, shown=arms.labelled(frame, trf))
drawn = figure.figure({name: frame for name, (frame, _) in tables.items()})
style.save(drawn, [output.png, *output.vector])
style.save(picture.pictures(rows["picture"]), [output.picture, *output.picture_vector])

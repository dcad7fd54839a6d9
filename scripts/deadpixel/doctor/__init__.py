"""What on a machine stands in the way of a run, and what to do about it."""

"""The page that a run is read by: what was found, its tables and figures, every map."""

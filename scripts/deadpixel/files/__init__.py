"""What jobs hand on and keep: columns, Parquet, atomic writes, unfinished work, maps."""

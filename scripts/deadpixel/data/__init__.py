"""From archives and folders to the batches that networks are given."""

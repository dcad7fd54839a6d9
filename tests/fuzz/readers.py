"""All that reads what users, networks and killed jobs leave: a name, and the cases to read."""

from fuzz import readers_configurations, readers_data, readers_files, readers_networks

READERS = {
    "cub": readers_data.cub,
    "archives": readers_data.read_archives,
    "images": readers_data.images,
    "folders": readers_data.folders,
    "retrieval": readers_data.retrieval,
    "parquet": readers_files.parquet,
    "packs": readers_files.packs,
    "checkpoints": readers_files.checkpoints,
    "scratch": readers_files.scratch,
    "networks": readers_networks.networks,
    "records": readers_files.records,
    "configurations": readers_configurations.configurations,
}

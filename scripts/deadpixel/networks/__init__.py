"""Anybody's networks: where they come from, their checkpoints, and what runs them."""

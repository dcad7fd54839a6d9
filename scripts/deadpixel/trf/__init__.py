"""The exact machine behind `receptive_field`: tracing a network, and the rule of each operation."""

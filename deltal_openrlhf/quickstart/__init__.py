"""A small but real experiment: a tiny model learns countdown through the whole pipeline, on a CPU in minutes, or on one GPU."""

"""Files that a run writes: config, lock, checkpoints, logs, grids and scores."""

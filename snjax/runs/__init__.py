"""What a run leaves on disk: config, lock, checkpoints, logs, grids, scores."""

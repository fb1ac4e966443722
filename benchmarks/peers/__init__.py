"""Other implementations of the same training step, to run beside ours. PyTorch is needed here alone."""

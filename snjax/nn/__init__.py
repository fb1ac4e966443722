"""The parts of networks: layers, convolution forms, norms, weight norm, attention, blocks."""

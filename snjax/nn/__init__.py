"""Layers that the networks are built from: convolution forms, normalisers, weight norm, attention, blocks."""

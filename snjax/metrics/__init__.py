"""Scores of generated images: NumPy float64 on features, each with the protocol it was taken by."""

"""Sweeps, i.e. many runs of `launch.py`: definition, runs, their state, and engines to start them.

Nothing here imports JAX, so the process that supervises a sweep holds no device.
"""

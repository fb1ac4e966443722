"""Definitions of sweeps."""

from pathlib import Path


def write_sweep(folder: Path, body: str) -> str:
    """Writes a definition of which `body` is the body; returns the flag that names it."""
    path = folder / 'definition.py'
    path.write_text(f'def get_sweep(h, *argument):\n    {body}\n')
    return f'--sweep={path}'

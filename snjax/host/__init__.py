"""This machine and this process, seen without JAX: cores, memory, GPUs, and the parent process that watches a run."""

from snjax.host.machine import memory, num_cores

__all__ = ['memory', 'num_cores']

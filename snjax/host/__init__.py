"""Facts about this machine and process, without JAX: cores, memory, GPUs, folders, locks, exit codes."""

from snjax.host.machine import memory, num_cores

__all__ = ['memory', 'num_cores']

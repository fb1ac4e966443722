"""Facts about this machine and process, without JAX, e.g. cores, memory, GPUs and folders."""

from snjax.host.machine import memory, num_cores

__all__ = ['memory', 'num_cores']

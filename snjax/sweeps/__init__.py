"""Many runs of `launch.py`: what is run (`definition`, `runs`), where (`slots`, `local`), and how it stands (`board`).

Nothing here imports JAX: the process that watches a sweep holds no device.
"""

"""What `launch.py --mode=...` does, a file a mode."""

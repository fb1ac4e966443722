"""One module per --mode of launch.py."""

"""The keys of configs: which there are, which touch the arithmetic, and which values they may have."""

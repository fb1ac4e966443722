"""The keys of configs, the values that they accept, and which keys change what is computed."""

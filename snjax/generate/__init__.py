"""A finished run as a generator: loading, GLO's table, fakes, inversion, nearest neighbours."""

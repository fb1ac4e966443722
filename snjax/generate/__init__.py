"""A finished run as a generator: loading, GLO's table, inversion, measurements, nearest neighbours."""

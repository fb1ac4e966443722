"""Latent vectors: draws, paths between them, and GLO's starts and priors."""

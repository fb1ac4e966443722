"""Latent vectors: how they are drawn, their priors and starts (GLO), and paths between them."""

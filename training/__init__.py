"""Builds the embedded model from scratch: concepts → data → autoencoder → diffusion → evaluate, one command each."""

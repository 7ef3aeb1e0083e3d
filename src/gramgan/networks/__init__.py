"""Generator, discriminator, perceptual trunks, and the one function that builds a generator from weights."""

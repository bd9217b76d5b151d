"""The synthetic sample: planted emotions in real `.csd` files."""

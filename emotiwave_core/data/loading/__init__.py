"""Batches from a store (`batch`) on their way to a device (`loader`)."""

"""Batches from a store, on their way to a device."""

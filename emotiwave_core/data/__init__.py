"""The data room: `.csd` files in, batches out."""

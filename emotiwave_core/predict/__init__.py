"""A trained run, opened and asked."""

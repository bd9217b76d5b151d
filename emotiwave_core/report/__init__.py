"""The report of a run: a page and figures for people to read."""

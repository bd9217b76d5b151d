"""Input and output below everything else: atomic files, untrusted files, hashing and reading ahead in a thread."""

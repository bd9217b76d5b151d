"""Guards around the code of plugins: what it may change, print and return, and that it does not end the program."""

"""The folder of a run: one module for each file, its schema, its writer and its reader."""

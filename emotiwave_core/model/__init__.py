"""The model that a recipe assembles, and what it learns from."""

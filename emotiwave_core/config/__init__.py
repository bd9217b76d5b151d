"""Recipes and their settings, read strictly from TOML and flags."""

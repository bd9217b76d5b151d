"""Recipes side by side: every recipe, seed and fold is a run, and their differences are tested in pairs."""

"""Explanations in numbers that add up: coalition values, exact Shapley values, and occlusion over time."""

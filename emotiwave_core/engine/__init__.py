"""The engine: trains, scores and keeps models."""

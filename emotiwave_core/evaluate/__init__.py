"""Scores of a trained run: metrics, baselines, intervals, calibration, robustness under corruptions."""

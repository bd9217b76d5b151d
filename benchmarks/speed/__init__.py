"""Speed of Emotiwave, as ratios to named baselines measured in the same run. `make bench` runs all of it."""

"""What a prediction is made of, in numbers that add up: the games of modalities, and their exact Shapley values."""

"""Building blocks for encoders and fusions: masked sequences, pooling, recurrence, attention."""

"""File formats that features and labels are read from."""

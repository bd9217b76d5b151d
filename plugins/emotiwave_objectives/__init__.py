"""Emotiwave's own objectives beside those of each kind, one file each."""

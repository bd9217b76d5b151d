"""Emotiwave's own augmentations, one file each."""

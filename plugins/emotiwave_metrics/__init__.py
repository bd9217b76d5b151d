"""Emotiwave's own metrics beside those that every run has, one file each."""

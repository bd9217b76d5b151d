"""Watchers that ship with Emotiwave: one file each."""

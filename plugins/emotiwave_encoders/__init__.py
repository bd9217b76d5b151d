"""Encoders that ship with Emotiwave: one file each."""

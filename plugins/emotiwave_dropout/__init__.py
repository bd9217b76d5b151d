"""Dropout policies that ship with Emotiwave: one file each."""

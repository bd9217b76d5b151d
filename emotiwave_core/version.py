"""The version of Emotiwave."""

__version__ = "0.1.0"

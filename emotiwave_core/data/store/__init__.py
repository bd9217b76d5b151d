"""A data set cut into samples and packed once, read by memory map."""

"""A data set cut into samples and packed once: the folder (`store`), its arrays file, and the words of a sample."""

"""From the files of a data set to samples: labels, segments, alignment, packing; and the key of what they yield."""

"""From recordings to features: media decoded in a process of their own, extractors, and the data set they make."""

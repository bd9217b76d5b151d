"""The synthetic sample, in real `.csd` files.

`planted` draws what is said when and knows the best score that it allows, `streams` draws the features that show it,
and `sample` writes the data set.
"""

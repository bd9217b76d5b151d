"""Data sets: files in, batches out, in one direction.

`formats` reads and writes files, `prepare` cuts them into samples, `store` keeps the samples packed, `loading` makes
batches of them; `synthetic` writes the sample data set. A data set's folder is read by `dataset`, its split by `folds`;
`corpus` is all of it together, as training and scoring read it, and `inspect` tells what is in a folder.
"""

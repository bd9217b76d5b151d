"""File formats that features, words and labels are read from: one file for each.

`csd` reads computational sequences of the CMU-MultimodalSDK and `csd_writer` writes them; `csd_metadata`, `hdf5` and
`hdf5_chunks` are how their HDF5 is read without trust.
"""

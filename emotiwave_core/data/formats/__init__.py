"""File formats that features, words and labels are read from.

A new format is one new file here: a subclass of `reader.Reader` with its suffix, found by itself. `csd` reads
computational sequences of the CMU-MultimodalSDK and `csd_writer` writes them; `csd_metadata`, `hdf5` and `hdf5_chunks`
are how their HDF5 is read without trust.
"""

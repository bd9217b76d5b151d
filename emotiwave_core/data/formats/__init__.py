"""File formats that features, words and labels are read from.

A new format is one new file here: a subclass of `Reader` with its suffixes, found by itself. `csd` reads computational
sequences of the CMU-MultimodalSDK and `csd_writer` writes them; `csd_metadata`, `hdf5` and `hdf5_chunks` are how their
HDF5 is read without trust. `pickled` reads data sets in one pickle, whose layout `pickle_content` knows and whose
opcodes `pickle_files`; `numpy_arrays` reads arrays by id.
"""

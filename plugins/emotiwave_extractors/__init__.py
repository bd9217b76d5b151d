"""The extractors that come with Emotiwave, one file each."""

"""Export of a trained run: the whole model as one file that other programs run without Emotiwave."""

"""The shipped objectives, one file each."""

"""`python -m emotiwave_core.cli`."""

from emotiwave_core.cli import main

main()

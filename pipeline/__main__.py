"""`python -m pipeline` is `tidewatch`."""

from pipeline.cli import main

main()

"""One file per verb of the command line; each has `register(app)`. pipeline/cli.py lists them."""

"""Dead letters sent again: read from their topic in order, mended or as they are, back to the stream's input topic."""

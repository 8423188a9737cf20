"""A file that grows, scored row by row as its lines come."""

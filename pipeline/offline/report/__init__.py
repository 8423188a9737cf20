"""A report as one HTML file with pictures to zoom into: nothing is loaded from anywhere, and nothing but the page's own code runs.

`page` writes it; `scored` makes it of what was scored, `looked` of what `tidewatch look` found. uPlot draws (`pipeline.pictures`).
"""

"""Arrays in, scores out. Importing it sets how MKL sums (`detectors.numerics`), which must be done before torch is loaded."""

from detectors import numerics

numerics.hold()

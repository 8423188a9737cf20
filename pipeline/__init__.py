"""The stream: from records to alerts."""

import detectors  # noqa: F401  # before any module here loads torch: it sets how MKL sums

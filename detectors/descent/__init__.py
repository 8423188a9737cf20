"""Training of what scores by a program (`detectors.programs`), on the CPU and without torch: the same steps, walked back."""

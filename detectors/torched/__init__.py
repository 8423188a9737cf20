"""What needs torch: networks and their training, and a pass that is no program of compiled steps (`detectors.programs`).

torch takes two seconds and 200 MB to load. So whoever only scores by programs on the CPU never does: the detectors of the default know their networks by name
and shape of the weights, and bring what is here when they are fitted, or when they score on a GPU.
"""

from __future__ import annotations

import torch

from detectors import numerics

if (_threads := numerics.wanted_threads()) is not None:
    torch.set_num_threads(_threads)

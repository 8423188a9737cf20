"""Clusters of an autoencoder's inner code: what falls into a small cluster, or far from every large one, is anomalous.

He, Xu, Deng, "Discovering cluster-based local outliers", Pattern Recognition Letters 24 (2003), in the code of a dense
autoencoder (`detectors.autoencoder`). Large clusters are the fewest that together hold `share` of the windows; a small one is never a
measure of what is normal, whoever lies in its middle.

    x ── 32 ── 8 ── 32 ── x        trained as the autoencoder is
             │ code, and how badly x is rebuilt from it: each in units of its own spread
             ▼
          k-means ── large clusters ── distance to the nearest, in units of how far its own windows lie from it

Departure: the logarithm of the reconstruction error is one more coordinate (as in DAGMM: Zong et al., ICLR 2018), because an encoder may give what it
never saw the code of something normal; `error=false` leaves it out.

Examples
--------
>>> import numpy as np
>>> from detectors.code_clusters import CodeClusters, CodeClustersConfig
>>> rng = np.random.default_rng(0)
>>> rows = rng.normal(size=(400, 1, 2)) @ rng.normal(size=(2, 6))
>>> detector = CodeClusters(CodeClustersConfig(channels=6, layers=(4, 2, 4), clusters=4))
>>> report = detector.fit(rows)
>>> odd = np.concatenate([rows[:1], rng.normal(size=(1, 1, 6)) * 3.0])
>>> raw = detector.score(odd).raw
>>> bool(raw[1] > raw[0])
True
"""

from __future__ import annotations

from collections.abc import Callable
from types import MappingProxyType
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor, nn

from detectors.autoencoder import Autoencoder, AutoencoderConfig
from detectors.base import Progress, TrainingReport
from detectors.kmeans import KMeans, KMeansConfig
from detectors.programs import Program, Weights

_PART = 1024
"""Windows encoded at a time after training."""
_LEAST_ERROR = 1e-6
"""A smaller reconstruction error is none."""


class CodeClustersConfig(AutoencoderConfig):
    """Settings of the clustered code."""

    clusters: int = Field(8, ge=1, le=4096)
    """k; fewer where there are fewer windows."""
    share: float = Field(0.9, gt=0, le=1)
    """Share of the windows that the large clusters hold; the others are small."""
    error: bool = True
    """Whether the reconstruction error is clustered beside the code."""


class _Clustered(nn.Module):
    """The autoencoder's network, and what was learnt of its codes; clusters that are small or not there lie at infinity."""

    def __init__(self, network: Any, places: int, clusters: int) -> None:
        super().__init__()
        self.encoder, self.decoder = network.encoder, network.decoder
        self.register_buffer("middle", torch.zeros(places))
        self.register_buffer("spread", torch.ones(places))
        self.register_buffer("centres", torch.full((clusters, places), torch.inf))
        self.register_buffer("radii", torch.ones(clusters))

    def forward(self, seen: Tensor) -> Tensor:
        return self.decoder(self.encoder(seen))  # type: ignore[no-any-return]


class CodeClusters(Autoencoder):
    """Scores by the distance of a window's code to the nearest large cluster, in units of that cluster's radius."""

    name = "code-clusters"
    summary = "clusters of an autoencoder's code: distance of windows or rows to the nearest large one"
    Config = CodeClustersConfig
    config: CodeClustersConfig
    tile = 512
    unit_test_params = MappingProxyType(
        {"channels": 5, "layers": (4, 2, 4), "clusters": 4, "training": {"epochs": 15, "learning_rate": 0.01}}
    )

    @property
    def places(self) -> int:
        """Coordinates that are clustered."""
        return self.config.layers[len(self.config.layers) // 2] + self.config.error

    def _shapes(self) -> None:
        return None

    def _program(self, program: Program, weights: Weights) -> None:
        """None: what is judged is the code, not what is rebuilt of it."""
        return

    def _build(self) -> nn.Module:
        return _Clustered(super()._build(), self.places, self.config.clusters)

    def _fit(
        self,
        x: NDArray[np.float32],
        y: NDArray[np.int8] | None,
        validation: NDArray[np.float32] | None,
        on_progress: Callable[[Progress], None] | None,
    ) -> TrainingReport:
        report = super()._fit(x, y, validation, on_progress)
        network: Any = self.network
        with torch.inference_mode():
            parts = [torch.from_numpy(x[at : at + _PART]).to(self.device) for at in range(0, len(x), _PART)]
            found = torch.cat([self._placed(network, part) for part in parts]).cpu().numpy().astype(np.float64)
        middle, spread = np.median(found, axis=0), np.maximum(found.std(axis=0), 1e-6)
        centres, radii = large_clusters((found - middle) / spread, self.config)
        for name, learnt in (("middle", middle), ("spread", spread), ("centres", centres), ("radii", radii)):
            getattr(network, name).copy_(torch.from_numpy(learnt))
        return report

    def _placed(self, network: Any, x: Tensor) -> Tensor:
        """Codes of windows, and the logarithm of their reconstruction errors: (B, places)."""
        values, seen = self.flat(x)
        code: Tensor = network.encoder(seen)
        if not self.config.error:
            return code
        off = self.by_channel((self.output(network.decoder(code)) - values).square())[0]
        return torch.cat([code, off.clamp_min(_LEAST_ERROR).log()[:, None]], dim=1)

    def _judge(self, network: Any, x: Tensor) -> tuple[Tensor, Tensor | None, Tensor | None]:
        at = (self._placed(network, x) - network.middle) / network.spread
        far = (at[:, None, :] - network.centres).square().mean(dim=2).sqrt()  # (B, K)
        return (far / network.radii).amin(dim=1), None, None


def large_clusters(
    codes: NDArray[np.float64], config: CodeClustersConfig
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Centres (k, places) of the large clusters of codes (N, places), infinity for the others, and their radii (k,)."""
    method = KMeans(KMeansConfig(channels=codes.shape[1], clusters=config.clusters, seed=config.seed))
    method.fit(codes[:, None, :])
    found = method.arrays()["centres"]
    far = np.sqrt(np.square(codes[:, None, :] - found).mean(axis=2))  # (N, K)
    nearest = far.argmin(axis=1)
    sizes = np.bincount(nearest, minlength=len(found))
    order = np.argsort(-sizes, kind="stable")
    large = order[: int(np.searchsorted(np.cumsum(sizes[order]), config.share * len(codes))) + 1]
    centres = np.full((config.clusters, codes.shape[1]), np.inf)
    radii = np.ones(config.clusters)
    for k in large:
        centres[k] = found[k]
        # The median: what lies far out in a cluster does not make it wide.
        radii[k] = max(float(np.median(far[nearest == k, k])), 0.05)
    return centres, radii

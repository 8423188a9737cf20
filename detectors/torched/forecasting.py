"""Networks of the forecasters: an encoder of the context, and the steps around it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from detectors.torched.convolution import ResidualBlock, every_second

if TYPE_CHECKING:
    from detectors.forecaster import ForecasterConfig


class ForecastNetwork(nn.Module):
    """An encoder of the context between two fixed steps: centre on the context's mean, add it to the forecast again.

    Centred, the network learns shapes instead of levels, and a series whose level has moved is still forecast. The
    forecast starts from the last value: the network learns the change.
    """

    def __init__(self, encoder: nn.Module, hidden: int, config: ForecasterConfig) -> None:
        super().__init__()
        self.encoder = encoder
        self.channels, self.horizon, self.patch = config.channels, config.horizon, config.patch
        self.head = nn.Linear(hidden + self.horizon * config.covariates, self.horizon * config.channels)
        self.limit, self.centred = config.limit, config.centred

    def forward(self, x: Tensor) -> Tensor:
        """Forecast (B, H, C) the last positions of windows x (B, T, C + F) from those before them."""
        H, C = self.horizon, self.channels
        values = x[:, :-H, :C]  # (B, T-H, C)
        known = x[:, 1:, C:]  # (B, T-1, F)
        centre = values.mean(dim=1, keepdim=True) if self.centred else values.new_zeros(())  # (B, 1, C)
        shape = (values - centre).clamp(-self.limit, self.limit)
        state = self.encoder(self._steps(shape, known[:, : values.shape[1]]))  # (B, hidden)
        head = self.head(torch.cat([state, known[:, -H:].flatten(1)], dim=1)).view(-1, H, C)
        return centre + shape[:, -1:] + head if self.centred else head  # type: ignore[no-any-return]

    def _steps(self, shape: Tensor, known: Tensor) -> Tensor:
        """What the encoder takes (B, (T-H) // P, P * C + F) of a context (B, T-H, C) and what is known ahead (B, T-H, F)."""
        P = self.patch
        left = shape.shape[1] % P
        return torch.cat(
            [shape[:, left:].reshape(len(shape), -1, P * self.channels), known[:, left + P - 1 :: P]], dim=2
        )


class LSTMEncoder(nn.Module):
    """What an LSTM remembers behind the last step."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.lstm = nn.LSTM(width, hidden, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        """From (B, steps, W) to (B, H)."""
        states, _ = self.lstm(x)  # (B, T-1, H)
        return states[:, -1]  # type: ignore[no-any-return]


class TCNEncoder(nn.Module):
    """Residual blocks with dilations 1, 2, 4 ... over a sequence (T, B, W); what the last position says, (B, H)."""

    def __init__(self, width: int, hidden: int, blocks: int, kernel: int) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(ResidualBlock(hidden if i else width, hidden, kernel) for i in range(blocks))

    def forward(self, x: Tensor) -> Tensor:
        """From (T, B, W), contiguous, to (B, H)."""
        y = x
        for i, block in enumerate(self.blocks):
            # Training computes all: the last bits of gradients depend on how many positions there are.
            y = block(every_second(y) if i else y) if self.training else block(y, halved=True)
        return y[-1]  # (B, H)


class TimeFirst(nn.Module):
    """The same of windows (B, T, W)."""

    def __init__(self, encoder: TCNEncoder) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, x: Tensor) -> Tensor:
        """From (B, T, W) to (B, H)."""
        return self.encoder(x.transpose(0, 1).contiguous())  # type: ignore[no-any-return]

"""What every table of the settings is: fixed, without unknown names, and without what was given in its errors."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Table(BaseModel):
    """See the module."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

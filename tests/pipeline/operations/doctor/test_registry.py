"""The doctor asks the schema registry, where one is set."""

from __future__ import annotations

from registry_stand_in import stand_in

from pipeline.operations.doctor.examine import _registry
from pipeline.operations.doctor.findings import Finding
from pipeline.settings import RegistrySettings, Settings


def test_it_answers_or_what_it_answers_is_told() -> None:
    assert list(_registry(Settings())) == []
    with stand_in() as server:
        settings = Settings(registry=RegistrySettings(url=server.url))
        name = server.url.removesuffix("/sr")
        assert list(_registry(settings)) == [Finding("schema registry", "ok", f"{name} answers")]
        server.answers["schemas/ids/1"] = (503, "text/plain", b"")
        (found,) = _registry(settings)
    assert (found.state, found.detail) == ("failed", f"the schema registry at {name} cannot be asked: it answers 503")

"""The command line: errors are one line with the mend, help is quick and complete."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from pydantic import ValidationError

from pipeline.cli import COMMANDS, create_cli, one_line
from pipeline.errors import BrokerError
from pipeline.settings import Settings


def tidewatch(*arguments: str, cwd: Path | None = None, **environment: str) -> subprocess.CompletedProcess[str]:
    import os

    project = str(Path(__file__).parents[2])
    return subprocess.run(
        [sys.executable, "-m", "pipeline", *arguments],
        cwd=cwd,
        env=os.environ | {"PYTHONPATH": project, "COLUMNS": "200"} | environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_help_names_every_verb_and_loads_no_heavy_library() -> None:
    code = (
        "import sys; from pipeline.cli import create_cli\n"
        "try: create_cli()(['--help'])\n"
        "except SystemExit: pass\n"
        "heavy = {'torch', 'numpy', 'pydantic', 'faust', 'sklearn', 'matplotlib', 'pandas', 'confluent_kafka', 'aiokafka', 'redis'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    for command in create_cli().registered_commands:
        assert (command.name or "") in done.stdout


def test_a_worker_loads_nothing_of_an_intake_that_it_may_not_have() -> None:
    code = (
        "import sys, pipeline.app\n"
        "more = {'pipeline.intake.run', 'pipeline.intake.hosting'} & set(sys.modules)\n"
        "assert not more, more"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr


def test_every_module_of_commands_is_listed() -> None:
    files = {p.stem for p in (Path(__file__).parents[2] / "pipeline/commands").glob("*.py")} - {"__init__"}
    assert files <= set(COMMANDS)


def test_an_error_is_one_line_without_white_space_runs() -> None:
    assert one_line(BrokerError("cannot reach\n   127.0.0.1:1; is it up?")) == "cannot reach 127.0.0.1:1; is it up?"


def test_a_wrong_setting_is_named_with_its_variable() -> None:
    with pytest.raises(ValidationError) as caught:
        Settings(kafka={"replication": 0})
    line = one_line(caught.value)
    assert "kafka.replication" in line
    assert "TIDEWATCH_KAFKA__REPLICATION" in line
    assert "\n" not in line


def test_an_unknown_verb_exits_with_2_and_no_traceback() -> None:
    done = tidewatch("surf")
    assert done.returncode == 2
    assert "surf" in done.stderr
    assert "Traceback" not in done.stderr

"""What comes to mind first, tried on every verb: nothing shows a traceback, nothing that is wrong ends with exit code 0."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.main import get_command

from pipeline.cli import create_cli, main
from pipeline.embedded.process import free_port

PROJECT = Path(__file__).parents[3]


def commands(group: object = None, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], object]]:
    """Every command with the words that call it."""
    group = group or get_command(create_cli())
    yield path, group
    for name, command in getattr(group, "commands", {}).items():
        yield from commands(command, (*path, name))


VERBS = dict(commands())

ASKING = """
import sys
import pipeline.kafka.clients as clients
connect = clients.connect_admin
def told(kafka):
    print("asking", flush=True)
    return connect(kafka)
clients.connect_admin = told
sys.argv[1:] = ["topics", "show"]
from pipeline.cli import main
main()
"""


@pytest.fixture
def tidewatch(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capfd: pytest.CaptureFixture[str]):
    """Runs a command in an empty folder, with no server at any address; returns exit code, stdout, stderr."""
    for name in ("KAFKA__REQUEST_TIMEOUT", "REDIS__TIMEOUT"):
        monkeypatch.setenv(f"TIDEWATCH_{name}", "300ms")
    monkeypatch.setenv("TIDEWATCH_KAFKA__BROKERS", "127.0.0.1:1")
    monkeypatch.setenv("TIDEWATCH_REDIS__URL", "redis://127.0.0.1:1/0")
    monkeypatch.setenv("TIDEWATCH_OFFLINE", "1")
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder").mkdir()
    (tmp_path / "empty").touch()
    (tmp_path / "empty.csv").touch()
    (tmp_path / "head.csv").write_text("a,b\n")
    (tmp_path / "binary").write_bytes(bytes(range(256)))
    (tmp_path / "binary.csv").write_bytes(bytes(range(256)))

    def run(*words: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["tidewatch", *words])
        with pytest.raises(SystemExit) as ended:
            main()
        out, err = capfd.readouterr()
        return int(ended.value.code or 0), out, err

    return run


@pytest.mark.parametrize("path", VERBS, ids=" ".join)
def test_help_says_all_that_was_written(path: tuple[str, ...], tidewatch) -> None:
    code, out, _ = tidewatch(*path, "--help")
    assert code == 0
    shown = "".join(out.split())
    command = VERBS[path]
    texts = [command.help or "", *(p.help or "" for p in command.params if hasattr(p, "help"))]
    for text in texts:
        assert "".join(text.partition("\f")[0].split()) in shown
    assert "``" not in out


def test_what_looks_like_markup_is_shown(tidewatch) -> None:
    assert "the settings of `[kafka]`" in " ".join(tidewatch("topics", "create", "--help")[1].split())
    assert "?, [a-z]." in " ".join(tidewatch("alerts", "--help")[1].split())
    code, _, err = tidewatch("replay", "[red]x[/red]")
    assert code == 2
    assert "[red]x[/red]" in err
    code, _, err = tidewatch("config", "show", "--config", "[/bold]")
    assert code == 2
    assert "[/bold]" in err


def test_the_version_is_told(tidewatch) -> None:
    code, out, _ = tidewatch("--version")
    assert code == 0
    assert re.fullmatch(r"tidewatch \d+\.\d+\.\d+\S*\n", out)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ("detector", "Did you mean 'detectors'"),
        ("alerts --sinc 1h", "--since"),
        ("alerts", "127.0.0.1:1"),
        ("alerts --brokers nonsense", "--brokers: a port is missing, host:port"),
        ("alerts --since yesterday", "90m, 6h or 7d"),
        ("alerts --status open", "open"),
        ("config show --config missing.toml", "missing.toml"),
        ("config show --config folder", "folder"),
        ("config show --config binary", "binary"),
        ("config nope", "nope"),
        ("dashboard", "127.0.0.1:1"),
        ("dashboard --port 99999", "--port"),
        ("demo --speed fast", "fast"),
        ("demo --out empty", "empty"),
        ("demo --workers 0", "--workers"),
        ("detectors lstn", "did you mean lstm?"),
        ("evaluate --out o --data taxy", "did you mean taxi?"),
        ("evaluate taxy --out o", "did you mean taxi?"),
        ("evaluate taxi --out o --data nab", "one set of data: taxi, or --data nab"),
        ("evaluate --out empty --data synthetic-taxi", "empty"),
        ("evaluate --out o --data synthetic-taxi --detector lstn", "did you mean lstm?"),
        ("replay taxy", "did you mean taxi?"),
        ("replay csv", "needs a file"),
        ("replay csv missing.csv", "missing.csv"),
        ("replay csv folder", "folder"),
        ("replay csv empty.csv", "empty.csv"),
        ("replay csv head.csv", "head.csv"),
        ("replay csv binary.csv", "binary.csv"),
        ("replay synthetic", "127.0.0.1:1"),
        ("replay synthetic nope", "nope"),
        ("replay synthetic --from yesterday", "yesterday"),
        ("replay synthetic --speed fast", "fast"),
        ("replay synthetic --topic a/b", "127.0.0.1:1"),
        ("replay-dead-letters nope", "nope"),
        ("score missing.csv --out s.csv", "missing.csv"),
        ("score folder --out s.csv", "folder"),
        ("score empty.csv --out s.csv", "empty.csv"),
        ("score head.csv --out s.csv", "head.csv"),
        ("score binary.csv --out s.csv", "binary.csv"),
        ("score head.csv --out folder", "folder"),
        ("score head.csv --out empty/s.csv", "empty"),
        ("score head.csv --out s.csv --detector lstn", "did you mean lstm?"),
        ("servers --folder empty", "empty"),
        ("sink webhook", "TIDEWATCH_SINK_URL"),
        ("sink webhook nope", "the receiver's address cannot be used"),  # which may hold a secret
        ("sink webhook http://127.0.0.1:1", "127.0.0.1:1"),
        ("sink alertmanager nope", "the receiver's address cannot be used"),
        ("state show nope", "127.0.0.1:1"),
        ("state seek nope --to latest", "nope"),
        ("state seek nope --to never", "never"),
        ("state export nope --out x", "127.0.0.1:1"),
        ("state import nope missing", "nope"),
        ("state reset nope --yes", "127.0.0.1:1"),
        ("topics show", "127.0.0.1:1"),
        ("topics create", "127.0.0.1:1"),
        ("train lstn --data synthetic-taxi --out m", "did you mean lstm?"),
        ("train zscore --data taxy --out m", "did you mean taxi?"),
        ("train zscore --data missing.csv --out m", "missing.csv"),
        ("train zscore --data folder/ --out m", "folder"),
        ("train zscore --data empty.csv --out m", "empty.csv"),
        ("train zscore --data synthetic-taxi --out folder", "folder"),
        ("train zscore --data synthetic-taxi --out empty/m", "empty"),
        ("train zscore --data synthetic-taxi --out m --set nope=1", "nope"),
        ("train zscore --data synthetic-taxi --out m --set nope", "nope"),
        ("train zscore --data synthetic-taxi --out m --series nope", "nope"),
        ("train zscore --data synthetic-taxi --out m --calibrator nope", "nope"),
        ("train zscore --data synthetic-taxi --out m --time-feature year", "year"),
        ("train zscore --data synthetic-taxi --out m --device gpu", "gpu"),
        ("train zscore --data kafka:nope --out m", "127.0.0.1:1"),
        ("worker", "no stream is configured"),
        ("worker --config missing.toml", "missing.toml"),
        ("worker --config folder", "folder"),
        ("worker --config binary", "binary"),
        ("doctor --no-canary", "127.0.0.1:1"),
        ("doctor --config missing.toml", "missing.toml"),
    ],
)  # fmt: skip
def test_a_wrong_first_try_is_one_line_and_exit_code_2(words: str, says: str, tidewatch) -> None:
    code, out, err = tidewatch(*words.split())
    assert code == 2, out + err
    assert says in err or (words.startswith("doctor") and says in out)
    assert "Traceback" not in out + err
    errors = [line for line in err.splitlines() if line.lower().startswith("error: ")]
    assert len(errors) == (0 if words == "doctor --no-canary" else 1), err


@pytest.mark.parametrize("path", [p for p, c in VERBS.items() if p and not hasattr(c, "commands")], ids=" ".join)
def test_no_verb_shows_a_traceback_for_a_word_too_many(path: tuple[str, ...], tidewatch) -> None:
    code, out, err = tidewatch(*path, "--nonsense", "x")
    assert code == 2
    assert "Traceback" not in out + err


def test_an_error_of_the_disk_is_one_line(tidewatch, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device", "/data/x")

    monkeypatch.setattr("pipeline.settings.reference.shown", full)
    assert tidewatch("config", "show")[::2] == (2, "error: /data/x: No space left on device\n")


@pytest.mark.parametrize("example", ["send_metrics.py", "read_alerts.py"])
def test_an_example_without_a_broker_says_so_and_fails(example: str, tmp_path: Path) -> None:
    brokers = f"127.0.0.1:{free_port()}"
    arguments = ["--brokers", brokers, "--days", "1"] if example == "send_metrics.py" else ["--once"]
    done = subprocess.run(
        [sys.executable, str(PROJECT / "examples" / example), *arguments],
        env={"PYTHONPATH": str(PROJECT), "TIDEWATCH_KAFKA__BROKERS": brokers, "TIDEWATCH_KAFKA__REQUEST_TIMEOUT": "1s"},
        cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1
    assert brokers in done.stderr


def test_ctrl_c_is_heard_while_a_broker_is_waited_for(tmp_path: Path) -> None:
    """The broker does not answer for a minute; whoever gives up sooner is not held."""
    process = subprocess.Popen(
        [sys.executable, "-c", ASKING],
        env={"PYTHONPATH": str(PROJECT), "TIDEWATCH_KAFKA__BROKERS": "127.0.0.1:1", "TIDEWATCH_KAFKA__REQUEST_TIMEOUT": "60s"},
        cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "asking\n"
        time.sleep(0.5)  # so that it waits within librdkafka; where it does not yet, it is interrupted all the same
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=50)
    finally:
        process.kill()
    assert process.returncode == 130

"""A server that ends with the process that started it, however that one ends.

That is a shell's doing: it hands a pipe from here to a watcher, then becomes the server (`exec`, so the server is our direct
child). When this process dies, SIGKILL included, the pipe closes and the watcher ends the server. (Linux's PR_SET_PDEATHSIG
would fire when the starting *thread* ends, and exists on Linux only.)
"""

from __future__ import annotations

import contextlib
import signal
import socket
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

LOOPBACK = "127.0.0.1"

# `read` fails at the end of the pipe (the parent died) and succeeds on a line (the parent stopped the server itself).
_WATCHED = """
exec 3<&0 </dev/null
( read -r _ <&3 && exit
  kill -TERM $$
  for _ in 1 2 3 4 5 6; do sleep 0.5; kill -0 $$ || exit; done
  kill -KILL $$ ) >/dev/null 2>&1 &
exec 3<&-
exec "$@"
"""


def watched(name: str, command: Sequence[str]) -> list[str]:
    """The command, to be started with a pipe as standard input, so that it ends when the other end of the pipe closes.

    A line written to the pipe calls the watcher off.
    """
    return ["/bin/sh", "-c", _WATCHED, name, *command]


class ServerProcess:
    """A running server that logs to a file.

    Parameters
    ----------
    log
        Appended to; opened as it stands, relative to our own working folder.
    folder
        Its working folder.
    inherited
        File descriptors that it keeps open as long as it lives, such as that of a lock.
    """

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        log: Path,
        *,
        folder: Path | None = None,
        environment: Mapping[str, str] | None = None,
        inherited: Sequence[int] = (),
    ) -> None:
        self.name = name
        self.log = log
        with log.open("ab") as out:
            self._from = out.tell()
            # A session of its own: Ctrl-C at the terminal reaches this process, which then stops the server in order.
            self._process = subprocess.Popen(  # noqa: S603  (fixed programs, no shell text from outside)
                watched(name, command),
                stdin=subprocess.PIPE,
                stdout=out,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                cwd=folder,
                env=environment,
                pass_fds=inherited,
            )

    @property
    def pid(self) -> int:
        """Of the server itself."""
        return self._process.pid

    @property
    def alive(self) -> bool:
        """Whether the process still runs."""
        return self._process.poll() is None

    def signal(self, number: int) -> None:
        """Send it a signal, if it runs."""
        if self.alive:
            self._process.send_signal(number)

    def wait(self, timeout: float | None = None) -> None:
        """Until it has ended. Raises subprocess.TimeoutExpired."""
        self._process.wait(timeout)
        self._release()

    def stop(self, grace: float) -> None:
        """Ask it to stop, kill it where it has not after `grace` s; returns when it is gone. May be called twice."""
        self.signal(signal.SIGTERM)
        try:
            self.wait(grace)
        except subprocess.TimeoutExpired:
            self.kill()

    def kill(self) -> None:
        """SIGKILL, as a power cut; returns when it is gone."""
        self.signal(signal.SIGKILL)
        self.wait()

    def printed(self) -> str:
        """What this process has written to its log."""
        with self.log.open("rb") as file:
            file.seek(self._from)
            return file.read().decode(errors="replace")

    def _release(self) -> None:
        """Tell the watcher that there is nothing left to watch."""
        pipe = self._process.stdin
        if pipe is not None and not pipe.closed:
            with contextlib.suppress(BrokenPipeError):  # the watcher went with the server
                pipe.write(b"stopped\n")
                pipe.close()


def free_port() -> int:
    """A port of the loopback address that nobody listens on; somebody else may take it before it is used."""
    return free_ports(1)[0]


def free_ports(count: int) -> list[int]:
    """As many; all are held at once, so that none comes twice."""
    with contextlib.ExitStack() as held:
        sockets = [held.enter_context(socket.socket()) for _ in range(count)]
        for s in sockets:
            s.bind((LOOPBACK, 0))
        return [int(s.getsockname()[1]) for s in sockets]


def listens(port: int) -> bool:
    """Whether somebody takes connections there."""
    with socket.socket() as probe:
        probe.settimeout(1.0)
        return probe.connect_ex((LOOPBACK, port)) == 0

"""The one-shot `secrets` of docker-compose.yml: what services must show each other, made once, kept where it is there.

    python deploy/compose/make_secrets.py /secrets

    redis/url, redis/users.acl    the worker's address of Redis with its password; Redis's own list of users, with its hash
    metrics/token                 what Prometheus shows to the workers

Each folder is a volume of its own. Files are readable by all: the users in the images differ, and only those containers have the
volume.
"""

from __future__ import annotations

import hashlib
import secrets
import sys
from pathlib import Path

# The rights of docs/security.md: the worker's, and those of `tidewatch state` and `tidewatch doctor`, which run in its container.
RIGHTS = "resetkeys ~tidewatch:* resetchannels -@all +hmget +hkeys +hset +hget +hdel +del +eval +evalsha +scan +info +config|get +time"


def main(folder: Path) -> None:
    """Write what is missing."""
    redis, metrics = folder / "redis", folder / "metrics"
    if not (redis / "url").is_file():
        password = secrets.token_urlsafe(32)
        hashed = hashlib.sha256(password.encode()).hexdigest()
        # Whoever shows no password may ask whether it lives: the health check.
        users = f"user default on nopass resetkeys resetchannels -@all +ping\nuser tidewatch on #{hashed} {RIGHTS}\n"
        write(redis / "users.acl", users)
        write(redis / "url", f"redis://tidewatch:{password}@redis:6379/0")
    if not (metrics / "token").is_file():
        write(metrics / "token", secrets.token_urlsafe(32))


def write(file: Path, text: str) -> None:
    """All of it or nothing: a start that was cut short must not leave half a secret behind."""
    unfinished = file.with_name(f".{file.name}.unfinished")
    unfinished.write_text(text)
    unfinished.chmod(0o644)
    unfinished.rename(file)


if __name__ == "__main__":
    main(Path(sys.argv[1]))

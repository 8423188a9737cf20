"""Ask for known vulnerabilities of what the lock files pin; `make audit` and CI call it.

pip-audit asks PyPI's or OSV's service. A finding must be decided on in docs/security.md, or this fails. Where no service can be
reached, or it does not know the packages (a mirror that answers for PyPI does not), that is said and does not fail: nobody may
be kept from working by a network, and nobody may take silence for an all-clear.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

PROJECT = Path(__file__).resolve().parent.parent
LOCKS = ("requirements-dev.lock", "requirements-torch.lock")
DECISIONS = PROJECT / "docs" / "security.md"
SERVICES = ("pypi", "osv")
LIMIT_S = 120


def main() -> int:
    """0: nothing undecided is known, or nothing could be learnt; 1: there is something to decide."""
    for service in SERVICES:
        answers = [ask(service, lock) for lock in LOCKS]
        known = [d for answer in answers if answer is not None for d in answer if "skip_reason" not in d]
        asked = sum(len(answer) for answer in answers if answer is not None)
        if not known:
            print(f"audit: {service} was not reachable, or knows none of the packages")
            continue
        print(f"audit: {service} knows {len(known)} of {asked} packages")
        return judge(known, decided(DECISIONS.read_text()))
    print(
        "audit: WARNING: no vulnerability service could be asked, so nothing is known about what the locks pin",
        file=sys.stderr,
    )
    return 0


def ask(service: str, lock: str) -> list[dict[str, Any]] | None:
    """What a service says of the packages of a lock file; None where it said nothing that can be read."""
    command = [sys.executable, "-m", "pip_audit", "-r", lock, "--disable-pip", "--require-hashes", "-s", service]
    command += ["-f", "json", "--progress-spinner", "off", "--timeout", "15"]
    try:
        done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=False, timeout=LIMIT_S)  # noqa: S603
        found: list[dict[str, Any]] = json.loads(done.stdout)["dependencies"]
    except (subprocess.TimeoutExpired, json.JSONDecodeError, KeyError):
        return None
    return found


def judge(known: list[dict[str, Any]], decisions: set[str]) -> int:
    """Tell each finding; 1 where one is not decided on."""
    undecided = 0
    for package in known:
        for finding in package["vulns"]:
            names = {finding["id"], *finding.get("aliases", ())}
            answer = "decided" if names & decisions else "NOT DECIDED"
            undecided += answer != "decided"
            fixed = ", ".join(finding.get("fix_versions") or ()) or "no version"
            print(f"audit: {finding['id']} {package['name']} {package['version']} (fixed in {fixed}): {answer}")
    if undecided:
        print(
            f"audit: {undecided} findings to decide on: upgrade (`make lock`), or say why not in docs/security.md",
            file=sys.stderr,
        )
    return 1 if undecided else 0


def decided(page: str) -> set[str]:
    """The identifiers in the first column of the page's table of findings."""
    table = page.partition("<!-- findings -->")[2].partition("<!-- /findings -->")[0]
    return set(re.findall(r"^\| `?([A-Z]+-[\w-]+)`? \|.*\| *\S.* \|$", table, re.MULTILINE))


if __name__ == "__main__":
    sys.exit(main())

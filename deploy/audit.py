"""Ask for known vulnerabilities of what the lock files pin, and look servers and images up; `make audit` and CI call it.

pip-audit asks PyPI's or OSV's service. A finding must be decided on in docs/security.md, or this fails. Where no service can be
reached, or it does not know the packages (a mirror that answers for PyPI does not), that is said and does not fail: nobody may
be kept from working by a network, and nobody may take silence for an all-clear. Servers and images: `audit_servers.py`.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from audit_servers import judge_servers

PROJECT = Path(__file__).resolve().parent.parent
LOCKS = ("requirements-dev.lock", "requirements-torch.lock")
DECISIONS = PROJECT / "docs" / "security.md"
SERVICES = ("pypi", "osv")
LIMIT_S = 120


def main() -> int:
    """0: nothing undecided is known, or nothing could be learnt; 1: there is something to decide."""
    decisions = decided(DECISIONS.read_text())
    undecided = judge_servers(decisions, datetime.now(UTC).date()) + judge_packages(decisions)
    if undecided:
        print(
            f"audit: {undecided} findings to decide on: upgrade (`make lock`), or say why not in docs/security.md",
            file=sys.stderr,
        )
    return 1 if undecided else 0


def judge_packages(decisions: set[tuple[str, str]]) -> int:
    """Ask until a service knows something of the packages; returns how many findings are not decided on."""
    for service in SERVICES:
        answers = [ask(service, lock) for lock in LOCKS]
        known = [d for answer in answers if answer is not None for d in answer if "skip_reason" not in d]
        asked = sum(len(answer) for answer in answers if answer is not None)
        if not known:
            print(f"audit: {service} was not reachable, or knows none of the packages")
            continue
        print(f"audit: {service} knows {len(known)} of {asked} packages")
        return judge(known, decisions)
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


def judge(known: list[dict[str, Any]], decisions: set[tuple[str, str]]) -> int:
    """Tell each finding; returns how many are not decided on."""
    undecided = 0
    for package in known:
        for finding in package["vulns"]:
            names = {(name, package["name"]) for name in (finding["id"], *finding.get("aliases", ()))}
            answer = "decided" if names & decisions else "NOT DECIDED"
            undecided += answer != "decided"
            fixed = ", ".join(finding.get("fix_versions") or ()) or "no version"
            print(f"audit: {finding['id']} {package['name']} {package['version']} (fixed in {fixed}): {answer}")
    return undecided


def decided(page: str) -> set[tuple[str, str]]:
    """Identifier and package of each row of the page's table of findings that holds a decision."""
    table = page.partition("<!-- findings -->")[2].partition("<!-- /findings -->")[0]
    rows = re.findall(r"^\| (.+) \| (.+?) \| *\S.* \|$", table, re.MULTILINE)
    return {(name, package) for names, package in rows for name in re.findall(r"[A-Z]+-[\w-]+", names)}


if __name__ == "__main__":
    sys.exit(main())

"""How the tests of the image call Docker."""

from __future__ import annotations

import subprocess

STRANGER = "54321:54321"
"""A user whom no password file knows."""
CONFINED = ("--network", "none", "--read-only", "--user", STRANGER)


def docker(*arguments: str) -> str:
    """Run docker; what it printed."""
    done = subprocess.run(["docker", *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"docker {' '.join(arguments)}\n{done.stdout}{done.stderr}"
    return done.stdout

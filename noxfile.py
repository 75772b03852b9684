"""Sessions of work: ``nox -l`` lists them, ``nox -s tests -- tests/encoding`` hands arguments on."""

from __future__ import annotations

import nox

nox.options.default_venv_backend = "uv|virtualenv"
nox.options.reuse_existing_virtualenvs = True
nox.options.sessions = ["lint", "types", "tests"]


def install(session: nox.Session, extra: str) -> None:
    """Install the package with an extra, in the versions that the tests pass with."""
    session.install("-c", "constraints.txt", "-e", f".[{extra}]")


@nox.session
def tests(session: nox.Session) -> None:
    """Tests, but for those that work on whole images."""
    install(session, "test")
    session.run(
        "pytest", "-m", "not slow", "-n", "2", "--dist", "loadfile", *session.posargs, env={"OMP_NUM_THREADS": "1"}
    )


@nox.session
def slow_tests(session: nox.Session) -> None:
    """Tests from images to scores, minutes long."""
    install(session, "test")
    session.run("pytest", "-m", "slow", *session.posargs, env={"OMP_NUM_THREADS": "1"})


@nox.session
def lint(session: nox.Session) -> None:
    """Style, spelling, import contracts, diagrams."""
    install(session, "test")
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")
    session.run("codespell")
    session.run("lint-imports")
    session.run("python", "tools/paths.py", "--check")


@nox.session
def types(session: nox.Session) -> None:
    """Types."""
    install(session, "test")
    session.run("mypy")


@nox.session
def docs(session: nox.Session) -> None:
    """Pages with warnings as errors, into docs/_build/html."""
    install(session, "docs")
    session.run("python", "-m", "sphinx", "-W", "--keep-going", "docs", "docs/_build/html", *session.posargs)


@nox.session
def benchmarks(session: nox.Session) -> None:
    """Timed benchmarks of encoding; the scripts of benchmarks/ that make pages are run by hand."""
    install(session, "bench")
    session.run("pytest", "benchmarks/bench_encoding.py", *session.posargs)

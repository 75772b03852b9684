"""Sessions of work: ``nox -l`` lists them, ``nox -s tests -- tests/encoding`` hands arguments on."""

from __future__ import annotations

from pathlib import Path

import nox

nox.needs_version = ">=2024.10.9"
nox.options.default_venv_backend = "uv|virtualenv"
nox.options.reuse_existing_virtualenvs = True
nox.options.sessions = ["lint", "types", "tests-3.11"]

PYTHONS = nox.project.python_versions(nox.project.load_toml("pyproject.toml"))
"""Those that the package declares."""

ONE_THREAD = {"OMP_NUM_THREADS": "1"}


def install(session: nox.Session, extra: str) -> None:
    """Install the package with an extra, in the versions that the tests pass with."""
    session.install("-c", "constraints.txt", "-e", f".[{extra}]")


@nox.session(python=PYTHONS)
def tests(session: nox.Session) -> None:
    """Tests, but for those that work on whole images."""
    install(session, "test")
    session.run("pytest", "-m", "not slow", "-n", "2", "--dist", "loadfile", *session.posargs, env=ONE_THREAD)


@nox.session(python=PYTHONS)
def slow_tests(session: nox.Session) -> None:
    """Tests from images to scores, minutes long."""
    install(session, "test")
    session.run("pytest", "-m", "slow", *session.posargs, env=ONE_THREAD)


@nox.session(python=PYTHONS[0], venv_backend="uv")
def lowest(session: nox.Session) -> None:
    """All tests in the lowest versions that the package declares."""
    session.install("--resolution", "lowest-direct", "-e", ".[test]")
    session.run("pytest", "-n", "2", "--dist", "loadfile", *session.posargs, env=ONE_THREAD | {"BAN_BIDS_LOWEST": "1"})


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
def distribution(session: nox.Session) -> None:
    """Build wheel and source distribution, check them, and run the wheel outside of the tree."""
    session.install("-c", "constraints.txt", "build", "twine")
    out = Path(session.create_tmp()) / "dist"
    session.run("python", "-m", "build", "--outdir", str(out))
    archives = [str(max(out.glob(suffix))) for suffix in ("*.whl", "*.tar.gz")]
    session.run("twine", "check", "--strict", *archives)
    session.install("-c", "constraints.txt", archives[0])
    with session.chdir(out):
        for program in ("ban-bids", "ban-bids-train", "ban-bids-demo", "ban-bids-listen"):
            session.run(program, "--version")
        session.run("ban-bids-demo", "demo", "--size", "small", "--force", *session.posargs)


@nox.session
def benchmarks(session: nox.Session) -> None:
    """Timed benchmarks of encoding; the scripts of benchmarks/ that make pages are run by hand."""
    install(session, "bench")
    session.run("pytest", "benchmarks/bench_encoding.py", *session.posargs)

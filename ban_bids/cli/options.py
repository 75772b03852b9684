"""The options of ``ban-bids``: spelled as users of BIDS Apps know them.

Every option may be written with ``-`` or ``_`` (``--participant_label``). Options that are not given are
absent from the parsed namespace, so that those of a configuration file stand.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ban_bids.constants import ATLASES
from ban_bids.errors import UsageError
from ban_bids.settings import ModelRequest

_UNITS = {"": 1.0, "m": 1.0, "k": 1 / 1024, "g": 1024.0, "t": 1024.0**2}


def memory_mb(text: str) -> int:
    """Memory with a unit, or in MB: ``8G``, ``8GB``, ``8GiB``, ``8000MB``, ``8000``.

    Raises
    ------
    argparse.ArgumentTypeError
        Not such a text, or no memory at all.
    """
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([kmgt]?)(?:i?b)?", text.strip().lower())
    value = int(float(match[1]) * _UNITS[match[2]]) if match else 0
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not an amount of memory; write 8G or 8000 (MB)")
    return value


def whole(least: int, most: int | None = None) -> Callable[[str], int]:
    """Parser of a whole number from ``least``, to ``most`` where there is an end."""

    def parse(text: str) -> int:
        value = int(text) if re.fullmatch(r"\+?\d+", text.strip()) else -1
        if value < least or (most is not None and value > most):
            end = "" if most is None else f" to {most}"
            raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from {least}{end}")
        return value

    return parse


def components(text: str) -> int:
    """Whole number from 1; ``all`` is 0."""
    return 0 if text.strip().lower() == "all" else whole(1)(text)


seed = whole(0, 2**32 - 1)
"""What every random generator in use accepts."""


def label(prefix: str) -> Callable[[str], str]:
    """Parser of a BIDS label given with or without its prefix (``sub-``)."""

    def parse(text: str) -> str:
        bare = text.removeprefix(prefix)
        if not re.fullmatch(r"[A-Za-z0-9+]+", bare):
            raise argparse.ArgumentTypeError(f"{text!r} is not a BIDS label (letters and digits)")
        return bare

    return parse


def named_path(text: str) -> tuple[str, Path]:
    """``NAME=PATH``; a path alone is named after its folder."""
    name, equals, place = text.partition("=")
    if not equals or "/" in name:
        name, place = absolute(text).name, text
    if not name or not place:
        raise argparse.ArgumentTypeError(f"{text!r}: write NAME=PATH, e.g. fmriprep=/data/fmriprep")
    return name, absolute(place)


def model_request(text: str) -> ModelRequest:
    """``NAME``, ``NAME=WEIGHTS`` or a prefix and a folder."""
    try:
        return ModelRequest.parse(text)
    except UsageError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def absolute(text: str) -> Path:
    """Absolute path."""
    if not text:
        raise argparse.ArgumentTypeError("empty path")
    return Path(text).expanduser().resolve()


def atlas(text: str) -> str | Path:
    """One of the known atlases, or a label image."""
    if text.lower() in ATLASES:
        return text.lower()
    if not text.endswith((".nii", ".nii.gz")):
        raise argparse.ArgumentTypeError(f"{text!r} is no atlas; choose {', '.join(ATLASES)}, or give NAME_dseg.nii.gz")
    return absolute(text)


def space(text: str) -> tuple[str, str | None]:
    """Output space, with fMRIPrep's modifier where there is one (``MNI152NLin2009cAsym:res-2``)."""
    name, *modifiers = text.split(":")
    res = [item.removeprefix("res-") for item in modifiers if item.startswith("res-")]
    if not name or len(res) != len(modifiers) or len(res) > 1:
        raise argparse.ArgumentTypeError(f"{text!r}: write a template's name, or name:res-2")
    return name, res[0] if res else None


def spelled(arguments: Sequence[str]) -> list[str]:
    """Arguments with the names of long options spelled with dashes."""
    return [re.sub("^--[^=]+", lambda name: name[0].replace("_", "-"), argument) for argument in arguments]


def _labels(prefix: str, dest: str) -> dict[str, Any]:
    return {"nargs": "+", "type": label(prefix), "metavar": "LABEL", "dest": dest}


def _value(kind: Callable[[str], Any], metavar: str) -> dict[str, Any]:
    return {"type": kind, "metavar": metavar}


_YES = {"action": "store_true"}
_FILE, _DIR, _N = _value(absolute, "FILE"), _value(absolute, "DIR"), _value(whole(1), "N")
_NAMED_PATH = {"action": "append", **_value(named_path, "NAME=PATH")}
_RUNS = {"nargs": "+", "metavar": "RUN"}
_STEPS = {"nargs": "+", "choices": ("slicetiming", "fieldmaps"), "metavar": "STEP"}
_ATLASES = f"{ATLASES[0]} (default), {', '.join(ATLASES[1:])}"
_OPTIONS: Mapping[str, Sequence[tuple[str, Mapping[str, Any], str]]] = {
    "which data": (
        ("--participant-label", _labels("sub-", "participant_labels"), "these (default: all)"),
        ("--session-id", _labels("ses-", "session_ids"), "these sessions"),
        ("-t --task-id", _labels("task-", "task_ids"), "these tasks"),
        ("--bids-filter-file", _value(absolute, "JSON"), "pybids filters in fMRIPrep's format"),
        ("-d --derivatives", _NAMED_PATH, "fmriprep=PATH: take fMRIPrep's images instead of making them"),
        ("--bids-database-dir", _DIR, "keep the pybids index there"),
        ("--skip-bids-validation", _YES, "go on without a description"),
        ("--stimuli-dir", _DIR, "where the audio files are"),
        (
            "--rules",
            _FILE,
            "how events become clips (default: the dataset's code/ban-bids.toml, or shipped rules)",
        ),
        ("--behavior", _value(absolute, "TSV"), "human genre choices (default: the dataset's)"),
        ("--test-task", _labels("task-", "test_tasks"), "held-out tasks"),
        ("--test-runs", _RUNS, "held-out runs by index or name; all: each in turn (default: runs that repeat clips)"),
    ),
    "preprocessing": (
        ("--space --output-spaces", {"nargs": "+", **_value(space, "SPACE")}, "output space (one)"),
        ("--res", {"metavar": "RES"}, "output resolution: native (default) or millimetres"),
        ("--atlas", _value(atlas, "NAME|FILE"), f"{_ATLASES}, or a dseg image with a TSV beside it"),
        ("--ignore", _STEPS, "slicetiming: do not correct it; fieldmaps: do not mention them"),
        ("--dummy-scans", _value(whole(0), "N"), "volumes before the steady state (default: detected)"),
        ("--use-syn-sdc", _YES, "reduce distortions by registration to the T1w image"),
        ("--sloppy", _YES, "coarser registration to the template, four times as fast: for trials only"),
        (
            "--confounds",
            {"metavar": "STRATEGY"},
            "motion12 (default: motion, its differences, white matter, CSF) or one of nilearn's strategies: "
            "simple, scrubbing, compcor, ica_aroma",
        ),
    ),
    "model and scores": (
        (
            "--model",
            {"nargs": "+", **_value(model_request, "NAME[=WEIGHTS]")},
            "one or more: ban (default), another network of ban-bids-train, ban-untrained, logmel, modulation, "
            "hf:FOLDER (transformers), torchaudio:BUNDLE[=FILE], features:FOLDER, an entry point, or "
            "package.module:factory; later calls add further models to OUTPUT_DIR",
        ),
        (
            "--weights",
            _FILE,
            "trained weights (safetensors) of one model (default of ban: small-data weights that ship)",
        ),
        ("--gtzan-dir", _DIR, "folder of genres: train models and read-outs on it first, and find stimuli"),
        ("--allow-overlap", _YES, "score although training heard held-out tracks"),
        (
            "--controls",
            {"choices": ("low-level", "basic", "full")},
            "low-level: logmel and modulation only; basic (default): untrained and permuted ones too; full: train "
            "control networks too",
        ),
        (
            "--n-components",
            _value(components, "N"),
            "principal components of every layer (default 64); all: all features, as kernels",
        ),
        (
            "--voxels",
            {"choices": ("cortex", "auditory")},
            "where layers that are mapped to regions are fitted (default cortex); other layers and controls: auditory",
        ),
        (
            "--joint",
            _YES,
            "fit all layers of a model together too (default: up to six mapped ones, in the auditory regions)",
        ),
        ("--n-permutations", _N, "arrangements that each p value tries (default 10000)"),
        ("--high-pass", _value(float, "SECONDS"), "longest drift period removed (200)"),
        ("--random-seed", _value(seed, "N"), "default fixed; recorded in the logs"),
    ),
    "resources and conduct": (
        ("-w --work-dir", _DIR, "default OUTPUT_DIR/work"),
        ("--clean-workdir", _YES, "empty the work folder, if ban-bids made it, at the end if nobody failed"),
        ("--nprocs --nthreads --n-cpus", _N, "default: all available"),
        ("--omp-nthreads", _N, "threads of one process"),
        ("--mem --mem-mb", {**_value(memory_mb, "SIZE"), "dest": "mem_mb"}, "most memory: 8G, or MB"),
        ("--device", {"choices": ("auto", "cpu", "cuda")}, "where networks and ridge run"),
        ("--solver", {"choices": ("auto", "closed-form", "himalaya")}, "of ridge (auto: closed-form)"),
        ("--use-plugin", _FILE, "Nipype plugin configuration"),
        ("--stop-on-first-crash", _YES, "stop at the first failure"),
        ("--reports-only", _YES, "write the reports again, nothing else"),
        ("--dry-run", _YES, "print which files would be used; write nothing"),
        ("--config-file", _value(absolute, "TOML"), "options; the command line wins"),
        ("-v --verbose", {"action": "count", "dest": "verbosity"}, "-v: details; -vv: also of libraries"),
    ),
}
"""By the heading in ``--help``: spellings of each option, how argparse reads it, and its help."""


def make_parser(version: str) -> argparse.ArgumentParser:
    """Parser of the command line.

    Parameters
    ----------
    version : str
        Printed by ``--version``.

    Returns
    -------
    ArgumentParser
        Options that are not given are absent from its namespace.
    """
    parser = argparse.ArgumentParser(
        prog="ban-bids",
        description="BIDS App: how brain-like is an auditory network, measured on people listening to music?",
        argument_default=argparse.SUPPRESS,
        allow_abbrev=False,
    )
    parser.add_argument("bids_dir", type=absolute, metavar="BIDS_DIR", help="top folder of a BIDS dataset")
    parser.add_argument("output_dir", type=absolute, metavar="OUTPUT_DIR", help="folder of the derivatives")
    parser.add_argument("level", choices=("participant", "group"), help="participant: score; group: gather")
    parser.add_argument("--version", action="version", version=f"ban-bids {version}")
    for heading, options in _OPTIONS.items():
        group = parser.add_argument_group(heading)
        for spellings, reading, explanation in options:
            group.add_argument(*spellings.split(), help=explanation, **reading)
    return parser

"""The options of ``ban-bids``: spelled as users of BIDS Apps know them.

Every option may be written with ``-`` or ``_`` (``--participant_label``). Options that are not given are
absent from the parsed namespace, so that those of a configuration file stand.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable, Sequence
from pathlib import Path

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


def positive(text: str) -> int:
    """Whole number from 1."""
    if not re.fullmatch(r"\+?\d+", text.strip()) or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 1")
    return int(text)


def count(text: str) -> int:
    """Whole number from 0."""
    if not re.fullmatch(r"\d+", text.strip()):
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 0")
    return int(text)


def components(text: str) -> int:
    """Whole number from 1; ``all`` is 0."""
    if text.strip().lower() == "all":
        return 0
    if not re.fullmatch(r"\+?\d+", text.strip()) or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 1, nor 'all'")
    return int(text)


def seed(text: str) -> int:
    """Whole number that every random generator in use accepts."""
    if not re.fullmatch(r"\d+", text.strip()) or int(text) >= 2**32:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 0 to {2**32 - 1}")
    return int(text)


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
    """``NAME`` or ``NAME=WEIGHTS``."""
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
    result = []
    for argument in arguments:
        if argument.startswith("--"):
            name, equals, value = argument.partition("=")
            argument = name.replace("_", "-") + equals + value
        result.append(argument)
    return result


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
    _add_data(parser.add_argument_group("which data"))
    _add_preprocessing(parser.add_argument_group("preprocessing"))
    _add_model(parser.add_argument_group("model and scores"))
    _add_resources(parser.add_argument_group("resources and conduct"))
    return parser


def _add_data(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--participant-label", nargs="+", type=label("sub-"), metavar="LABEL", help="these (default: all)"
    )
    group.add_argument("--session-id", nargs="+", type=label("ses-"), metavar="LABEL", help="these sessions")
    group.add_argument("-t", "--task-id", nargs="+", type=label("task-"), metavar="LABEL", help="these tasks")
    group.add_argument("--bids-filter-file", type=absolute, metavar="JSON", help="pybids filters in fMRIPrep's format")
    group.add_argument(
        "-d",
        "--derivatives",
        action="append",
        type=named_path,
        metavar="NAME=PATH",
        help="take preprocessed images from there, e.g. fmriprep=PATH (repeatable)",
    )
    group.add_argument("--bids-database-dir", type=absolute, metavar="DIR", help="keep the pybids index there")
    group.add_argument("--skip-bids-validation", action="store_true", help="go on without a description")
    group.add_argument("--stimuli-dir", type=absolute, metavar="DIR", help="where the audio files are")
    group.add_argument("--behavior", type=absolute, metavar="TSV", help="human genre choices (default: the dataset's)")
    group.add_argument("--test-task", nargs="+", type=label("task-"), metavar="LABEL", help="held-out tasks")
    group.add_argument(
        "--test-runs",
        nargs="+",
        metavar="RUN",
        help="held-out runs by index or name; all: each in turn (default: runs that repeat clips)",
    )


def _add_preprocessing(group: argparse._ArgumentGroup) -> None:
    group.add_argument("--space", "--output-spaces", nargs="+", type=space, metavar="SPACE", help="output space (one)")
    group.add_argument("--res", metavar="RES", help="output resolution: native (default) or millimetres")
    group.add_argument(
        "--atlas",
        type=atlas,
        metavar="NAME|FILE",
        help=f"{ATLASES[0]} (default), {', '.join(ATLASES[1:])}, or a dseg image with a TSV beside it",
    )
    group.add_argument(
        "--ignore",
        nargs="+",
        choices=("slicetiming", "fieldmaps"),
        metavar="STEP",
        help="slicetiming: do not correct it; fieldmaps: do not mention them",
    )
    group.add_argument(
        "--dummy-scans", type=count, metavar="N", help="volumes before the steady state (default: detected)"
    )
    group.add_argument("--use-syn-sdc", action="store_true", help="reduce distortions by registration to the T1w image")
    group.add_argument(
        "--confounds",
        metavar="STRATEGY",
        help="motion12 (default: motion, its differences, white matter, CSF) or one of nilearn's "
        "strategies: simple, scrubbing, compcor, ica_aroma",
    )


def _add_model(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--model",
        nargs="+",
        type=model_request,
        metavar="NAME[=WEIGHTS]",
        help="one or more: ban (default), another network of ban-bids-train, ban-untrained, logmel, modulation, an "
        "entry point, or package.module:factory; later calls add further models to OUTPUT_DIR",
    )
    group.add_argument("--weights", type=absolute, metavar="FILE", help="trained weights (safetensors) of one model")
    group.add_argument(
        "--gtzan-dir",
        type=absolute,
        metavar="DIR",
        help="folder of genres: train on it first, and find stimuli",
    )
    group.add_argument("--allow-overlap", action="store_true", help="score although training heard held-out tracks")
    group.add_argument("--controls", choices=("basic", "full"), help="full: train control networks too")
    group.add_argument(
        "--n-components",
        type=components,
        metavar="N",
        help="principal components of every layer (default 64); all: all features, as kernels",
    )
    group.add_argument("--n-permutations", type=positive, metavar="N", help="block permutations (default 10000)")
    group.add_argument("--high-pass", type=float, metavar="SECONDS", help="longest drift period removed (200)")
    group.add_argument("--random-seed", type=seed, metavar="N", help="default fixed; recorded in the logs")


def _add_resources(group: argparse._ArgumentGroup) -> None:
    group.add_argument("-w", "--work-dir", type=absolute, metavar="DIR", help="default OUTPUT_DIR/work")
    group.add_argument("--nprocs", "--nthreads", "--n-cpus", type=positive, metavar="N", help="default: all available")
    group.add_argument("--omp-nthreads", type=positive, metavar="N", help="threads of one process")
    group.add_argument("--mem", "--mem-mb", type=memory_mb, metavar="SIZE", help="most memory: 8G, or MB")
    group.add_argument("--device", choices=("auto", "cpu", "cuda"), help="where networks and ridge run")
    group.add_argument("--solver", choices=("auto", "closed-form", "himalaya"), help="of ridge (auto: closed-form)")
    group.add_argument("--use-plugin", type=absolute, metavar="FILE", help="Nipype plugin configuration")
    group.add_argument("--stop-on-first-crash", action="store_true", help="stop at the first failure")
    group.add_argument("--reports-only", action="store_true", help="write the reports again, nothing else")
    group.add_argument("--dry-run", action="store_true", help="print which files would be used; write nothing")
    group.add_argument("--config-file", type=absolute, metavar="TOML", help="options; the command line wins")
    group.add_argument("-v", "--verbose", action="count", help="-v: details; -vv: also of libraries")

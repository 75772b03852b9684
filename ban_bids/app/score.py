"""The participant level from Python: models by name or as objects, derivatives back."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from ban_bids.app.participant import participant_level
from ban_bids.derivatives.read import Derivatives, load_derivatives
from ban_bids.models.candidate import Candidate
from ban_bids.settings import ModelRequest, Settings


def score(bids_dir: str | Path, output_dir: str | Path, *models: str | Candidate, **options: Any) -> Derivatives:
    """Score models on a BIDS dataset of listening, as ``ban-bids BIDS_DIR OUTPUT_DIR participant`` does.

    Parameters
    ----------
    bids_dir, output_dir : str or Path
        The dataset, and the folder of the derivatives; models that are scored there already stay.
    *models : str or Candidate
        ``"NAME"`` or ``"NAME=WEIGHTS"`` as for ``--model``, or a model itself (see
        :class:`ban_bids.models.candidate.Candidate`). Without any, BAN, as on the command line.
    **options
        Fields of the parts of :class:`ban_bids.settings.Settings`, e.g. ``participant_labels=("01",)``,
        ``nprocs=2``, ``gtzan_dir=Path("gtzan")``.

    Returns
    -------
    Derivatives
        Everything in ``output_dir``. Participants and models that failed are in the log and in
        ``logs/*_status.json``.

    Raises
    ------
    BanBidsError
        Something that concerns every participant.

    Examples
    --------
    >>> from ban_bids import score
    >>> out = score("bids", "out", "ban=ban.safetensors", "modulation")  # doctest: +SKIP
    >>> out.scores(row="C")  # doctest: +SKIP
    """
    root, out = Path(bids_dir).resolve(), Path(output_dir).resolve()
    requests = tuple(ModelRequest.parse(model) for model in models if isinstance(model, str))
    if not models:
        requests = (ModelRequest(),)
    processors = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    defaults = {"work_dir": out / "work", "nprocs": processors, "omp_nthreads": processors}
    settings = Settings.of(root, out, "participant", requests=requests, **(defaults | options))
    participant_level(settings, [model for model in models if not isinstance(model, str)])
    return load_derivatives(out)

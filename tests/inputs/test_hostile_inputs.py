"""Hostile and damaged inputs end in a result or in one line of ours; one participant's are not another's fault."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

import pytest
from hostile_catalogue import Case, cases, import_all, run_case
from small_datasets import make_toy

_OF_EACH = 1
"""Case of a kind that is run here, beside those below; ``benchmarks/hostile_inputs.py`` runs all."""

_ONCE_BAD = (
    "FIFO: sound", "FIFO: --rules", "FIFO: --use-plugin", "FIFO: confounds", "link to /dev/zero: sidecar",
    "link to /dev/zero: rules", "link to /dev/zero: --config-file", "events: 10⁶ rows", "10⁵ columns", "a point",
    "5 000 letters", "100 000 deep", "of 4 000 digits", "of 400 digits", "unknown data type", "bomb", "9 dimensions",
    "keys nested deep", "maps nested deep", "explode", "tag of time", "card nested deep", "rows of 2⁴⁰",
    "rate 767999", "1024 channels",
)  # fmt: skip


def _chosen() -> list[Case]:
    """Some of each kind, and one of each that once ended in a traceback, took all memory or never ended."""
    by_kind: dict[str, list[Case]] = defaultdict(list)
    for case in cases():
        by_kind[case.kind].append(case)
    some = [case for group in by_kind.values() for case in group[:_OF_EACH]]
    bad = [next(case for case in cases() if str(case).endswith(name) or name in case.name) for name in _ONCE_BAD]
    return list({str(case): case for case in (*some, *bad)}.values())


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    import_all()
    return make_toy(tmp_path_factory.mktemp("good") / "bids").root


@pytest.mark.parametrize("case", _chosen(), ids=str)
def test_it_ends_well(case: Case, template: Path, tmp_path: Path) -> None:
    outcome = run_case(case, template, tmp_path / "case")
    assert outcome.good, f"{outcome.what}: {outcome.message}"


def test_the_runner_tells_bad_ends(template: Path, tmp_path: Path) -> None:
    def crash(toy: object) -> object:
        raise KeyError("x")

    def memory(toy: object) -> object:
        return bytearray(2**40)

    kept = {"traceback": crash, "memory": memory}
    for what, use in kept.items():
        case = Case("made", what, lambda toy: None, use)
        assert run_case(case, template, tmp_path / what).what == what

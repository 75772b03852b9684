"""How hostile and damaged inputs end, by kind: ``python benchmarks/hostile_inputs.py [KIND]``.

Every case of ``tests/inputs/hostile_catalogue.py`` and ``hostile_readings.py`` gets a process of its own, 20 s and
1.5 GB. Good ends are ``used`` (taken, or left out with a note) and ``told`` (one line of ban-bids); ``silent`` is what
was misread, or lacks the word that it needs. To compare with another version, put its folder first on ``PYTHONPATH``.
"""

from __future__ import annotations

import logging
import sys
import tempfile
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "inputs"))

from hostile_catalogue import cases, import_all, run_case  # noqa: E402
from hostile_readings import readings  # noqa: E402
from small_datasets import make_toy  # noqa: E402

_ENDS = ("used", "told", "silent", "traceback", "memory", "hangs", "killed", "others")


def main() -> None:
    import_all()
    logging.disable()
    wanted = sys.argv[1] if len(sys.argv) > 1 else ""
    counts: dict[str, Counter[str]] = {}
    bad = []
    with tempfile.TemporaryDirectory() as folder:
        template = make_toy(Path(folder) / "good").root
        for number, case in enumerate(case for case in (*cases(), *readings()) if wanted in str(case)):
            outcome = run_case(case, template, Path(folder) / str(number))
            counts.setdefault(case.kind.split(":")[0].split(" is")[0], Counter())[outcome.what] += 1
            if not outcome.good:
                bad.append(f"{case}: {outcome.what} {outcome.message}")
            elif wanted:
                print(f"{case}: {outcome.what} {outcome.message}"[:250])
    print(f"{'kind':30}", *(f"{end:>9}" for end in _ENDS))
    for kind, ends in sorted(counts.items()):
        print(f"{kind:30}", *(f"{ends[end]:9}" for end in _ENDS))
    total = sum(counts.values(), Counter())
    print(f"{'all':30}", *(f"{total[end]:9}" for end in _ENDS))
    print(*bad, sep="\n")


if __name__ == "__main__":
    main()

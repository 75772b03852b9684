#!/usr/bin/env python3
"""The way of one clip and of one BOLD run through the package, checked against the code and drawn for the docs.

    python tools/paths.py [--check | --write]

Each way is a call tree: a line is ``file.py function: what it does``, indented by two spaces below the line whose
function calls it. Every file and function must be there, and the caller's source must name what it calls, so that
no hop can be left out. ``--write`` draws both trees into ``docs/architecture.md`` between their markers.
"""

from __future__ import annotations

import argparse
import ast
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "architecture.md"
MOST_FILES = 25

CLIP = """
cli/run.py main: options
  cli/run.py parse: command line and configuration file become `Settings`
  cli/run.py _run: environment, level
    cli/run.py _run_level: participants, or the group
      app/participant.py participant_level: the order of everything below
        inputs/read.py read_dataset: a `Dataset`; all events, images of those asked for
          inputs/read.py _listen: one participant's events
            inputs/runs.py hear_runs: runs with their presentations
              inputs/runs.py heard_run: one run, from its events
                inputs/runs.py presentations: rows of events in order of onset
                  inputs/stimuli.py Stimuli.clip: row → `Clip` (file, start, duration)
        app/participant.py _finish: one participant, with every model
          app/participant.py score_candidate: features, encoding, scores of one model
            encoding/design.py design: a model's features on every run, by fold
              encoding/features.py FeatureCache.compute: each clip once
                audio/waveforms.py HeardClip: the sound that was played, when it is asked for
                models/network.py NetworkModel.features: clips in, arrays by layer out
                  models/network.py AuditoryNetwork.forward: the network
                    models/front_end.py FrontEnd.forward: log-mel frames
                    models/ban.py BAN.from_frames: areas, step by step
              encoding/design.py bin_run: frames on the clock of one run
                encoding/timeline.py lay_features: means over every volume at every lag
              encoding/matrices.py fit_reduction: reduced with axes of training rows
            app/scored.py score_model: one model in one participant
              encoding/execute.py in_slabs: voxels, slab by slab
                encoding/fit.py encode: fold by fold, held-out rows predicted
                  encoding/fit.py FoldModels: matrices and models of one fold
                    encoding/ridge/solvers.py BandedRidge: weights, penalties, coefficients
                      encoding/ridge/search.py choose: penalties on inner folds
                        encoding/ridge/closed_form.py LeftOut: errors of left-out runs
              app/scored.py _cortical: auditory voxels
                scoring/cortical.py cortical_score: c of every layer, C
          app/participant.py _score_and_write: one table per model
            app/participant.py table_of: rows of the model and its controls
              scoring/bas.py score_table: C, B, BAS
            derivatives/tables.py write_table: `_bas.tsv`, and definitions of its columns
              files/tsv.py write_tsv: all or nothing
"""

RUN = """
app/participant.py participant_level: after options and dataset, see the clip's way
  preprocessing/run.py preprocess: all participants in one Nipype workflow
    preprocessing/run.py _preprocess_raw: under a lock per participant
      preprocessing/run.py _run_workflow: nodes of all participants
        preprocessing/workflows/participant.py init_participant_wf: anatomy, runs, regions
          preprocessing/workflows/bold.py init_bold_wf: nodes of one run
            preprocessing/interfaces/bold.py ReferenceAndMotion: node
              preprocessing/functional.py reference_and_motion: steady state, motion, reference
                preprocessing/space/realign.py realign: a rigid transform per volume
            preprocessing/interfaces/bold.py Coregister: node
              preprocessing/functional.py coregister_session: reference → T1w image
                preprocessing/space/register.py rigid: mutual information (ANTs)
            preprocessing/interfaces/bold.py Resample: node
              preprocessing/functional.py resample_to_target: one interpolation in space
                preprocessing/space/resample.py resample_run: every volume on the output grid
                preprocessing/confounds.py confound_table: motion, tissues, CompCor
      preprocessing/publish.py publish: series, masks, confounds as derivatives
    preprocessing/strategies.py with_strategy: columns and volumes that --confounds chooses
  app/participant.py _finish: one participant
    app/participant.py read_participant: once for all models
      encoding/bold.py load_participant: voxels of the cortex, run after run
        encoding/bold.py load_run: one run, z-scored
          encoding/rows.py run_rows: which volumes count
          encoding/cleaning.py clean: confounds, trend and drifts regressed out
    app/participant.py score_candidate: features, encoding, scores of one model
      app/scored.py score_model: one model in one participant
        encoding/execute.py in_slabs: voxels, slab by slab
          encoding/fit.py encode: held-out rows predicted
        scoring/voxels.py slab_scores: r, R², noise-corrected r, p of every voxel
          encoding/significance.py voxel_p: permutations
    app/participant.py _write_model: maps of every layer and statistic
      derivatives/maps.py write_maps: model, layer, statistic into names and JSON
        derivatives/maps.py write_statmap: one map, all or nothing
"""

WAYS = {"clip": CLIP, "run": RUN}


@dataclass(frozen=True)
class Hop:
    """One function on the way.

    Parameters
    ----------
    file : str
        Below the package.
    function : str
        ``function``, ``Class`` or ``Class.method``.
    what : str
        What it does, or hands on.
    depth : int
    caller : Hop or None
        None for the entry.
    """

    file: str
    function: str
    what: str
    depth: int
    caller: Hop | None


_LINE = re.compile(r"(?P<indent> *)(?P<file>\S+\.py) (?P<function>[\w.]+): (?P<what>.+)")


def hops(way: str) -> list[Hop]:
    """Read a way's call tree.

    Raises
    ------
    ValueError
        A line is of another form, or indented deeper than one step.
    """
    found: list[Hop] = []
    above: list[Hop] = []
    for line in way.strip("\n").splitlines():
        match = _LINE.fullmatch(line)
        depth = len(match["indent"]) // 2 if match else -1
        if match is None or len(match["indent"]) % 2 or depth > len(above):
            raise ValueError(f"not 'file.py function: what', indented below its caller: {line!r}")
        del above[depth:]
        hop = Hop(match["file"], match["function"], match["what"], depth, above[-1] if above else None)
        above.append(hop)
        found.append(hop)
    return found


def definition(hop: Hop, root: Path = ROOT) -> ast.AST | None:
    """Return the syntax tree of a hop's function or class, None where file or name is not there."""
    path = root / "ban_bids" / hop.file
    if not path.is_file():
        return None
    node: ast.AST | None = ast.parse(path.read_text(encoding="utf-8"))
    for part in hop.function.split("."):
        kinds = ast.FunctionDef | ast.ClassDef
        node = next((n for n in getattr(node, "body", []) if isinstance(n, kinds) and n.name == part), None)
    return node


def names(tree: ast.AST) -> set[str]:
    """Return every name and attribute that a piece of source uses."""
    found = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    return found | {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}


def reached(tree: ast.AST, module: ast.Module) -> set[str]:
    """Return the names that a function uses, itself or through private helpers of its own module."""
    helpers = {
        node.name: node
        for node in ast.walk(module)
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and node.name.startswith("_")
    }
    seen: set[str] = set()
    new = names(tree)
    while new:
        seen |= new
        used = [helpers[name] for name in new if name in helpers]
        new = set().union(*map(names, used)) - seen if used else set()
    return seen


def known_as(hop: Hop, caller: Hop, module: ast.Module) -> set[str]:
    """Return the names under which a caller's module can use a hop: its own, an import's, or an imported module's.

    A method is an attribute of an object, whose class the caller need not import; torch runs a module's ``forward``
    where the object, named like its class, is called.
    """
    owner, _, name = hop.function.rpartition(".")
    if name == "forward":
        snake = re.sub(r"(?<!^)(?=[A-Z])", "_", owner).lower()
        return {name, snake, snake.rpartition("_")[2]}
    if hop.file == caller.file or "." in hop.function:
        return {name}
    dotted = "ban_bids." + hop.file.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
    package, _, stem = dotted.rpartition(".")
    found: set[str] = set()
    for node in ast.walk(module):
        if isinstance(node, ast.ImportFrom):
            found |= {alias.asname or name for alias in node.names if (node.module, alias.name) == (dotted, name)}
            found |= {name for alias in node.names if (node.module, alias.name) == (package, stem)}
    return found


def faults(way: str, root: Path = ROOT) -> list[str]:
    """Return what is wrong with a way: names that are not there, callers that do not call, too many files."""
    wrong: list[str] = []
    chain = hops(way)
    for hop in chain:
        if definition(hop, root) is None:
            wrong.append(f"ban_bids/{hop.file}: no {hop.function}")
            continue
        caller = None if hop.caller is None else definition(hop.caller, root)
        if hop.caller is None or caller is None:
            continue
        module = ast.parse((root / "ban_bids" / hop.caller.file).read_text(encoding="utf-8"))
        if not known_as(hop, hop.caller, module) & reached(caller, module):
            wrong.append(f"ban_bids/{hop.caller.file}: {hop.caller.function} does not call {hop.file}: {hop.function}")
    count = len({hop.file for hop in chain})
    if count > MOST_FILES:
        wrong.append(f"{count} files, at most {MOST_FILES}")
    return wrong


def diagram(way: str) -> str:
    """Draw a way as a tree of ``file: function``, with what each does beside it."""
    chain = hops(way)
    left = [f"{_branch(chain, i)}{hop.file}: {hop.function}" for i, hop in enumerate(chain)]
    width = max(map(len, left)) + 2
    lines = [f"{text.ljust(width)}{hop.what}" for text, hop in zip(left, chain, strict=True)]
    return "```text\n" + "\n".join(lines) + "\n```"


def _branch(chain: list[Hop], i: int) -> str:
    """Lines of the tree in front of a hop."""
    depth = chain[i].depth
    if not depth:
        return ""
    pieces = ["├ " if _continues(chain, i, depth) else "└ "]
    pieces += ["│ " if _continues(chain, i, level) else "  " for level in range(depth - 1, 0, -1)]
    return "".join(reversed(pieces))


def _continues(chain: list[Hop], i: int, level: int) -> bool:
    """Whether another hop of this level follows below the same caller."""
    for later in chain[i + 1 :]:
        if later.depth < level:
            return False
        if later.depth == level:
            return True
    return False


def drawn(page: str) -> str:
    """Return the page with both diagrams in their places."""
    for name, way in WAYS.items():
        count = len({hop.file for hop in hops(way)})
        block = f"<!-- {name}: begin -->\n{diagram(way)}\n\n{count} files.\n<!-- {name}: end -->"
        page, times = re.subn(rf"<!-- {name}: begin -->.*<!-- {name}: end -->", lambda _, b=block: b, page, flags=re.S)
        if times != 1:
            raise ValueError(f"{PAGE.name}: no markers '<!-- {name}: begin -->' and '<!-- {name}: end -->'")
    return page


def problems() -> Iterator[str]:
    """Everything that is wrong with the ways and their page."""
    for name, way in WAYS.items():
        yield from (f"{name}: {fault}" for fault in faults(way))
    page = PAGE.read_text(encoding="utf-8")
    if drawn(page) != page:
        yield f"{PAGE.relative_to(ROOT)}: other diagrams than the ways; run python tools/paths.py --write"


def main() -> int:
    """Check or draw."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--check", action="store_true", help="check ways and page (default)")
    what.add_argument("--write", action="store_true", help="draw the diagrams into the page, then check")
    if parser.parse_args().write:
        PAGE.write_text(drawn(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
    wrong = list(problems())
    print("\n".join(wrong) if wrong else "both ways are as drawn")
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main())

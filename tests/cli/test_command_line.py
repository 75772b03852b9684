"""The command line: every option's spelling, configuration files, errors and exit statuses."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from types import SimpleNamespace

import pytest

from ban_bids import __version__
from ban_bids.cli import run as cli
from ban_bids.cli.config import read_config
from ban_bids.cli.environment import environment, set_environment
from ban_bids.cli.options import make_parser, memory_mb
from ban_bids.constants import DEFAULT_SEED, WORK_MARK
from ban_bids.errors import DataError, UsageError
from ban_bids.settings import Compute, Encoding, ModelRequest, Models, Output, Preprocessing, Selection, Settings

HEAVY = (
    "torch",
    "nilearn",
    "bids",
    "nipype",
    "ants",
    "pandas",
    "numpy",
    "lightning",
    "himalaya",
    "matplotlib",
)


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Current folder with every kind of file that options name."""
    for folder in ("bids", "genres", "stim", "prep"):
        (tmp_path / folder).mkdir()
    for name in ("w.safetensors", "f.json", "beh.tsv", "atlas.nii.gz", "plugin.yml", "ban-bids.toml"):
        (tmp_path / name).write_text("{plugin: SGE}" if name == "plugin.yml" else "{}")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def parse(text: str, weights: bool = True) -> Settings:
    return cli.parse(f"bids out participant {'--weights w.safetensors ' * weights}{text}".split())


def option(settings: Settings, name: str) -> object:
    """Value of an option by its name, whichever part it belongs to."""
    if name == "level":
        return settings.level
    parts = (
        settings.selection,
        settings.preprocessing,
        settings.models,
        settings.encoding,
        settings.compute,
        settings.output,
    )
    return next(getattr(part, name) for part in parts if hasattr(part, name))


def test_defaults(place: Path) -> None:
    settings = parse("")
    expected = Settings.of(
        place / "bids",
        place / "out",
        "participant",
        requests=(ModelRequest("ban", place / "w.safetensors"),),
        work_dir=place / "out" / "work",
        nprocs=cli.available_cpus(),
        omp_nthreads=min(8, cli.available_cpus()),
    )
    assert settings == expected
    assert settings.compute.random_seed == DEFAULT_SEED


TABLE: list[tuple[str, str, object]] = [
    ("--participant-label 01 sub-02 01", "participant_labels", ("01", "02")),
    ("--participant_label sub-01", "participant_labels", ("01",)),
    ("--session-id ses-1 2", "session_ids", ("1", "2")),
    ("--task_id task-Test", "task_ids", ("Test",)),
    ("-t Test", "task_ids", ("Test",)),
    ("--bids-filter-file f.json", "bids_filter_file", "f.json"),
    ("--space MNI152NLin6Asym", "space", "MNI152NLin6Asym"),
    ("--output-spaces MNI152NLin2009cAsym:res-2", "res", "2"),
    ("--res 2", "res", "2"),
    ("--ignore slicetiming fieldmaps", "ignore", ("slicetiming", "fieldmaps")),
    ("--dummy-scans 0", "dummy_scans", 0),
    ("--use-syn-sdc", "use_syn_sdc", True),
    ("--sloppy", "sloppy", True),
    ("--confounds simple", "confounds", "simple"),
    ("-w scratch", "work_dir", "scratch"),
    ("--clean-workdir", "clean_workdir", True),
    ("--work_dir=scratch", "work_dir", "scratch"),
    ("--nprocs 3", "nprocs", 3),
    ("--n_cpus 3", "nprocs", 3),
    ("--omp-nthreads 2", "omp_nthreads", 2),
    ("--mem 8G", "mem_mb", 8192),
    ("--mem_mb 8000", "mem_mb", 8000),
    ("--bids-database-dir db", "bids_database_dir", "db"),
    ("--skip-bids-validation", "skip_bids_validation", True),
    ("--stop-on-first-crash", "stop_on_first_crash", True),
    ("--use-plugin plugin.yml", "use_plugin", "plugin.yml"),
    ("--reports-only", "reports_only", True),
    ("--dry-run", "dry_run", True),
    ("--random-seed 7", "random_seed", 7),
    ("-v", "verbosity", 1),
    ("-vv", "verbosity", 2),
    ("--gtzan-dir genres", "gtzan_dir", "genres"),
    ("--stimuli-dir stim", "stimuli_dir", "stim"),
    ("--rules ban-bids.toml", "rules", "ban-bids.toml"),
    ("--test-task Test", "test_tasks", ("Test",)),
    ("--test-runs 1 02", "test_runs", ("1", "02")),
    ("--test-runs all", "test_runs", ("all",)),
    ("--behavior beh.tsv", "behavior", "beh.tsv"),
    ("--atlas atlas.nii.gz", "atlas", "atlas.nii.gz"),
    ("--atlas Juelich", "atlas", "juelich"),
    ("--controls full", "controls", "full"),
    ("--allow-overlap", "allow_overlap", True),
    ("--device cuda", "device", "cuda"),
    ("--solver himalaya", "solver", "himalaya"),
    ("--n-components 32", "n_components", 32),
    ("--n-components all", "n_components", 0),
    ("--n_components ALL", "n_components", 0),
    ("--n-permutations 99", "n_permutations", 99),
    ("--high-pass 128", "high_pass", 128.0),
]


@pytest.mark.parametrize(("text", "name", "value"), TABLE)
def test_option(place: Path, text: str, name: str, value: object) -> None:
    settings = parse(text)
    actual = option(settings, name)
    assert actual == (place / str(value) if isinstance(actual, Path) else value)


def test_every_setting_has_an_option() -> None:
    tested = {name for _, name, _ in TABLE}
    parts = (Selection, Preprocessing, Models, Compute, Output)
    assert {item.name for part in parts for item in fields(part)} - tested == {
        "bids_dir",
        "output_dir",
        "derivatives",
        "requests",
    }


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", [("ban", None)]),
        ("--weights w.safetensors", [("ban", "w.safetensors")]),
        (
            "--model ban=w.safetensors mine.nets:deep modulation",
            [("ban", "w.safetensors"), ("mine.nets:deep", None), ("modulation", None)],
        ),
        ("--model mine.nets:deep --weights w.safetensors", [("mine.nets:deep", "w.safetensors")]),
        ("--model logmel logmel", [("logmel", None)]),
    ],
)
def test_requests_of_models(place: Path, text: str, expected: list[tuple[str, str | None]]) -> None:
    requests = parse(f"{text} --gtzan-dir genres", weights=False).models.requests
    assert requests == tuple(ModelRequest(name, place / weights if weights else None) for name, weights in expected)


def test_derivatives_are_repeatable(place: Path) -> None:
    settings = parse("-d fmriprep=prep --derivatives other=stim -d prep")
    assert settings.preprocessing.derivatives == (
        ("fmriprep", place / "prep"),
        ("other", place / "stim"),
        ("prep", place / "prep"),
    )


@pytest.mark.parametrize(
    ("text", "mb"),
    [
        ("8G", 8192),
        ("8GB", 8192),
        ("8GiB", 8192),
        ("8000", 8000),
        ("8000MB", 8000),
        ("1.5g", 1536),
        ("1T", 1024**2),
    ],
)
def test_memory(text: str, mb: int) -> None:
    assert memory_mb(text) == mb


@pytest.mark.parametrize(
    "text",
    [
        "--mem lots", "--mem 0", "--nprocs 0", "--random-seed -1", "--device tpu", "--controls some",
        "--n-permutations 1.5", "--participant-label s/1", "--unknown", "--participant 01", "--space a:b",
        "-d =prep", "--model ban=", "--model =w", "--high-pass much", "--n-components 0", "--n-components some",
    ],
)  # fmt: skip
def test_arguments_that_cannot_be_parsed(place: Path, text: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        parse(text)
    assert caught.value.code == 2
    assert "usage: ban-bids" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("--weights gone", "weights of ban: .*gone: no such file"),
        ("--model ban=gone logmel", "weights of ban: .*gone: no such file"),
        (
            "--model ban=w.safetensors --weights w.safetensors",
            "--weights .*w.safetensors: whose are they.*--model NAME=",
        ),
        ("--model logmel ban --weights w.safetensors", "--weights .*w.safetensors: whose are they"),
        ("--gtzan-dir gone", "--gtzan-dir .*gone: no such folder"),
        ("-d fmriprep=gone --weights w.safetensors", "--derivatives fmriprep=.*gone: no such folder"),
        ("-d fmriprep-24=prep", "--derivatives fmriprep-24=.*by that name; write fmriprep=.*prep, or leave"),
        ("-d prep", "--derivatives prep=.*by that name; write fmriprep=.*prep, or leave"),
        ("-d fmriprep=prep -d fmriprep=stim", "--derivatives: .*prep and .*stim are both called fmriprep; give one"),
        ("--space A B", "--space A B: give one output space"),
        ("--space A:res-2 --res 1", "contradicts --res 1"),
        ("--high-pass 0", "--high-pass 0.0"),
        ("--work-dir bids/work", "--work-dir .* lies in the dataset"),
        ("--config-file gone.toml", "--config-file .*gone.toml"),
        (
            "--confounds compcorr",
            "--confounds compcorr: choose one of motion12, simple, scrubbing, compcor, ica",
        ),
        ("--confounds ica_aroma", "--confounds ica_aroma: needs .* -d fmriprep=DIR"),
    ],
)
def test_options_that_cannot_be_used(place: Path, text: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        parse(text, weights=False)


@pytest.mark.parametrize("text", ["", "--dry-run", "--reports-only", "--model a.b:c", "--gtzan-dir genres"])
def test_when_weights_are_not_needed(place: Path, text: str) -> None:
    assert parse(text, weights=False).models.requests[0].weights is None


def test_group_needs_neither_dataset_nor_weights(place: Path) -> None:
    assert cli.parse(["gone", "out", "group"]).selection.bids_dir == place / "gone"


@pytest.mark.parametrize(
    ("out", "fine"),
    [("bids", False), ("bids/out", False), ("bids/derivatives/ban-bids", True), ("bids2", True)],
)
def test_output_inside_the_input(place: Path, out: str, fine: bool) -> None:
    arguments = ["bids", out, "participant", "--weights", "w.safetensors"]
    if fine:
        assert cli.parse(arguments).output.output_dir == place / out
    else:
        with pytest.raises(UsageError, match="OUTPUT_DIR .*under .*bids/derivatives"):
            cli.parse(arguments)


@pytest.mark.parametrize(("option", "folder"), [("OUTPUT_DIR", "out"), ("--work-dir", "scratch/deep")])
def test_unwritable_folders(place: Path, monkeypatch: pytest.MonkeyPatch, option: str, folder: str) -> None:
    # superusers may write anywhere, so the refusal is played
    top = place / folder.split("/")[0]
    top.mkdir()
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path) != top)
    with pytest.raises(UsageError, match=f"{option} .*uid {os.getuid()} cannot write in {top}"):
        parse(f"-w {'scratch/deep' if option == '--work-dir' else 'elsewhere'}")


def test_file_in_place_of_the_output_folder(place: Path) -> None:
    (place / "out").write_text("")
    with pytest.raises(UsageError, match="out is not a folder"):
        parse("")


def write_config(place: Path, text: str) -> str:
    (place / "c.toml").write_text(text)
    return "--config-file c.toml"


def test_command_line_wins_over_the_configuration_file(place: Path) -> None:
    option = write_config(
        place,
        'mem = "2GB"\nrandom_seed = 3\ntest-runs = ["1", 2]\ndry-run = true\nverbose = 2\n'
        "reports-only = false\nhigh_pass = 150\n[derivatives]\nfmriprep = 'prep'\n"
        "[encoding]\nn_components = 16\nlag-max = 6\n"
        "alphas = [1, 10]\nhigh-pass = 90\n",
    )
    settings = parse(f"{option} --random-seed 4")
    assert (settings.compute.mem_mb, settings.compute.random_seed, settings.selection.test_runs) == (
        2048,
        4,
        ("1", "2"),
    )
    assert (settings.output.dry_run, settings.output.reports_only, settings.output.verbosity) == (True, False, 2)
    assert settings.preprocessing.derivatives == (("fmriprep", place / "prep"),)
    assert settings.encoding == Encoding(n_components=16, lag_max=6.0, alphas=(1.0, 10.0), high_pass=150.0)
    assert parse(f"{option} --test-runs 3 -d fmriprep=stim --high-pass 99").selection.test_runs == ("3",)
    assert parse(f"{option} -d fmriprep=stim").preprocessing.derivatives == (("fmriprep", place / "stim"),)
    assert parse(f"{option} --n-components all").encoding.n_components == 0


@pytest.mark.parametrize("text", ["n-components = 'all'", "[encoding]\nn_components = 0"])
def test_all_features_can_be_asked_for_in_a_file(place: Path, text: str) -> None:
    assert parse(write_config(place, text)).encoding.n_components == 0


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("mem = ", "not readable TOML"),
        ("memory = 3", "unknown key 'memory'; known: .*allow-overlap.*work-dir.*encoding"),
        ("bids_dir = 'x'", "unknown key 'bids_dir'"),
        ("config-file = 'x'", "unknown key"),
        ("mem = 'lots'", "not an amount of memory"),
        ("dry-run = 1", "dry-run must be true or false"),
        ("mem = [1, 2]", "mem takes one value"),
        ("task-id = []", "not a text, a number or a list"),
        ("mem = true", "not a text, a number or a list"),
        ("encoding = 3", "must be a table"),
        ("[encoding]\nlags = 3", "unknown key 'lags' in .encoding.; known: .*n_bootstrap"),
        ("[encoding]\nslab = 1.5", "whole numbers"),
        ("[encoding]\nalphas = ['a']", "write numbers"),
        ("[encoding]\nhigh_pass = -3", "write numbers above 0"),
        ("[encoding]\nev_floor = -1", "write numbers from 0"),
        ("[encoding]\nlag_step = 0", "write numbers above 0"),
        ("[encoding]\nlag_max = inf", "write numbers from 0"),
        ("[encoding]\nn_permutations = 0", "write whole numbers above 0"),
        ("[encoding]\nalphas = [0, 1]", "write numbers above 0"),
        ("[encoding]\nvoxels = 'auditory'", "unknown key 'voxels' .*options stand outside of the table"),
        ("[encoding]\njoint = true", "unknown key 'joint'"),
    ],
)
def test_bad_configuration(place: Path, text: str, message: str) -> None:
    write_config(place, text)
    with pytest.raises(UsageError, match=message):
        read_config(place / "c.toml")


def run_in_fresh_process(code: str, place: Path) -> str:
    done = subprocess.run([sys.executable, "-c", code], cwd=place, capture_output=True, text=True, check=True)
    return done.stdout


@pytest.mark.parametrize("argument", ["--help", "--version"])
def test_help_imports_nothing_heavy(place: Path, argument: str) -> None:
    code = (
        "import sys\nfrom ban_bids.cli.run import main\n"
        f"try:\n    main(['{argument}'])\nexcept SystemExit as end:\n    assert not end.code\n"
        "print('LOADED', sorted({name.split('.')[0] for name in sys.modules}))"
    )
    output = run_in_fresh_process(code, place)
    loaded = output.split("LOADED")[1]
    assert not [name for name in HEAVY if f"'{name}'" in loaded]
    assert ("BIDS_DIR" if argument == "--help" else f"ban-bids {__version__}") in output


def test_module_and_container_entry_points(place: Path) -> None:
    root = Path(cli.__file__).resolve().parents[2]
    for command in (["-m", "ban_bids"], [str(root / "bids_app" / "run.py")]):
        done = subprocess.run(
            [sys.executable, *command, "gone", "out", "participant", "--dry-run"],
            cwd=place, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 2
        assert done.stderr.strip().splitlines()[-1].startswith(f"ban-bids: error: BIDS_DIR {place}/gone")
    assert not (place / "out").exists()


@pytest.mark.parametrize(
    ("error", "status", "line"),
    [
        (DataError("x.tsv: wrong; correct it"), 65, "ban-bids: error: x.tsv: wrong; correct it\n"),
        (UsageError("--mem: wrong"), 2, "ban-bids: error: --mem: wrong\n"),
        (KeyboardInterrupt(), 130, "ban-bids: interrupted\n"),
    ],
)
def test_exit_status(
    place: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    error: BaseException,
    status: int,
    line: str,
) -> None:
    def fail(*_: object) -> int:
        raise error

    monkeypatch.setattr(cli, "_run", fail)
    assert cli.main(["bids", "out", "group"]) == status
    assert capsys.readouterr().err == line


def test_environment_points_into_the_work_folder(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    variables = environment(place / "work", 3)
    for name in variables:
        monkeypatch.setenv(name, "before")
    monkeypatch.setattr("tempfile.tempdir", "before")
    set_environment(place / "work", 3)
    for name in ("HOME", "TMPDIR", "XDG_CACHE_HOME", "MPLCONFIGDIR", "NUMBA_CACHE_DIR", "TRITON_CACHE_DIR"):
        assert Path(os.environ[name]).is_dir()
        assert place / "work" in Path(os.environ[name]).parents
    assert os.environ["OMP_NUM_THREADS"] == "3"
    assert os.environ["NO_ET"] == os.environ["NIPYPE_NO_ET"] == "1"
    assert os.environ["ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS"] == "1"
    import tempfile

    assert tempfile.gettempdir() == str(place / "work" / "tmp")


def test_models_that_were_fetched_beforehand_are_found_where_they_lie(place: Path) -> None:
    """As ``hf download`` and torchaudio keep them, by default and where the user says otherwise."""
    code = (
        "from pathlib import Path\nimport torch\nfrom ban_bids.cli.environment import set_environment\n"
        "set_environment(Path('work').resolve(), 1)\nset_environment(Path('other').resolve(), 1)\n"
        "from ban_bids.models.huggingface import hub_cache\nprint(hub_cache(), torch.hub.get_dir())"
    )
    kinds = ("HF_", "HUGGING", "XDG_", "TORCH_HOME")
    own = {name: value for name, value in os.environ.items() if not name.startswith(kinds)} | {"HOME": str(place)}
    (place / ".cache" / "torch").mkdir(parents=True)
    home = place / ".cache" / "torch" / "hub"
    for given, hub, kept in (
        ({}, place / ".cache" / "huggingface" / "hub", home),
        ({"XDG_CACHE_HOME": "c"}, place / "c" / "huggingface" / "hub", place / "other" / "cache" / "torch" / "hub"),
        ({"HF_HOME": "h", "TORCH_HOME": "t"}, place / "h" / "hub", place / "t" / "hub"),
    ):
        variables = own | {name: str(place / folder) for name, folder in given.items()}
        done = subprocess.run([sys.executable, "-c", code], cwd=place, env=variables, capture_output=True, text=True)
        assert done.stdout.split() == [str(hub), str(kept)], done.stderr


@pytest.mark.parametrize("kept", [(), ("cache/numba/w.pt",)])
def test_a_call_that_fails_takes_back_its_empty_folders(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], kept: tuple[str, ...]
) -> None:
    def fail(settings: Settings, **_: object) -> int:
        for name in kept:
            (settings.compute.work_dir / name).write_text("")
        raise DataError("x.tsv: wrong; correct it")

    for name in environment(place, 1):
        monkeypatch.setenv(name, "before")
    monkeypatch.setattr("tempfile.tempdir", None)
    # the real pipeline imports torch and nipype, which this test does not need
    monkeypatch.setitem(sys.modules, "ban_bids.app.participant", SimpleNamespace(participant_level=fail))
    assert cli.main(["bids", "out", "participant", "--weights", "w.safetensors"]) == 65
    left = sorted(path for path in place.glob("out/**/*") if path.is_file())
    assert left == [place / "out" / "work" / name for name in (WORK_MARK, *kept) if kept]
    assert (place / "out").exists() == bool(kept)
    assert capsys.readouterr().err == "ban-bids: error: x.tsv: wrong; correct it\n"


def test_the_group_level_has_its_caches_too_and_leaves_no_empty_folder(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in environment(place, 1):
        monkeypatch.setenv(name, "before")
    fonts = place / "before" / "fontlist-v1.json"  # relative to the folder of the call
    fonts.parent.mkdir()
    fonts.write_text("[]")
    monkeypatch.setattr("tempfile.tempdir", None)
    seen = []

    def group(output_dir: Path, settings: Settings) -> int:
        seen.append((Path(os.environ["MPLCONFIGDIR"]) / fonts.name).is_file())
        return 0

    monkeypatch.setitem(sys.modules, "ban_bids.app.group", SimpleNamespace(group_level=group))
    assert cli.main(["bids", "out", "group"]) == 0
    assert seen == [True]
    assert not (place / "out" / "work").exists()


@pytest.mark.parametrize("before", [None, "mine.txt"])
def test_only_a_folder_that_was_empty_is_marked_as_ours(
    place: Path, monkeypatch: pytest.MonkeyPatch, before: str | None
) -> None:
    for name in environment(place, 1):
        monkeypatch.setenv(name, "before")
    monkeypatch.setattr("tempfile.tempdir", None)
    (place / "work").mkdir()
    if before:
        (place / "work" / before).write_text("")
    set_environment(place / "work", 1)
    assert (place / "work" / WORK_MARK).exists() == (before is None)
    set_environment(place / "work", 1)
    assert (place / "work" / WORK_MARK).exists() == (before is None)


@pytest.mark.parametrize(
    ("more", "status", "stays"), [([], 0, True), (["--clean-workdir"], 0, False), (["--clean-workdir"], 1, True)]
)
def test_the_work_folder_goes_only_where_asked_and_nobody_failed(
    place: Path, monkeypatch: pytest.MonkeyPatch, more: list[str], status: int, stays: bool
) -> None:
    def participant(settings: Settings, **_: object) -> int:
        (settings.compute.work_dir / "features").mkdir()
        return status

    for name in environment(place, 1):
        monkeypatch.setenv(name, "before")
    monkeypatch.setattr("tempfile.tempdir", None)
    monkeypatch.setitem(sys.modules, "ban_bids.app.participant", SimpleNamespace(participant_level=participant))
    assert cli.main(["bids", "out", "participant", "--weights", "w.safetensors", *more]) == status
    assert (place / "out" / "work" / "features").exists() == stays
    assert (place / "out" / "work").exists() == stays


def test_work_folder_that_cannot_be_made(place: Path) -> None:
    (place / "work").write_text("")
    with pytest.raises(UsageError, match="--work-dir"):
        set_environment(place / "work", 1)


@pytest.mark.parametrize(("text", "most"), [("100000 100000", 1), ("max 100000", None), (None, None), ("1 9", 1)])
def test_available_processors(tmp_path: Path, text: str | None, most: int | None) -> None:
    quota = tmp_path / "cpu.max"
    if text is not None:
        quota.write_text(text)
    assert cli.available_cpus(quota) == (most or len(os.sched_getaffinity(0)))


def test_parser_knows_no_abbreviations() -> None:
    assert make_parser("0").allow_abbrev is False


def test_dry_run_prints_and_writes_nothing(
    shared_data: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    tree_of: Callable[[Path], list[str]],
) -> None:
    bids = shared_data / "nullmusic"
    before = tree_of(tmp_path), tree_of(bids)
    status = cli.main([str(bids), str(tmp_path / "out"), "participant", "--dry-run", "--test-runs", "all"])
    assert status == 0
    assert (tree_of(tmp_path), tree_of(bids)) == before
    text = capsys.readouterr().out
    for path in bids.rglob("*_bold.nii.gz"):
        assert str(path) in text
    assert "--test-runs all" in text and "blues.00005.wav: 1 excerpt" in text

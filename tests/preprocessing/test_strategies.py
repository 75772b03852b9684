"""What each strategy takes out of our tables and of fMRIPrep's, against nilearn on the files themselves."""

from __future__ import annotations

import json
from dataclasses import replace
from importlib.resources import files
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from nilearn.interfaces.fmriprep import load_confounds_strategy

from ban_bids.encoding.cleaning import nuisance_basis
from ban_bids.encoding.rows import run_rows
from ban_bids.errors import DataError, UsageError
from ban_bids.inputs.types import Participant, Run
from ban_bids.preprocessing.checks import check_confounds
from ban_bids.preprocessing.confounds import confound_table, write_confounds
from ban_bids.preprocessing.result import PreprocessedParticipant, PreprocessedRun
from ban_bids.preprocessing.strategies import MOTION12, regressors, with_strategy
from ban_bids.settings import Settings

N, TR, SKIP = 150, 2.0, 2
JERK = 60


def make_run(n_volumes: int) -> Run:
    entities = (("sub", "01"), ("task", "music"))
    none = Path("none")
    return Run("01", None, "music", None, entities, none, none, TR, n_volumes, None, "k", None, ())


def participant(run: PreprocessedRun) -> PreprocessedParticipant:
    none = Path("none")
    return PreprocessedParticipant(Participant("01", (), (run.run,)), "MNI", (run,), none, none, none, "ours")


def choose(run: PreprocessedRun, strategy: str) -> PreprocessedRun:
    return with_strategy(participant(run), strategy).runs[0]


@pytest.fixture
def ours(tmp_path: Path) -> PreprocessedRun:
    """A table of ours with a jerk of the head, under the name that our outputs have."""
    rng = np.random.default_rng(0)
    motion = np.cumsum(rng.normal(0, 0.02, (N, 6)), 0) * [1, 1, 1, 0.01, 0.01, 0.01]
    motion[JERK:, 0] += 2
    shared = rng.normal(size=(N, 6)) @ rng.normal(size=(6, 400)) * 20
    series = (1000 + shared + rng.normal(0, 20, (N, 400))).astype(np.float32)
    made, metadata = confound_table(motion, series, np.arange(400) < 200, np.arange(400) > 350, SKIP, TR)
    path = tmp_path / "sub-01_task-music_desc-confounds_timeseries.tsv"
    write_confounds(made, path, metadata)
    bold = tmp_path / "sub-01_task-music_space-MNI152NLin2009cAsym_desc-preproc_bold.nii.gz"
    return PreprocessedRun(make_run(N), bold, bold, path, 1.0, SKIP)


def theirs(folder: Path, suffix: str) -> PreprocessedRun:
    """fMRIPrep's own tables, of 20.2 (old suffix) and of 21, that nilearn carries for its tests."""
    data = files("nilearn.interfaces.fmriprep") / "data"
    name = "test_desc-confounds_regressors" if suffix == "regressors" else "test-v21_desc-confounds_timeseries"
    path = folder / f"sub-01_task-music_desc-confounds_{suffix}.tsv"
    path.write_text((data / f"{name}.tsv").read_text())
    path.with_suffix(".json").write_text((data / f"{name}.json").read_text())
    n = len(pd.read_csv(path, sep="\t"))
    steady = sum(name.startswith("non_steady") for name in pd.read_csv(path, sep="\t", nrows=1))
    bold = folder / "sub-01_task-music_space-MNI152NLin2009cAsym_desc-preproc_bold.nii.gz"
    return PreprocessedRun(make_run(n), bold, bold, path, 1.0, steady)


@pytest.mark.filterwarnings("ignore:All volumes were marked:RuntimeWarning")
@pytest.mark.parametrize("strategy", ["simple", "scrubbing", "compcor"])
@pytest.mark.parametrize("source", ["ours", "timeseries", "regressors"])
def test_columns_and_volumes_are_nilearns(strategy: str, source: str, ours: PreprocessedRun, tmp_path: Path) -> None:
    (tmp_path / "fmriprep").mkdir()
    run = ours if source == "ours" else theirs(tmp_path / "fmriprep", source)
    expected, kept = load_confounds_strategy(str(run.bold), denoise_strategy=strategy, demean=False)
    chosen = choose(run, strategy)
    expected = expected[[name for name in expected if not name.startswith("cosine")]]
    varying = expected.loc[:, expected.nunique() > 1]
    assert set(chosen.regressors) == set(varying)
    values = regressors(chosen)
    np.testing.assert_allclose(values[1:], varying[list(chosen.regressors)].to_numpy()[1:])
    keep = run_rows(run.run, 1.0, chosen.non_steady, scrubbed=chosen.scrubbed, clips=()).keep
    assert np.flatnonzero(keep).tolist() == (list(range(len(values))) if kept is None else kept.tolist())
    if strategy == "scrubbing" and source != "regressors":  # nobody moves there
        assert len(chosen.scrubbed) > 0
    if keep.any():  # nilearn's example of fMRIPrep 21 moves all the time
        assert np.isfinite(nuisance_basis(values, TR, 200.0, keep=keep).basis).all()


def test_strategies_differ_as_they_should(ours: PreprocessedRun) -> None:
    simple, scrubbing, compcor = (choose(ours, name) for name in ("simple", "scrubbing", "compcor"))
    assert len(simple.regressors) == 24 + 2
    assert len(scrubbing.regressors) == 24 + 8
    assert {name[:11] for name in set(compcor.regressors) - set(simple.regressors)} == {"a_comp_cor_"}
    assert JERK in scrubbing.scrubbed
    assert not set(scrubbing.scrubbed) & set(range(SKIP))
    assert simple.scrubbed == compcor.scrubbed == ()
    note = with_strategy(participant(ours), "scrubbing").notes[-1]
    assert note == f"task-music: {len(scrubbing.scrubbed)} of {N} volumes scrubbed"


def test_the_run_says_which_volumes_are_not_steady(ours: PreprocessedRun) -> None:
    """As ``--dummy-scans`` may say another number than the table."""
    assert choose(replace(ours, non_steady=0), "simple").scrubbed == ()
    assert choose(replace(ours, non_steady=5), "simple").scrubbed == ()


def test_motion12_is_motion_differences_and_tissues(ours: PreprocessedRun) -> None:
    chosen = choose(ours, "motion12")
    assert chosen.regressors == MOTION12
    assert len(MOTION12) == 14
    values, table = regressors(chosen), pd.read_csv(ours.confounds, sep="\t")
    np.testing.assert_allclose(values[:, :6], table[list(MOTION12[:6])])
    np.testing.assert_allclose(values[1:, 6:12], np.diff(values[:, :6], axis=0), atol=1e-6)
    assert (values[0, 6:12] == 0).all()


def test_a_table_of_motion_alone_is_enough_for_motion12(ours: PreprocessedRun) -> None:
    table = pd.read_csv(ours.confounds, sep="\t")
    table[[*MOTION12[:6], "csf"]].to_csv(ours.confounds, sep="\t", index=False)
    done = with_strategy(participant(ours), "motion12")
    assert done.runs[0].regressors == MOTION12[:13]
    assert "white_matter" in done.notes[0]
    np.testing.assert_allclose(regressors(done.runs[0])[1:, 6], np.diff(table["trans_x"]))
    with pytest.raises(DataError, match=r"--confounds simple .*choose another"):
        choose(ours, "simple")
    with pytest.raises(DataError, match="--confounds scrubbing"):
        choose(ours, "scrubbing")
    with pytest.raises(DataError, match="--confounds compcor"):
        choose(ours, "compcor")


def test_what_is_missing_is_filled_and_told(ours: PreprocessedRun) -> None:
    table = pd.read_csv(ours.confounds, sep="\t")
    table["csf"] = np.nan
    table.loc[[0, 5], "white_matter"] = np.nan
    write_confounds(table, ours.confounds)
    done = with_strategy(participant(ours), "motion12")
    assert "without values or variance: csf" in done.notes[0]
    assert "taken as the mean: white_matter" in done.notes[1]
    values = regressors(done.runs[0])
    assert values.shape == (N, 13)
    assert values[[0, 5], -1] == pytest.approx(table["white_matter"].mean()), "0 would be a spike of the mean's size"
    assert values[0, MOTION12.index("trans_x_derivative1")] == 0, "the first row of a difference"
    assert np.isfinite(values).all()


def test_what_is_infinite_is_as_little_known_as_what_is_missing(ours: PreprocessedRun) -> None:
    table = pd.read_csv(ours.confounds, sep="\t")
    table.loc[5, "white_matter"], table.loc[7, "csf"] = np.nan, np.nan
    text = table.to_csv(sep="\t", index=False, na_rep="n/a").splitlines()
    for row, cell in ((5, "inf"), (7, "1e308")):
        text[row + 1] = text[row + 1].replace("n/a", cell)
    ours.confounds.write_text("\n".join(text) + "\n")
    done = with_strategy(participant(ours), "motion12")
    assert "taken as the mean: csf, white_matter" in done.notes[0]
    values = regressors(done.runs[0])
    assert values[5, -1] == pytest.approx(table["white_matter"].mean())
    assert values[7, -2] == pytest.approx(table["csf"].mean())


@pytest.mark.parametrize("strategy", ["motion12", "simple"])
def test_blank_volumes_are_scrubbed_with_what_slice_timing_spread(ours: PreprocessedRun, strategy: str) -> None:
    assert not choose(ours, strategy).scrubbed
    table = pd.read_csv(ours.confounds, sep="\t")
    table.loc[[20, N - 1], "global_signal"] = [0.4 * table["global_signal"].median(), 0]
    write_confounds(table, ours.confounds)
    done = with_strategy(participant(ours), strategy)
    assert done.runs[0].scrubbed == (18, 19, 20, 21, 22, N - 3, N - 2, N - 1)
    assert "2 volumes hold less than 70 % of the others' signal (the first is number 21)" in " ".join(done.notes)


def test_a_blank_volume_before_the_steady_state_scrubs_nothing(ours: PreprocessedRun) -> None:
    """Slice timing leaves volumes before the steady state out, here as in fMRIPrep: it spread nothing."""
    table = pd.read_csv(ours.confounds, sep="\t")
    table.loc[0, "global_signal"] = 0
    write_confounds(table, ours.confounds)
    done = with_strategy(participant(replace(ours, non_steady=1)), "motion12")
    assert done.runs[0].scrubbed == () and done.notes == ()


def test_a_word_among_displacements_is_named(ours: PreprocessedRun) -> None:
    table = pd.read_csv(ours.confounds, sep="\t").astype({"framewise_displacement": object})
    table.loc[5, "framewise_displacement"] = "far"
    write_confounds(table, ours.confounds)
    with pytest.raises(DataError, match="framewise_displacement holds what is no number"):
        choose(ours, "motion12")


def test_tables_that_do_not_fit_are_refused(ours: PreprocessedRun) -> None:
    with pytest.raises(DataError, match=f"{N} rows for {N + 1} volumes"):
        choose(replace(ours, run=make_run(N + 1)), "motion12")
    table = pd.read_csv(ours.confounds, sep="\t").drop(columns="rot_z")
    write_confounds(table, ours.confounds)
    with pytest.raises(DataError, match="no column rot_z"):
        choose(ours, "simple")
    ours.confounds.unlink()
    with pytest.raises(DataError, match="restore it, or preprocess that run again"):
        choose(ours, "motion12")


def test_aroma_takes_tissues_beside_denoised_images(ours: PreprocessedRun) -> None:
    assert choose(ours, "ica_aroma").regressors == ("csf", "white_matter")


def test_a_misspelled_strategy_is_told_the_choices(tmp_path: Path) -> None:
    settings = Settings.of(bids_dir=tmp_path, output_dir=tmp_path, level="participant")
    with pytest.raises(UsageError, match="motion12, simple, scrubbing, compcor, ica_aroma"):
        check_confounds(settings.changed(confounds="compcorr").preprocessing)
    with pytest.raises(UsageError, match="-d fmriprep=DIR"):
        check_confounds(settings.changed(confounds="ica_aroma").preprocessing)
    check_confounds(settings.changed(confounds="ica_aroma", derivatives=(("fmriprep", tmp_path),)).preprocessing)


def test_sidecars_of_components_are_what_nilearn_sorts_by(ours: PreprocessedRun) -> None:
    from nilearn.interfaces.fmriprep import load_confounds

    written = json.loads(ours.confounds.with_suffix(".json").read_text())
    for kind, prefixes in (("anat_separated", "wc"), ("temporal", "t"), ("temporal_anat_combined", "ta")):
        found, _ = load_confounds(str(ours.bold), strategy=("high_pass", "compcor"), compcor=kind)
        names = {name for name in found if "comp_cor" in name}
        assert names == {name for name in written if name[0] in prefixes and "_comp_cor_" in name}

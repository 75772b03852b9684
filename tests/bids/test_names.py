from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ban_bids.bids.names import (
    DerivativeName,
    alphanumeric,
    bas_name,
    comparison_name,
    draws_name,
    entities,
    is_bids_name,
    map_name,
    parse_name,
    sidecar,
)
from ban_bids.errors import UsageError

LABEL = st.from_regex(r"[0-9a-zA-Z+]{0,4}[0-9a-zA-Z][0-9a-zA-Z+]{0,3}", fullmatch=True)  # BIDS 1.11 has plus signs
MAYBE = st.none() | LABEL


@given(
    participant=LABEL,
    session=MAYBE,
    task=MAYBE,
    space=MAYBE,
    res=MAYBE,
    desc=MAYBE,
    stat=MAYBE,
    suffix=st.sampled_from(["statmap", "bas", "dseg"]),
    extension=st.sampled_from([".nii.gz", ".tsv", ".json"]),
)
def test_names_survive_a_round_trip(**parts):
    name = DerivativeName(**parts)
    assert parse_name(str(name)) == name


@given(space=LABEL, desc=LABEL, stat=LABEL)
def test_group_names_survive_a_round_trip(space, desc, stat):
    name = DerivativeName("statmap", ".nii.gz", space=space, desc=desc, stat=stat)
    assert str(name).startswith("group_")
    assert parse_name(f"/some/where/{name}") == name


def test_names_are_those_of_the_design():
    root = Path("/out")
    one = map_name("01", stat="r", space="S", task="T", model="ban", layer="T2T3")
    assert one.path(root) == root / "sub-01/func/sub-01_task-T_space-S_desc-banT2T3_stat-r_statmap.nii.gz"
    ceiling = map_name("01", stat="ev", space="S", task="T")
    assert str(ceiling) == "sub-01_task-T_space-S_stat-ev_statmap.nii.gz"
    assert str(bas_name("01", "T", "ban")) == "sub-01_task-T_desc-ban_bas.tsv"
    assert (
        str(DerivativeName("dseg", ".nii.gz", "01", space="S", desc="auditory"))
        == "sub-01_space-S_desc-auditory_dseg.nii.gz"
    )
    group = map_name(None, stat="t", space="S", model="ban", layer="A1")
    assert group.path(root) == root / "group_space-S_desc-banA1_stat-t_statmap.nii.gz"


def test_a_derivative_keeps_the_entities_of_its_raw_file():
    raw = (("sub", "01"), ("ses", "x"), ("task", "a+b"), ("acq", "2"), ("run", "01"))
    bold = DerivativeName.of(raw, "bold", ".nii.gz", space="S", desc="preproc")
    assert str(bold) == "sub-01_ses-x_task-a+b_acq-2_run-01_space-S_desc-preproc_bold.nii.gz"
    ends = (("from", "orig"), ("to", "boldref"), ("mode", "image"))
    moved = DerivativeName.of((*raw[:3], *ends), "xfm", ".txt", desc="hmc")
    assert str(moved) == "sub-01_ses-x_task-a+b_from-orig_to-boldref_mode-image_desc-hmc_xfm.txt"
    assert str(DerivativeName.of(raw[:1], "", ".png", desc="tsnr")) == "sub-01_desc-tsnr.png"


def test_a_sessions_own_image_lies_in_its_folder():
    name = DerivativeName("bold", ".nii.gz", "01", "x", "T", "S", desc="preproc")
    assert name.path(Path("out")) == Path("out/sub-01/ses-x/func/sub-01_ses-x_task-T_space-S_desc-preproc_bold.nii.gz")


def test_desc_is_alphanumeric():
    name = map_name("01", stat="r", space="S", task="my task", model="ban-feed_forward/2", layer="T2T3")
    assert "task-mytask" in str(name)
    assert "desc-banfeedforward2T2T3" in str(name)
    with pytest.raises(UsageError, match="another name"):
        alphanumeric("--")


def test_what_cannot_be_a_name_is_refused():
    with pytest.raises(UsageError, match="sub-a_b"):
        DerivativeName("bas", ".tsv", "a_b")
    with pytest.raises(UsageError, match="both model and layer"):
        map_name("01", stat="r", space="S", model="ban")


@pytest.mark.parametrize("name", ["sub-01_echo-1_bold.nii.gz", "bold.nii.gz", "sub-01_sub-02_bas.tsv", "x_bas.tsv"])
def test_foreign_names_are_refused(name):
    with pytest.raises(UsageError):
        parse_name(name)


def test_sidecar_ignores_dots_of_the_extension_only():
    assert sidecar(Path("a.b/x_statmap.nii.gz")) == Path("a.b/x_statmap.json")
    assert sidecar(Path("a.b/x_dseg.tsv"), ".nii.gz") == Path("a.b/x_dseg.nii.gz")


@given(participant=LABEL, task=LABEL)
def test_a_task_is_called_in_derivatives_as_in_the_raw_data(participant, task):
    for name in (
        bas_name(participant, task, "ban+2"),
        draws_name(participant, task, "ban"),
        comparison_name(participant, task),
        map_name(participant, stat="r", space="S", task=task, model="ban", layer="A1"),
    ):
        read = parse_name(str(name))
        assert (read.participant, read.task) == (participant, task)
    assert parse_name(str(bas_name(participant, task, "ban+2"))).desc == "ban2"


@given(labels=st.lists(LABEL, min_size=1, max_size=4))
def test_names_of_the_grammar_are_taken_apart_again(labels):
    pairs = list(zip(("sub", "ses", "task", "run"), labels))
    name = "_".join("-".join(pair) for pair in pairs) + "_bold.nii.gz"
    assert is_bids_name(name)
    assert list(entities(Path(name))) == pairs


@pytest.mark.parametrize(
    ("name", "right"),
    [
        ("bold.json", True),
        ("task-a+b_bold.json", True),
        ("sub-01_run-1_bold copy.nii.gz", False),
        ("sub-01_run-1 (1)_bold.nii.gz", False),
        ("sub-01_task-my_task_bold.nii.gz", False),
        ("sub-01_task-rest-1_bold.nii.gz", False),
        ("sub-01_acq-2.5mm_bold.nii.gz", False),
        ("sub-01_run-1_run-2_bold.nii.gz", False),
        ("sub-01_task-Müller_bold.nii.gz", False),
        ("._sub-01_task-a_bold.nii.gz", False),
    ],
)
def test_other_names_are_none_of_bids(name, right):
    assert is_bids_name(name) is right

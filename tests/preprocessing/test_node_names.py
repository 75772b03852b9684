"""Labels with plus signs have names in Nipype that it takes, that are distinct, and that are found again."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from nipype.pipeline.engine import Workflow

from ban_bids.preprocessing.files import node_name, participant_node, participant_of

LABEL = st.from_regex(r"[0-9a-zA-Z+]{1,8}", fullmatch=True)
RUN = st.lists(LABEL, min_size=1, max_size=3).map(
    lambda labels: "_".join("-".join(pair) for pair in zip(("task", "dir", "run"), labels))
)


@given(LABEL)
def test_a_participants_workflow(label):
    assert Workflow(name=participant_node(label)).name == participant_node(label)
    assert participant_of(participant_node(label)) == f"sub-{label}"


@given(RUN, RUN)
def test_runs_of_distinct_names_have_distinct_nodes(one, other):
    assert (node_name(one) == node_name(other)) is (one == other)


def test_runs_that_would_be_one_without_their_signs():
    names = ("task-x_dir-AP", "task-x+dir+AP", "task-x_dir+AP", "task-xdirAP")
    assert len({node_name(name) for name in names}) == len(names)

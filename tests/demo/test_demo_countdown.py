import pytest

from ban_bids.demo.countdown import Countdown, demo_steps, is_news, stage_of


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


STEPS = [("a", "first", 60.0), ("b", "second", 120.0), ("c", "third", 240.0)]


def test_usual_pace():
    assert Countdown(STEPS, Clock()).begin("a") == "[1/3] first (about 7 min left)"


@pytest.mark.parametrize(("taken", "left"), [(60.0, "6 min"), (120.0, "12 min"), (30.0, "3 min"), (6.0, "35 s")])
def test_time_left_follows_the_pace_so_far(taken, left):
    clock = Clock()
    countdown = Countdown(STEPS, clock)
    countdown.begin("a")
    clock.now = taken
    assert countdown.begin("b") == f"[2/3] second (about {left} left)"


def test_a_step_is_told_once_and_never_backwards():
    clock = Clock()
    countdown = Countdown(STEPS, clock)
    clock.now = 180.0
    assert countdown.begin("c") is not None
    assert countdown.begin("c") is None
    assert countdown.begin("a") is None
    assert countdown.begin("unknown") is None


@pytest.mark.parametrize(
    ("line", "stage"),
    [
        ("21:33:16 INFO sub-01: features of ban ...\n", "sub-01: features of ban"),
        ("21:33:16 INFO preprocessing ...\n", "preprocessing"),
        ("21:33:16 INFO preprocessing: 1 min so far\n", None),
        ("21:33:16 WARNING something ...\n", None),
        ("│ sub-01 │ ban │ done │\n", None),
    ],
)
def test_stages_in_the_log(line, stage):
    assert stage_of(line) == stage


@pytest.mark.parametrize(
    ("line", "news"),
    [
        ("21:33:16 INFO preprocessing ...\n", False),
        ("21:33:16 WARNING sub-01: a note\n", False),
        ("21:33:16 ERROR sub-01 cannot be used\n", True),
        ("│ sub-01 │ ban │ done │\n", True),
        ("\n", False),
    ],
)
def test_what_is_shown_of_the_log(line, news):
    assert is_news(line) is news


def test_every_person_and_model_is_a_step():
    keys = [key for key, _, _ in demo_steps(["01", "02"], ["ban", "logmel"])]
    assert len(keys) == len(set(keys)) == 4 + 4 + 1
    assert "sub-02: features of logmel" in keys

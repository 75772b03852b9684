from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from ban_bids.demo import story as module
from ban_bids.demo.story import story


class Tables:
    """Derivatives of which only the group's tables are asked for."""

    def __init__(self, scores: pd.DataFrame, pairs: pd.DataFrame) -> None:
        self.scores, self.pairs = scores, pairs

    def group_scores(self) -> pd.DataFrame:
        return self.scores

    def group_comparison(self) -> pd.DataFrame:
        return self.pairs


def rows(level: str, model: str, c: float, *, b: float = 0.5) -> list[dict[str, object]]:
    common = {"level": level, "model": model, "role": "scored"}
    return [
        {**common, "row": "C", "value": c, "ci_low": c - 0.1, "ci_high": c + 0.1},
        {**common, "row": "B", "value": b, "ci_low": np.nan, "ci_high": np.nan},
        {**common, "row": "layer", "value": 9.0, "ci_low": 9.0, "ci_high": 9.0},
        {**common, "role": "control", "row": "C", "value": 9.0, "ci_low": 9.0, "ci_high": 9.0},
    ]


def pair(level: str, other: str, value: float) -> dict[str, object]:
    return {"level": level, "kind": "models", "row": "C", "model": "ban", "other": other, "value": value,
            "ci_low": value - 0.05, "ci_high": value + 0.05}  # fmt: skip


@pytest.fixture
def told(monkeypatch):
    def tell(scores, pairs):
        tables = Tables(pd.DataFrame(scores), pd.DataFrame(pairs))
        monkeypatch.setattr(module, "load_derivatives", lambda out: tables)
        return story(Path("out"))

    return tell


def test_models_by_c_with_what_ban_is_ahead(told):
    scores = [*rows("group", "ban", 0.4), *rows("group", "deepcnn", 0.6), *rows("participant", "deepcnn", 0.1)]
    table = told(scores, [pair("group", "deepcnn", -0.2), pair("participant", "deepcnn", 7.0)])
    assert table["model"].tolist() == ["deepcnn", "ban"]
    assert table["C"].tolist() == ["0.60 [0.50, 0.70]", "0.40 [0.30, 0.50]"]
    assert table["B"].tolist() == ["0.50", "0.50"]
    assert table["BAS"].tolist() == ["n/a", "n/a"]
    assert table["C of ban less its C"].tolist() == ["-0.20 [-0.25, -0.15]", ""]


def test_a_single_participant_stands_for_the_group(told):
    table = told(rows("participant", "ban", 0.3, b=np.nan), [pair("participant", "logmel", 0.1)])
    assert table.loc[0, "C"] == "0.30 [0.20, 0.40]"
    assert table.loc[0, "B"] == "n/a"

from __future__ import annotations

import numpy as np
import pandas as pd

from ban_bids.reports.answer import answer

NAN = float("nan")


def score_rows(model: str, c: float, shares: tuple[float, ...], reason: str | None = None) -> list[dict[str, object]]:
    common = {"model": model, "role": "scored", "control_of": None}
    regions = [
        {**common, "row": "region", "value": share, "ci_low": NAN, "ci_high": NAN, "reason": None} for share in shares
    ]
    total = {**common, "row": "C", "value": c, "ci_low": c - 0.1, "ci_high": c + 0.1, "reason": reason}
    return [*regions, total]


def compared(kind: str, model: str, other: str, numbers: tuple[float, float, float], p: float) -> dict[str, object]:
    value, low, high = numbers
    return {
        "kind": kind, "model": model, "other": other, "row": "C",
        "value": value, "ci_low": low, "ci_high": high, "p_corrected": p,
    }  # fmt: skip


def text(scores: list[dict[str, object]], differences: list[dict[str, object]]) -> str:
    columns = ["kind", "model", "other", "row", "value", "ci_low", "ci_high", "p_corrected"]
    blocks = answer(pd.DataFrame(scores), pd.DataFrame(differences, columns=columns))
    assert len(blocks) == 1
    return " ".join(blocks[0].items)


def test_the_best_model_its_twin_and_the_next_one_are_named() -> None:
    scores = score_rows("deep", 0.3, (0.1, 0.1)) + score_rows("ban", 0.6, (0.5, 0.32))
    said = text(
        scores,
        [
            compared("control", "ban", "banuntrained", (0.12, 0.05, 0.18), 0.004),
            compared("control", "ban", "banpermuted", (0.4, 0.3, 0.5), 0.001),
            compared("models", "deep", "ban", (-0.3, -0.6, 0.1), 0.2),  # the table's order is the alphabet's
        ],
    )
    assert said.startswith("ban predicts 41 % of the explainable variance in auditory cortex (C = 0.600 [0.500, 0.700]")
    assert (
        "Its C is 0.120 [0.050, 0.180] above that of the mean of its untrained networks (corrected p = 0.004)" in said
    )
    assert "Its C is 0.300 [-0.100, 0.600] above that of the next model, deep (corrected p = 0.200; that may be" in said
    assert "permuted" not in said


def test_what_lies_below_is_said_so() -> None:
    said = text(
        score_rows("ban", 0.2, (0.04,)), [compared("control", "ban", "banuntrained", (-0.1, -0.2, -0.01), 0.03)]
    )
    assert (
        "Its C is 0.100 [0.010, 0.200] below that of the mean of its untrained networks (corrected p = 0.030)." in said
    )


def test_a_small_p_is_not_nothing() -> None:
    said = text(score_rows("ban", 0.2, (0.04,)), [compared("control", "ban", "banuntrained", (0.1, 0.01, 0.2), 0.0002)])
    assert "(corrected p < 0.001)" in said


def test_a_model_that_not_everybody_was_scored_with_says_so() -> None:
    scores = [{**row, "n": 1} for row in score_rows("deep", 0.7, (0.5,))]
    scores += [{**row, "n": 4} for row in score_rows("ban", 0.6, (0.4,))]
    assert "in auditory cortex of the one participant in whom it was scored (C = 0.700" in text(scores, [])
    assert "in whom" not in text([{**row, "n": 4} for row in scores], [])


def test_nothing_predicted_is_no_share() -> None:
    assert "predicts none of the explainable variance" in text(score_rows("ban", -0.1, (-0.02, 0.01)), [])


def test_without_a_cortical_score_its_reason_is_told() -> None:
    said = text(score_rows("ban", np.nan, (), "no clip was repeated"), [])
    assert said == "Nothing can be said of how well ban predicts auditory cortex: no clip was repeated."


def test_without_models_nothing_is_said() -> None:
    assert answer(pd.DataFrame(columns=["model", "role", "row", "value"]), pd.DataFrame()) == []

import pandas as pd
import pytest
from fake_derivatives import TASK

from ban_bids import load_derivatives
from ban_bids.bids.names import parse_name, sidecar
from ban_bids.derivatives.confusions import COLUMNS, write_confusions
from ban_bids.derivatives.dataset import write_dataset_files
from ban_bids.errors import UsageError
from ban_bids.files.json import read_json

PLACE = {"participant": "01", "task": TASK}


@pytest.fixture
def table():
    rows = [("blues", "blues", 0.75, 0.5, 3, 4), ("blues", "other", 0.25, 0.5, 3, 4)]
    return pd.DataFrame(rows, columns=list(COLUMNS))


@pytest.fixture
def root(tmp_path):
    write_dataset_files(tmp_path / "out")
    return tmp_path / "out"


def test_a_table_is_read_back_with_its_model_and_every_column_is_defined(root, table):
    path = write_confusions(root, table, {"Model": "ban-lateral"}, **PLACE, model="ban-lateral")
    assert path.name == f"sub-01_task-{TASK}_desc-banlateral_confusion.tsv"
    assert parse_name(path).suffix == "confusion"
    write_confusions(root, table.assign(model_share=[1.0, 0.0]), {"Model": "logmel"}, **PLACE, model="logmel")
    out = load_derivatives(root)
    found = out.confusions("01", model="ban-lateral")
    pd.testing.assert_frame_equal(found[list(COLUMNS)], table, check_dtype=False)
    assert set(found["model"]) == {"ban-lateral"} and set(found["task"]) == {TASK}
    assert len(out.confusions()) == 4 and out.confusions("02").empty
    assert out.confusions(model="logmel", answer="other")["model_share"].tolist() == [0.0]
    assert {name for name in COLUMNS if read_json(sidecar(path))[name]["Description"]} == set(COLUMNS)
    with pytest.raises(UsageError, match="'people' is no column"):
        out.confusions(people=1)
    assert "*_confusion.*" in (root / ".bidsignore").read_text().splitlines()


def test_genres_that_look_like_numbers_stay_names(root, table):
    write_confusions(root, table.assign(genre="07", answer=["07", "other"]), {"Model": "ban"}, **PLACE, model="ban")
    found = load_derivatives(root).confusions()
    assert found["genre"].tolist() == ["07", "07"] and found["answer"].tolist() == ["07", "other"]


def test_a_model_scored_again_without_choices_keeps_no_old_table(root, table):
    path = write_confusions(root, table, {"Model": "ban"}, **PLACE, model="ban")
    other = write_confusions(root, table, {"Model": "logmel"}, **PLACE, model="logmel")
    assert write_confusions(root, table.iloc[:0], {"Model": "ban"}, **PLACE, model="ban") is None
    assert not path.exists() and not sidecar(path).exists() and other.exists()
    assert set(load_derivatives(root).confusions()["model"]) == {"logmel"}

"""Tables that others wrote: what counts as missing there, and what is said of those that cannot be read."""

from pathlib import Path

import numpy as np
import pytest

from ban_bids.errors import DataError
from ban_bids.files.tsv import read_tsv


def test_blank_cells_are_missing_in_tables_of_others(tmp_path: Path) -> None:
    path = tmp_path / "sub-01_desc-confounds_timeseries.tsv"
    path.write_text("csf\tdvars\n1.5\t\n2.5\tNaN\n3.5\tn/a\n4.5\t0.25\n")
    table = read_tsv(path, foreign=True)
    np.testing.assert_array_equal(table["dvars"], [np.nan, np.nan, np.nan, 0.25])
    assert table["dvars"].dtype == float


def test_our_own_labels_are_never_taken_for_missing(tmp_path: Path) -> None:
    path = tmp_path / "table.tsv"
    path.write_text("model\tvalue\nNA\t1\nnull\tn/a\n")
    assert read_tsv(path)["model"].tolist() == ["NA", "null"]


@pytest.mark.parametrize("content", [b"", b"csf\tdvars\n\xff\xfe\xfa\t1\n"])
def test_what_is_no_table_is_one_line_with_the_remedy(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "confounds.tsv"
    path.write_bytes(content)
    with pytest.raises(DataError, match="confounds.tsv: not a readable table .*restore it, or preprocess that run"):
        read_tsv(path, foreign=True)
    with pytest.raises(DataError, match="run the participant level again"):
        read_tsv(path)

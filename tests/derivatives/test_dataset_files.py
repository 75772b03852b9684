import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from fake_derivatives import fake_settings, make_tree

from ban_bids import __version__, load_derivatives
from ban_bids.derivatives.dataset import source_dataset, write_dataset_files
from ban_bids.derivatives.provenance import (
    read_statuses,
    settings_toml,
    write_provenance,
    write_status,
)
from ban_bids.derivatives.quality import with_outliers, write_group_quality, write_quality
from ban_bids.errors import DataError
from ban_bids.files.atomic import write_text
from ban_bids.files.json import read_json
from ban_bids.preprocessing.quality import Measurement
from ban_bids.settings import ModelRequest


def test_description_says_who_made_it_from_what(tmp_path, monkeypatch):
    monkeypatch.setenv("BAN_BIDS_CONTAINER", "docker")
    monkeypatch.setenv("BAN_BIDS_CONTAINER_TAG", "ban-bids:1")
    path = write_dataset_files(tmp_path, [source_dataset(tmp_path, doi="doi:x")])
    content = read_json(path)
    assert content["DatasetType"] == "derivative"
    assert content["GeneratedBy"][0]["Version"] == __version__
    assert content["GeneratedBy"][0]["Container"] == {"Type": "docker", "Tag": "ban-bids:1"}
    assert content["SourceDatasets"] == [{"URL": tmp_path.as_uri(), "DOI": "doi:x"}]


def test_no_container_is_claimed_outside_one(tmp_path, monkeypatch):
    monkeypatch.delenv("BAN_BIDS_CONTAINER", raising=False)
    assert "Container" not in read_json(write_dataset_files(tmp_path))["GeneratedBy"][0]


def test_the_official_validator_finds_no_error(tmp_path):
    validator = shutil.which("bids-validator-deno") or shutil.which(
        "bids-validator-deno", path=str(Path(sys.executable).parent)
    )
    if validator is None:
        pytest.skip("bids-validator-deno is not installed; pip install 'ban-bids[test]'")
    root = make_tree(tmp_path / "out", ["01"]).root
    write_text(root / "work" / "nipype" / "x_bold.nii.gz", "x")
    write_text(root / "sub-01.html", "<html></html>")
    write_text(root / "sub-01" / "figures" / "sub-01_desc-motion.png", "x")
    write_text(root / "sub-01" / "anat" / "sub-01_from-T1w_to-MNI152NLin2009cAsym_mode-image_xfm.txt", "x")
    write_text(root / "sub-01" / "func" / "sub-01_space-T1w_desc-cortex_mask.json", "{}")
    write_text(root / "sub-01" / "func" / "sub-01_task-T_desc-confounds_timeseries.tsv", "x")
    write_quality(root, "01", [Measurement("registration_correlation", 0.8)], "ban-bids")
    write_group_quality(root, with_outliers(load_derivatives(root).quality()))
    done = subprocess.run([validator, str(root), "--ignoreWarnings"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_settings_are_toml_that_reads_back():
    odd = Path('/data/a "b" \\ é\x7f')
    settings = fake_settings(Path("/data/out")).changed(
        requests=(ModelRequest("ban", odd), ModelRequest("logmel")),
        derivatives=(("fmriprep", Path("/f")),),
        test_runs=("a", "b"),
    )
    back = tomllib.loads(settings_toml(settings))
    assert back["models"]["model"] == [f"ban={odd}", "logmel"]
    assert back["preprocessing"]["derivatives"] == ["fmriprep=/f"]
    assert back["selection"]["test_runs"] == ["a", "b"]
    assert back["models"]["allow_overlap"] is False
    assert tuple(back["encoding"]["alphas"]) == settings.encoding.alphas
    assert "gtzan_dir" not in back["models"]


def test_provenance_lists_files_and_versions(tmp_path):
    write_provenance(tmp_path, "sub-01", fake_settings(tmp_path), [Path("/b"), "/a", Path("/b")], {"Seed": 1})
    assert read_json(tmp_path / "logs" / "sub-01_files.json") == {"Seed": 1, "FilesUsed": ["/a", "/b"]}
    versions = read_json(tmp_path / "logs" / "sub-01_versions.json")
    assert versions["ban-bids"] == __version__
    assert {"torch", "himalaya", "nilearn"} <= set(versions)
    assert "pytest" not in versions


def test_statuses_read_back(tmp_path):
    write_status(tmp_path, "01", "done")
    write_status(tmp_path, "02", "failed", "x_bold.nii.gz: 3-D")
    write_status(tmp_path, "01", "failed", "features are not finite", model="ban-a")
    assert read_statuses(tmp_path) == {
        ("01", None): ("done", None),
        ("02", None): ("failed", "x_bold.nii.gz: 3-D"),
        ("01", "ban-a"): ("failed", "features are not finite"),
    }
    write_text(tmp_path / "logs" / "sub-03_status.json", "{}")
    with pytest.raises(DataError, match="sub-03_status.json"):
        read_statuses(tmp_path)
    with pytest.raises(DataError, match="sub-03_status.json"):
        read_statuses(tmp_path, "03")
    write_status(tmp_path, "011", "done")
    assert read_statuses(tmp_path, "01") == {
        ("01", None): ("done", None),
        ("01", "ban-a"): ("failed", "features are not finite"),
    }

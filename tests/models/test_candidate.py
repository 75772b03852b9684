"""What a candidate is: the older protocol adapted, names that enter files, mappings, clips of the right rate."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from ban_bids.audio import waveforms as waveforms_module
from ban_bids.audio.waveforms import HeardClip
from ban_bids.constants import AREAS
from ban_bids.errors import UsageError
from ban_bids.inputs.types import Clip
from ban_bids.models.ban import BAN
from ban_bids.models.candidate import as_candidate, layer_labels, waveforms
from ban_bids.models.config import PRESETS
from ban_bids.models.low_level import ModulationModel
from ban_bids.models.network import NetworkModel


def older(**changes: object) -> SimpleNamespace:
    """An object of the protocol before clips: waveforms at 22 050 Hz, areas."""
    attributes: dict[str, object] = {
        "name": "theirs",
        "areas": {"A1": "conv1", "T2T3": "conv5"},
        "frame_rate": {"A1": 10.0, "T2T3": 5.0},
        "genres": ["a", "b"],
        "card": None,
        "fingerprint": "f",
        "features": lambda waves: [{"A1": wave[:10, None], "T2T3": wave[:5, None]} for wave in waves],
        "genre_probabilities": lambda waves: np.array([[len(wave), 0.0] for wave in waves]),
    }
    return SimpleNamespace(**{k: v for k, v in (attributes | changes).items() if v is not ...})


def test_the_older_protocol_goes_on_working() -> None:
    model = as_candidate(older())
    assert (model.layers, model.genres, model.sampling_rate) == (("A1", "T2T3"), ("a", "b"), 22_050)
    assert model.mapping == {"A1": "A1", "T2T3": "T2T3"}  # layers called as regions stand for these
    sound = np.arange(100, dtype=np.float32)
    features = model.features([HeardClip(None, 22_050, sound)])[0]
    np.testing.assert_array_equal(features["A1"][:, 0], sound[:10])
    assert model.genre_probabilities([HeardClip(None, 22_050, sound)]).tolist() == [[100.0, 0.0]]
    named = as_candidate(older(areas=..., layers=("L0", "L1"), frame_rate={"L0": 1.0, "L1": 1.0}))
    assert (named.layers, named.mapping) == (("L0", "L1"), None)


def test_our_own_models_are_candidates_as_they_are() -> None:
    network = NetworkModel(BAN(PRESETS["ban-small"]))
    assert as_candidate(network) is network
    assert network.mapping == {area: area for area in AREAS}
    low_level = ModulationModel()
    assert as_candidate(low_level) is low_level
    assert low_level.mapping is None


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"fingerprint": ...}, "lacks fingerprint"),
        ({"areas": ...}, "lacks layers"),
        ({"mapping": None, "layers": ("A1", "T2T3")}, "lacks sampling_rate"),
        ({"mapping": None, "sampling_rate": 1}, "lacks layers"),
        ({"name": "The-irs"}, "'The-irs' is not of the form"),
        ({"frame_rate": {"A1": 1.0}}, "layer T2T3 has no frame rate"),
        ({"areas": ("a.b", "ab")}, "'a.b' and 'ab' would both be named ab"),
        ({"mapping": {"A1": "V1"}, "sampling_rate": 1, "layers": ("A1", "T2T3")}, "'V1' is no region"),
    ],
)
def test_what_is_no_candidate_is_told_why(changes: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        as_candidate(older(**changes))


def test_labels_are_letters_and_digits_and_never_the_joint_models() -> None:
    assert layer_labels(("encoder.layers.0", "L 1")) == {"encoder.layers.0": "encoderlayers0", "L 1": "L1"}
    with pytest.raises(UsageError, match="layer 'Jo-int' would be named Joint in files"):
        layer_labels(("A1", "Jo-int"))


def test_clips_are_rendered_when_they_are_heard_and_once(monkeypatch: pytest.MonkeyPatch) -> None:
    rendered = []
    monkeypatch.setattr(waveforms_module, "render_clip", lambda *call: rendered.append(call) or np.zeros(8_000))
    clip = Clip(Path("one.wav"), 1.0, 0.5, "one")
    heard = HeardClip(clip, 16_000)
    assert not rendered
    assert str(heard) == "one.wav, 1 to 1.5 s"
    assert heard.waveform is heard.waveform
    assert rendered == [(clip, 16_000)]
    assert heard.seconds == 0.5
    quiet = HeardClip.silence(2.0, 100)
    assert (quiet.clip, quiet.seconds, float(np.ptp(quiet.waveform))) == (None, 2.0, 0.0)
    assert quiet.waveform.dtype == np.float32
    with pytest.raises(ValueError, match="clips at 16000 Hz for a model that hears 22050 Hz"):
        waveforms([heard], 22_050)

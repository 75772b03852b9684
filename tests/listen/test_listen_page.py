"""The page of a listening experiment without a browser: texts, colours, and nothing that the policy forbids."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest

import ban_bids

LISTEN = Path(ban_bids.__file__).parent / "listen"
SCRIPT = (LISTEN / "web" / "listen.js").read_text(encoding="utf-8")
STYLE = (LISTEN / "web" / "listen.css").read_text(encoding="utf-8")
HTML = (LISTEN / "web" / "index.html").read_text(encoding="utf-8")


def _texts() -> dict[str, Any]:
    return tomllib.loads((LISTEN / "texts.toml").read_text(encoding="utf-8"))


def _places(text: str) -> set[str]:
    return set(re.findall(r"\{(\w+)\}", text))


def test_both_languages_say_the_same_things_with_the_same_places() -> None:
    texts = _texts()
    assert list(texts["en"]) == list(texts["de"])
    assert {key: _places(text) for key, text in texts["en"].items()} == {
        key: _places(text) for key, text in texts["de"].items()
    }
    assert list(texts["genres"]["en"]) == list(texts["genres"]["de"])


def test_the_page_finds_every_text_and_fills_every_place_that_is_its_own() -> None:
    first, rest = re.split(r"^const part =", SCRIPT, flags=re.MULTILINE)
    built_in = {name: set(re.findall(r"^    (\w+):", part, re.MULTILINE)) for name, part in _first(first).items()}
    assert built_in["en"] == built_in["de"]
    used = set(re.findall(r'say\(\s*"(\w+)"', rest)) | {"practice_trial", "trial", "practice_start", "main_start"}
    used |= {f"confidence_{k}" for k in range(1, 5)} | {f"{part}_title" for part in ("study", "consent", "data")}
    used |= {"study", "consent", "data", "link_used", "link_unknown"}
    texts = _texts()["en"]
    assert used - built_in["en"] == set(texts)  # nothing is missing, and nothing stands there that nobody reads
    assert not built_in["en"] & set(texts)
    experimenter = {"institution", "contact", "minutes", "ethics", "deletion"}
    for key, text in texts.items():
        for place in _places(text) - experimenter:
            assert re.search(rf'"{key}"[^;]*\b{place}\b', rest), f"{{{place}}} of {key} is never filled in"


def _first(script: str) -> dict[str, str]:
    _, en, de = re.split(r"^  (?:en|de): \{$", script, flags=re.MULTILINE)
    return {"en": en, "de": de}


def _luminance(colour: str) -> float:
    parts = [int(colour[k : k + 2], 16) / 255 for k in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def _contrast(one: str, other: str) -> float:
    """Contrast of WCAG 2.2, section 1.4.3."""
    low, high = sorted((_luminance(one), _luminance(other)))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("theme", [0, 1], ids=["light", "dark"])
def test_every_text_stands_out_from_its_ground(theme: int) -> None:
    assert _contrast("#000000", "#ffffff") == pytest.approx(21)
    assert _contrast("#777777", "#ffffff") == pytest.approx(4.48, abs=0.01)  # the well-known grey that just fails
    colours = dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6});", STYLE.split(":root {")[1 + theme].split("}")[0]))
    texts = [("text", "page"), ("text", "card"), ("text", "tint"), ("soft", "page"), ("soft", "card"), ("soft", "tint")]
    texts += [("on-strong", "strong"), ("warn", "warn-tint")]
    edges = [("line", "page"), ("line", "card"), ("strong", "page"), ("strong", "card")]
    for pairs, least in ((texts, 4.5), (edges, 3.0)):  # 1.4.3 AA; 1.4.11
        low = {pair: _contrast(*(colours[name] for name in pair)) for pair in pairs}
        assert min(low.values()) >= least, low


def test_nothing_is_written_that_the_policy_forbids_or_that_leaves_the_server() -> None:
    assert not re.search(r"<script(?![^>]*\bsrc=)|<style|\sstyle=|\son\w+=", HTML)
    for text in (HTML, SCRIPT, STYLE):
        assert not re.search(r"https?:|//[a-z]+\.|@import|url\(", text)
    assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\b|new Function", SCRIPT)

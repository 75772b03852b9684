"""The server takes each answer once, from the right browser, in order, and nothing else from anybody."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from threading import Barrier
from typing import Any

import pytest
from made_experiments import CHOICES, CODES, experiment, write
from starlette.testclient import TestClient

from ban_bids.cli.listen import main
from ban_bids.errors import DataError
from ban_bids.listen.experiment import Layout, write_experiment
from ban_bids.listen.schedule import trials
from ban_bids.listen.server import application, describe_links, open_desk
from ban_bids.listen.store import answered, read_answer, read_answers, read_session
from ban_bids.listen.texts import TEXTS, read_texts

ANNA, BEN = (f"/p/{code}" for code in CODES.values())
TRIALS = trials(experiment(), "anna")


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    return write(tmp_path / "experiment", experiment())


def client_of(layout: Layout) -> TestClient:
    web = layout.root.parent / "web"
    web.mkdir(exist_ok=True)
    for name in ("index.html", "listen.js", "listen.css"):
        (web / name).write_text(f"this is {name}")
    return TestClient(application(open_desk(layout.root), web=web))


@pytest.fixture
def client(layout: Layout) -> TestClient:
    return client_of(layout)


def begin(client: TestClient, link: str = ANNA, key: str | None = None, language: str = "en") -> dict[str, Any]:
    reply = client.post(f"{link}/begin", json={"key": key, "language": language})
    assert reply.status_code == 200, reply.text
    return dict(reply.json())


def answer(key: str, number: int = 1, **changes: Any) -> dict[str, Any]:
    given = {"key": key, "number": number, "response": "rock", "confidence": 2, "response_time_ms": 950.5, "plays": 1}
    return {**given, **changes}


def test_a_whole_session(client: TestClient, layout: Layout) -> None:
    assert client.get(ANNA).text == "this is index.html"
    told = begin(client)
    assert set(told) == {"key", "languages", "texts", "choices", "confidence", "trials", "answered", "finished"}
    assert told["languages"] == ["en", "de"]
    assert told["choices"] == list(CHOICES)
    assert (told["confidence"], told["answered"], told["finished"]) == (True, [], False)
    assert told["trials"] == [
        {"number": one.number, "kind": one.kind, "clip": one.clip, "expected": one.expected} for one in TRIALS
    ]
    assert len(TRIALS) == 4 + 1 + 1 + 1
    key = told["key"]
    for trial in TRIALS:
        sound = client.get(f"{ANNA}/clips/{trial.clip}.wav", params={"key": key})
        assert (sound.status_code, sound.headers["content-type"]) == (200, "audio/wav")
        assert sound.content == layout.clip(trial.clip).read_bytes()
        early = client.post(f"{ANNA}/finish", json={"key": key})
        assert early.status_code == 409
        response = trial.expected or CHOICES[trial.number % 3]
        reply = client.post(f"{ANNA}/answers", json=answer(key, trial.number, response=response))
        assert (reply.status_code, reply.json()) == (200, {"answered": trial.number})
    assert client.post(f"{ANNA}/finish", json={"key": key}).status_code == 200
    end = read_session(layout, "anna")
    assert end is not None and end.finished is not None
    # once more changes nothing
    assert client.post(f"{ANNA}/finish", json={"key": key}).status_code == 200
    assert read_session(layout, "anna") == end
    again = begin(client, key=key)
    assert (again["finished"], again["answered"]) == (True, [one.number for one in TRIALS])
    kept = read_answers(layout, "anna")
    assert [one["kind"] for one in kept] == [one.kind for one in TRIALS]
    assert [one["clip"] for one in kept] == [one.clip for one in TRIALS]
    assert [one["response"] for one in kept] == [one.expected or CHOICES[one.number % 3] for one in TRIALS]
    assert not layout.answers("ben").exists()


def test_the_soundcheck_is_served_whole_and_in_parts(client: TestClient, layout: Layout) -> None:
    address, key = f"{ANNA}/clips/soundcheck.wav", begin(client)["key"]
    whole = client.get(address, params={"key": key})
    assert whole.content == layout.clip("soundcheck").read_bytes()
    part = client.get(address, params={"key": key}, headers={"Range": "bytes=10-19"})
    assert (part.status_code, part.content) == (206, whole.content[10:20])


WRONG_ANSWERS: list[dict[str, Any]] = [
    {"more": 1},
    {"kind": "main"},
    {"number": "1"},
    {"number": True},
    {"number": 1.0},
    {"number": 0},
    {"number": -1},
    {"number": 2},
    {"number": 10**40},
    {"number": None},
    {"response": "jazz"},
    {"response": ""},
    {"response": 3},
    {"response": None},
    {"response": ["rock"]},
    {"response": "\ud800"},
    {"confidence": 0},
    {"confidence": 5},
    {"confidence": "3"},
    {"confidence": 2.0},
    {"confidence": True},
    {"confidence": None},
    {"response_time_ms": -0.1},
    {"response_time_ms": 1e12},
    {"response_time_ms": "5"},
    {"response_time_ms": None},
    {"response_time_ms": False},
    {"plays": 0},
    {"plays": 10**9},
    {"plays": 1.5},
    {"plays": None},
    {"key": None},
    {"key": 5},
]


@pytest.mark.parametrize("change", WRONG_ANSWERS, ids=str)
def test_what_is_no_answer_is_refused_in_one_line_and_leaves_nothing(
    client: TestClient, layout: Layout, change: dict[str, Any]
) -> None:
    key = begin(client)["key"]
    reply = client.post(f"{ANNA}/answers", content=json.dumps({**answer(key), **change}))
    assert reply.status_code == 400
    assert set(reply.json()) == {"error"}
    assert len(reply.json()["error"].splitlines()) == 1
    assert answered(layout, "anna") == ()


@pytest.mark.parametrize("name", answer(""))
def test_every_field_is_needed(client: TestClient, layout: Layout, name: str) -> None:
    body = answer(begin(client)["key"])
    del body[name]
    assert client.post(f"{ANNA}/answers", json=body).status_code == 400
    assert answered(layout, "anna") == ()


@pytest.mark.parametrize(
    "changes",
    [
        {"response_time_ms": 0},
        {"response_time_ms": 86_400_000},
        {"plays": 10_000},
        {"confidence": 1},
        {"confidence": 4},
    ],
    ids=str,
)
def test_answers_at_the_edges_are_taken(client: TestClient, layout: Layout, changes: dict[str, Any]) -> None:
    body = answer(begin(client)["key"], **changes)
    assert client.post(f"{ANNA}/answers", json=body).status_code == 200
    found = read_answer(layout, "anna", 1)
    assert {name: found[name] for name in body if name != "key"} == {n: v for n, v in body.items() if n != "key"}


@pytest.mark.parametrize("asked", [True, False])
def test_confidence_is_there_where_it_is_asked_for(tmp_path: Path, asked: bool) -> None:
    layout = write(tmp_path / "e", experiment(2, repeats=0, confidence=asked))
    client = client_of(layout)
    key = begin(client)["key"]
    for trial in trials(experiment(2, repeats=0), "anna"):
        with_it = client.post(f"{ANNA}/answers", json=answer(key, trial.number))
        assert with_it.status_code == (200 if asked else 400)
        if not asked:
            assert client.post(f"{ANNA}/answers", json=answer(key, trial.number, confidence=None)).status_code == 200


def test_a_check_may_be_answered_without_confidence(client: TestClient, layout: Layout) -> None:
    key = begin(client)["key"]
    for trial in TRIALS:
        body = answer(key, trial.number, confidence=None if trial.kind == "check" else 1)
        assert client.post(f"{ANNA}/answers", json=body).status_code == 200
    assert [one["kind"] for one in read_answers(layout, "anna") if one["confidence"] is None] == ["check"]


BODIES = {
    "nothing": (b"", 400),
    "a list": (b"[]", 400),
    "null": (b"null", 400),
    "half": (b'{"key": "a"', 400),
    "no text": (b'{"key": "\xff"}', 400),
    "nested": (b"[" * 4000, 400),
    "no number": (b'{"key":"k","number":1,"response":"rock","confidence":1,"response_time_ms":NaN,"plays":1}', 400),
    "infinite": (b'{"key":"k","number":1,"response":"rock","confidence":1,"response_time_ms":Infinity,"plays":1}', 400),
    "long": (b'{"key": "' + b"a" * 4096 + b'"}', 413),
    "4096 bytes": (b'{"key": "' + b"a" * 4085 + b'"}', 400),
}


@pytest.mark.parametrize("name", BODIES)
@pytest.mark.parametrize("what", ["begin", "answers", "finish"])
def test_bodies_that_are_none_are_refused(client: TestClient, layout: Layout, name: str, what: str) -> None:
    body, status = BODIES[name]
    if name == "4096 bytes" and what == "finish":
        status = 403  # well formed, with a key of nobody
    assert client.post(f"{ANNA}/{what}", content=body).status_code == status
    assert read_session(layout, "anna") is None


def test_a_body_without_a_declared_length_is_limited_too(client: TestClient) -> None:
    sent = []

    def endless() -> Iterator[bytes]:
        for _ in range(100):
            sent.append(1)
            yield b" " * 1000

    assert client.post(f"{ANNA}/answers", content=endless()).status_code == 413


def test_an_infinite_time_behind_a_large_exponent_is_refused(client: TestClient) -> None:
    text = json.dumps(answer(begin(client)["key"])).replace("950.5", "1e999")
    assert client.post(f"{ANNA}/answers", content=text).status_code == 400


def test_a_link_belongs_to_the_first_browser(client: TestClient, layout: Layout) -> None:
    first = begin(client)["key"]
    client.post(f"{ANNA}/answers", json=answer(first))
    for key in (None, "another-key-of-another-browser", "", "\ud800"):
        body = json.dumps({"key": key, "language": "en"})
        assert client.post(f"{ANNA}/begin", content=body).status_code == 403
    assert begin(client, key=first)["answered"] == [1]
    assert begin(client, BEN)["answered"] == []
    # the experimenter frees the link: another browser goes on where the first one stopped
    layout.session("anna").unlink()
    second = begin(client)
    assert second["answered"] == [1]
    assert second["key"] != first
    assert client.post(f"{ANNA}/answers", json=answer(first, 2)).status_code == 403
    assert client.post(f"{ANNA}/answers", json=answer(second["key"], 2)).status_code == 200


def test_a_lost_first_reply_locks_nobody_out_who_drew_a_key(client: TestClient) -> None:
    drawn = "drawn-by-the-page-0123456789"
    assert begin(client, key=drawn)["key"] == drawn
    assert begin(client, key=drawn)["key"] == drawn
    # one that could be guessed is not taken
    for key in ("short", "", "x" * 65, "with blanks and more than 16", "\ud800" * 20):
        body = json.dumps({"key": key, "language": "en"})
        assert client.post(f"{BEN}/begin", content=body).status_code == 400
    assert begin(client, BEN, key="x" * 64)["key"] == "x" * 64


def test_of_two_browsers_at_once_one_gets_the_link(client: TestClient) -> None:
    together = Barrier(6)

    def open_it(_: int) -> int:
        together.wait()
        return client.post(f"{ANNA}/begin", json={"key": None, "language": "en"}).status_code

    with ThreadPoolExecutor(6) as pool:
        assert sorted(pool.map(open_it, range(6))) == [200, *[403] * 5]


def test_another_key_opens_nothing(client: TestClient, layout: Layout) -> None:
    key = begin(client)["key"]
    other = begin(client, BEN)["key"]
    for wrong in (other, "", "x" * 40, "é", "\ud800"):
        assert client.post(f"{ANNA}/answers", content=json.dumps(answer(wrong))).status_code == 403
        assert client.post(f"{ANNA}/finish", content=json.dumps({"key": wrong})).status_code == 403
    for address in (
        f"{ANNA}/clips/clip-1.wav",
        f"{ANNA}/clips/clip-1.wav?key={other}",
        f"{BEN}/clips/clip-1.wav?key={key}",
    ):
        assert client.get(address).status_code == 403
    assert answered(layout, "anna") == ()


def test_before_the_beginning_nothing_is_open(client: TestClient) -> None:
    assert client.get(f"{ANNA}/clips/clip-1.wav?key=").status_code == 403
    assert client.post(f"{ANNA}/answers", json=answer("")).status_code == 403
    assert client.post(f"{ANNA}/finish", json={"key": ""}).status_code == 403


def test_languages(client: TestClient, layout: Layout) -> None:
    told = begin(client, language="de")
    texts = read_texts(TEXTS)
    assert told["texts"] == texts["de"] != texts["en"]
    assert told["texts"]["genres"]["classical"] == "Klassik"
    assert begin(client, key=told["key"], language="en")["texts"] == texts["en"]
    session = read_session(layout, "anna")
    assert session is not None and (session.language, session.key) == ("en", told["key"])
    refused = client.post(f"{ANNA}/begin", json={"key": told["key"], "language": "xx"})
    assert refused.status_code == 400
    assert "en, de" in refused.json()["error"]


def test_a_language_may_be_added(layout: Layout) -> None:
    text = layout.texts.read_text(encoding="utf-8")
    layout.texts.write_text(text.replace("[de]", "[nl]").replace("[genres.de]", "[genres.nl]"), encoding="utf-8")
    assert begin(client_of(layout), language="nl")["languages"] == ["en", "nl"]


def test_an_answer_sent_again_counts_once_and_another_is_refused(client: TestClient, layout: Layout) -> None:
    key = begin(client)["key"]
    body = answer(key)
    assert [client.post(f"{ANNA}/answers", json=body).json() for _ in range(3)] == [{"answered": 1}] * 3
    before = (layout.answers("anna") / "0001.json").read_bytes()
    for change in ({"response": "blues"}, {"confidence": 3}, {"response_time_ms": 951}, {"plays": 2}):
        assert client.post(f"{ANNA}/answers", json={**body, **change}).status_code == 409
    assert client.post(f"{ANNA}/answers", json=answer(key, 2)).json() == {"answered": 2}
    # also later on
    assert client.post(f"{ANNA}/answers", json=body).status_code == 200
    assert client.post(f"{ANNA}/answers", json={**body, "response": "blues"}).status_code == 409
    assert (layout.answers("anna") / "0001.json").read_bytes() == before
    assert answered(layout, "anna") == (1, 2)


def test_of_different_answers_at_once_one_is_kept_and_only_its_sender_is_told_so(
    client: TestClient, layout: Layout
) -> None:
    key, together = begin(client)["key"], Barrier(6)

    def send(who: int) -> tuple[int, int]:
        together.wait()
        return client.post(f"{ANNA}/answers", json=answer(key, plays=who % 3 + 1)).status_code, who % 3 + 1

    with ThreadPoolExecutor(6) as pool:
        replies = list(pool.map(send, range(6)))
    kept = read_answer(layout, "anna", 1)["plays"]
    assert sorted(replies) == sorted((200 if plays == kept else 409, plays) for _, plays in replies)


def test_answers_come_in_order(client: TestClient, layout: Layout) -> None:
    key = begin(client)["key"]
    for number in (2, 3, len(TRIALS), len(TRIALS) + 1):
        refused = client.post(f"{ANNA}/answers", json=answer(key, number))
        assert refused.status_code == 400
        assert "trial 1" in refused.json()["error"]
    for trial in TRIALS:
        assert client.post(f"{ANNA}/answers", json=answer(key, trial.number)).status_code == 200
    assert client.post(f"{ANNA}/answers", json=answer(key, len(TRIALS) + 1)).status_code == 400
    assert answered(layout, "anna") == tuple(range(1, len(TRIALS) + 1))


UNKNOWN = [
    "nobody",
    "%2e%2e",
    "%2e%2e%2fpeople.tsv",
    "code-of-anna-0001%00",
    "code-of-anna-000",
    "é",
    "%ff",
    "%F0%9F%8E%B5",
]


@pytest.mark.parametrize("code", UNKNOWN)
def test_unknown_links_lead_nowhere(client: TestClient, code: str) -> None:
    assert client.get(f"/p/{code}").status_code == 404
    for what in ("begin", "answers", "finish"):
        assert client.post(f"/p/{code}/{what}", json={"key": None, "language": "en"}).status_code == 404
    assert client.get(f"/p/{code}/clips/clip-1.wav").status_code == 404


@pytest.mark.parametrize(
    "name",
    ["nothing.wav", "..%2f..%2fpeople.tsv", "..%2fsoundcheck.wav", "%2e%2e/soundcheck.wav", "clip-1%00.wav", "clip-1",
     "clip-1.wav.wav", "CLIP-1.wav", "%2fetc%2fpasswd", ".wav", "..wav"],
)  # fmt: skip
def test_nothing_but_clips_of_the_experiment_is_served(client: TestClient, layout: Layout, name: str) -> None:
    (layout.root / "clips" / "nothing.wav").write_bytes(b"not of the experiment")
    key = begin(client)["key"]
    assert client.get(f"{ANNA}/clips/{name}", params={"key": key}).status_code == 404


@pytest.mark.parametrize("name", ["index.html", "..%2fserver.py", "%2e%2e%2fsecret", "", "listen.js%00", "listen.js/x"])
def test_nothing_but_the_page_is_static(client: TestClient, layout: Layout, name: str) -> None:
    (layout.root.parent / "secret").write_text("secret")
    assert client.get(f"/static/{name}").status_code == 404


def test_the_page_and_its_files(client: TestClient) -> None:
    for address, kind in (
        (ANNA, "text/html"),
        ("/static/listen.js", "text/javascript"),
        ("/static/listen.css", "text/css"),
    ):
        found = client.get(address)
        assert found.status_code == 200
        assert found.headers["content-type"].split(";") == [kind, " charset=utf-8"]
    welcome = client.get("/").text
    assert "personal link" in welcome and "persönlichen Link" in welcome
    assert not any(code in welcome for code in CODES.values())


def test_every_reply_carries_the_headers_and_no_cookie(client: TestClient) -> None:
    key = begin(client)["key"]
    replies = [
        client.get("/"),
        client.get(ANNA),
        client.get("/nothing"),
        client.get("/p/nobody"),
        client.get("/static/listen.js"),
        client.get(f"{ANNA}/clips/clip-1.wav", params={"key": key}),
        client.get(f"{ANNA}/clips/clip-1.wav"),
        client.get(f"{ANNA}/answers"),
        client.put(ANNA),
        client.post(f"{ANNA}/answers", content=b"x"),
        client.post(f"{ANNA}/answers", json=answer(key)),
    ]
    assert [reply.status_code for reply in replies] == [200, 200, 404, 404, 200, 200, 403, 405, 405, 400, 200]
    for reply in replies:
        assert reply.headers["content-security-policy"] == "default-src 'self'; media-src 'self' blob:"
        assert reply.headers["x-content-type-options"] == "nosniff"
        assert reply.headers["cache-control"] == "no-store"
        assert reply.headers["referrer-policy"] == "no-referrer"
        assert "set-cookie" not in reply.headers


def test_what_cannot_be_kept_is_not_confirmed_and_may_be_sent_again(
    client: TestClient, layout: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = begin(client)["key"]

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "link", full)
        refused = client.post(f"{ANNA}/answers", json=answer(key))
    assert refused.status_code == 503
    assert str(layout.root) not in refused.text, "paths are nothing for browsers"
    assert answered(layout, "anna") == ()
    assert client.post(f"{ANNA}/answers", json=answer(key)).status_code == 200


def test_a_damaged_file_is_the_experimenters_trouble(client: TestClient, layout: Layout) -> None:
    key = begin(client)["key"]
    client.post(f"{ANNA}/answers", json=answer(key))
    (layout.answers("anna") / "0001.json").write_text("{")
    assert client.post(f"{ANNA}/answers", json=answer(key)).status_code == 503
    layout.session("anna").write_text("{")
    assert client.post(f"{ANNA}/begin", json={"key": key, "language": "en"}).status_code == 503
    assert begin(client, BEN)["answered"] == []


# --- what is refused at the start


def test_a_text_that_is_missing_is_named(layout: Layout) -> None:
    text = layout.texts.read_text(encoding="utf-8")
    head, german, rest = text.partition("[de]")
    layout.texts.write_text(head + german + rest.replace("\nagree = ", "\nagreed = ", 1), encoding="utf-8")
    with pytest.raises(DataError, match=r"texts\.toml: \[de\] lacks agree;"):
        open_desk(layout.root)


@pytest.mark.parametrize("text", ["", "not = [toml", 'title = "x"', "[en]\ntitle = 3", "genres = 3\n[en]"])
def test_texts_that_are_none_are_refused(layout: Layout, text: str) -> None:
    layout.texts.write_text(text)
    with pytest.raises(DataError, match=r"texts\.toml"):
        open_desk(layout.root)


def test_names_of_choices_must_be_texts(layout: Layout) -> None:
    text = layout.texts.read_text(encoding="utf-8")
    layout.texts.write_text(text.replace('"Klassik"', "3"), encoding="utf-8")
    with pytest.raises(DataError, match=r"\[genres\.de\]"):
        open_desk(layout.root)


def test_places_that_nobody_filled_are_told(layout: Layout, caplog: pytest.LogCaptureFixture) -> None:
    open_desk(layout.root)
    assert "{contact}" in caplog.text
    assert "{count}" not in caplog.text, "the page fills that one"
    caplog.clear()
    text = layout.texts.read_text(encoding="utf-8")
    for place in ("institution", "contact", "minutes", "ethics", "deletion"):
        text = text.replace(f"{{{place}}}", "filled")
    layout.texts.write_text(text, encoding="utf-8")
    open_desk(layout.root)
    assert "to be filled" not in caplog.text


def test_a_missing_sound_is_found_before_anybody_listens(layout: Layout) -> None:
    layout.clip("clip-2").unlink()
    with pytest.raises(DataError, match=r"clip-2\.wav: missing"):
        open_desk(layout.root)


def test_an_experiment_that_was_changed_after_answers_is_refused(layout: Layout) -> None:
    client = client_of(layout)
    key = begin(client)["key"]
    for number in range(1, 5):
        client.post(f"{ANNA}/answers", json=answer(key, number))
    open_desk(layout.root)
    write_experiment(layout, experiment(seed=8))
    with pytest.raises(DataError, match="answers another question"):
        open_desk(layout.root)


def test_a_disk_without_links_is_refused_at_once(layout: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    def link(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", link)
    with pytest.raises(DataError, match="hard links"):
        open_desk(layout.root)


def test_the_experimenter_is_told_how_far_people_are(client: TestClient, layout: Layout) -> None:
    key = begin(client)["key"]
    client.post(f"{ANNA}/answers", json=answer(key))
    said = describe_links(open_desk(layout.root), "http://127.0.0.1:8000")
    assert f"anna  http://127.0.0.1:8000{ANNA}  (1 of {len(TRIALS)} answered)" in said
    assert f"ben  http://127.0.0.1:8000{BEN}  (not opened)" in said
    assert str(layout.root / "answers") in said
    for trial in TRIALS[1:]:
        client.post(f"{ANNA}/answers", json=answer(key, trial.number))
    client.post(f"{ANNA}/finish", json={"key": key})
    assert f"{ANNA}  (finished)" in describe_links(open_desk(layout.root), "http://127.0.0.1:8000")


def test_nothing_is_left_of_the_try_to_write(layout: Layout) -> None:
    open_desk(layout.root)
    assert list(layout.answers("").iterdir()) == []


def test_without_the_extra_one_line_says_what_to_install(
    layout: Layout, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    monkeypatch.delitem(sys.modules, "ban_bids.listen.server")
    assert main(["serve", str(layout.root)]) == 2
    assert capsys.readouterr().err.splitlines() == [
        "ban-bids-listen: error: serve: uvicorn is missing; pip install 'ban-bids[listen]'"
    ]


def test_a_port_that_is_taken_is_named(layout: Layout, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert main(["serve", str(layout.root), "--port", str(port)]) == 2
    assert f"--port {port}" in capsys.readouterr().err


# --- a process of its own


class Served:
    """A real server process, and one browser that speaks HTTP with it."""

    def __init__(self, process: subprocess.Popen[str], port: int, links: dict[str, str]) -> None:
        self.process, self.port, self.links = process, port, links

    def ask(self, method: str, path: str, body: object = None) -> tuple[int, bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            connection.request(method, path, None if body is None else json.dumps(body))
            reply = connection.getresponse()
            return reply.status, reply.read()
        finally:
            connection.close()


def _wait_for(port: int, process: subprocess.Popen[str]) -> None:
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=5).close()
            return
        except ConnectionRefusedError:
            assert process.poll() is None, "the server has ended"
            time.sleep(0.02)


@contextmanager
def served(root: Path, port: int = 0) -> Iterator[Served]:
    command = [sys.executable, "-m", "ban_bids.cli.listen", "serve", str(root), "--port", str(port)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=environment
    ) as process:
        try:
            assert process.stdout is not None
            links: dict[str, str] = {}
            for line in process.stdout:
                if line.startswith("  "):
                    links[line.split()[0]] = line.split()[1]
                if line.startswith("Stop with"):
                    break
            port = int(links["anna"].split(":")[2].split("/")[0])
            _wait_for(port, process)
            yield Served(process, port, links)
        finally:
            if process.poll() is None:
                process.kill()


def test_a_killed_server_loses_nothing_and_people_go_on(tmp_path: Path) -> None:
    made = experiment(12, repeats=3)
    layout = write(tmp_path / "experiment", made)
    total, confirmed = len(trials(made, "anna")), []
    with served(layout.root) as server:
        port = server.port
        assert server.links == {name: f"http://127.0.0.1:{port}/p/{code}" for name, code in CODES.items()}
        told = json.loads(server.ask("POST", f"{ANNA}/begin", {"key": None, "language": "de"})[1])
        try:
            for number in range(1, total):
                if number == 8:  # the process dies while this answer is on its way, before or after it was kept
                    os.kill(server.process.pid, signal.SIGKILL)
                status, _ = server.ask("POST", f"{ANNA}/answers", answer(told["key"], number))
                confirmed += [number] if status == 200 else []
        except (OSError, http.client.HTTPException):
            pass  # the connection broke
        assert server.process.wait(30) == -signal.SIGKILL
    assert confirmed[:7] == list(range(1, 8))
    assert len(confirmed) < total - 1
    assert set(confirmed) <= set(answered(layout, "anna"))
    with served(layout.root, port) as server:
        assert server.port == port
        again = json.loads(server.ask("POST", f"{ANNA}/begin", {"key": told["key"], "language": "de"})[1])
        assert again["trials"] == told["trials"]
        assert again["answered"] == list(answered(layout, "anna"))
        # the one that was not confirmed is sent again, whether it had been kept or not
        for number in range(len(confirmed) + 1, total + 1):
            assert server.ask("POST", f"{ANNA}/answers", answer(told["key"], number))[0] == 200
        assert server.ask("POST", f"{ANNA}/finish", {"key": told["key"]})[0] == 200
        server.process.send_signal(signal.SIGINT)
        rest, _ = server.process.communicate(timeout=30)
        assert server.process.returncode == 0
        assert rest.startswith("Stopped; all answers are in")
    assert [one["number"] for one in read_answers(layout, "anna")] == list(range(1, total + 1))


def test_paths_as_no_browser_would_send_them(tmp_path: Path) -> None:
    layout = write(tmp_path / "experiment", experiment())
    with served(layout.root) as server:
        key = json.loads(server.ask("POST", f"{ANNA}/begin", {"key": None, "language": "de"})[1])["key"]
        assert server.ask("GET", f"{ANNA}/clips/clip-1.wav?key={key}")[0] == 200
        for path in (
            f"{ANNA}/clips/../people.tsv?key={key}",
            f"{ANNA}/clips/../../../people.tsv?key={key}",
            f"{ANNA}/clips/%2e%2e%2fpeople.tsv?key={key}",
            f"{ANNA}/clips/..%5c..%5cpeople.wav?key={key}",
            "/static/../server.py",
            "/static//etc/passwd",
            "//etc/passwd",
            "/p/../experiment.json",
        ):
            status, content = server.ask("GET", path)
            assert status == 404, path
            assert b"code" not in content

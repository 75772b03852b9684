"""Sessions in a real browser, by keyboard: what was pressed is what lies in the folder, whatever happens in between."""

from __future__ import annotations

import contextlib
import json
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from made_experiments import clips, experiment, write

from ban_bids.listen.experiment import Experiment, Layout
from ban_bids.listen.schedule import trials
from ban_bids.listen.texts import TEXTS

pytest.importorskip("starlette", reason="needs the extra [listen]")
pytest.importorskip("uvicorn", reason="needs the extra [listen]")
playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright")
CHROMIUM = shutil.which("chromium")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="needs Debian's chromium")

PEOPLE = (
    "keys", "reload", "lost", "first", "second", "killed", "clip", "german", "time", "narrow", "mistaken", "forgets",
    "windows", "clicks",
)  # fmt: skip
CODES = {name: f"code-of-{name:-<12}" for name in PEOPLE}
HEADING = "main h1"


class Server:
    """``ban-bids-listen serve`` in a process of its own, which can be killed and started again on the same port."""

    def __init__(self, layout: Layout, made: Experiment) -> None:
        self.layout, self.made = layout, made
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.address = f"http://127.0.0.1:{self.port}"
        self.start()

    def start(self) -> None:
        serve = ["-m", "ban_bids.cli.listen", "serve", str(self.layout.root), "--port", str(self.port)]
        self.process = subprocess.Popen(
            [sys.executable, *serve], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
        )
        while True:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port)):
                return  # refused until it listens
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(timeout=0.05)
                pytest.fail(f"the server ended: {self.process.communicate()[1]}")

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.communicate()

    def answers(self, person: str) -> list[dict[str, Any]]:
        files = sorted(self.layout.answers(person).glob("*.json"))
        return [json.loads(path.read_text(encoding="utf-8")) for path in files]


def _served(root: Path, made: Experiment, until: str = "[end of the file]") -> Server:
    layout = write(root, made, CODES)
    layout.texts.write_text(TEXTS.read_text(encoding="utf-8").split(until)[0], encoding="utf-8")
    return Server(layout, made)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    running = _served(tmp_path_factory.mktemp("experiment"), experiment())
    yield running
    running.kill()


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with playwright.sync_playwright() as started:
        running = started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield running
        running.close()


class Person:
    """Somebody before a browser: presses keys, and reads what is on the screen."""

    def __init__(self, browser: Any, server: Server, name: str, *, before: str = "", **context: Any) -> None:
        self.server, self.name = server, name
        self.context = browser.new_context(**context)
        self.context.add_init_script(before)
        self.page = self.context.new_page()
        self.requests: list[str] = []
        self.complaints: list[str] = []
        self.context.on("request", lambda request: self.requests.append(request.url))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("console", lambda told: self.complaints.append(told.text) if "Content Sec" in told.text else None)
        self.plan = trials(server.made, name)
        self.page.goto(f"{server.address}/p/{CODES[name]}")

    def press(self, *keys: str) -> None:
        for key in keys:
            self.page.keyboard.press(key)

    def sees(self, text: str) -> None:
        """Wait for a heading, which must have the focus, on a page that need not be moved sideways."""
        playwright.expect(self.page.locator(HEADING)).to_have_text(text)
        playwright.expect(self.page.locator(HEADING)).to_be_focused()
        assert self.page.evaluate("document.documentElement.scrollWidth <= innerWidth")

    def reads(self, place: str, text: str) -> None:
        playwright.expect(self.page.locator(place)).to_contain_text(text)

    def play(self) -> None:
        """Start the clip by the space bar; done when the choices can be taken."""
        playwright.expect(self.page.locator("main .play")).to_be_enabled()
        self.press("Space")
        playwright.expect(self.page.locator(".choices button").first).to_be_enabled()

    def plays(self) -> int:
        """How often the page has heard the present clip begin."""
        return self.page.evaluate("JSON.parse(Object.values(localStorage)[0]).started.count")

    def enter(self, language: str = "English") -> None:
        """Language, consent and sound check, by keyboard alone."""
        self.sees("Language · Sprache")
        self.press("Tab", *([] if language == "English" else ["Tab"]), "Enter")
        self.sees({"English": "Listening to music", "Deutsch": "Musik hören"}[language])
        self.press("Tab", "Space", "Tab", "Enter")
        self.sees({"English": "Sound check", "Deutsch": "Tonprobe"}[language])
        playwright.expect(self.page.locator("main .play")).to_be_enabled()
        self.press("Space")
        self.reads("main .play", {"English": "Stop", "Deutsch": "Anhalten"}[language])
        self.press("Tab", "Tab", "Enter")
        self.sees({"English": "How it works", "Deutsch": "So funktioniert es"}[language])
        self.press("Tab", "Enter")

    def arrives(self, number: int) -> None:
        """Wait for a trial, passing over the page between practice and the main part."""
        practice = sum(trial.kind == "practice" for trial in self.plan)
        if number <= practice:
            self.sees(f"Practice clip {number} of {practice}")
            return
        if number == practice + 1:
            self.sees("The practice is over")
            self.press("Tab", "Enter")
        self.sees(f"Clip {number - practice} of {len(self.plan) - practice}")

    def judge(self, number: int) -> None:
        """Answer a trial as :meth:`given` says."""
        self.arrives(number)
        self.play()
        response, confidence = self.given(number)
        self.press(str(self.server.made.choices.index(response) + 1))
        if confidence is not None:
            playwright.expect(self.page.locator("#sure")).to_be_focused()
            self.press(str(confidence))

    def given(self, number: int) -> tuple[str, int | None]:
        """Another answer for each trial and person; checks are passed, and ask for no confidence."""
        choices, trial = self.server.made.choices, self.plan[number - 1]
        mark = number + len(self.name)
        return trial.expected or choices[mark % len(choices)], None if trial.expected else 1 + mark % 4

    def finish(self, first: int = 1) -> None:
        """Answer the trials from `first` on; then the folder must hold what was pressed."""
        for number in range(first, len(self.plan) + 1):
            self.judge(number)
        self.sees("Thank you!")
        self.check(len(self.plan))

    def check(self, count: int) -> None:
        found = self.server.answers(self.name)
        assert [one["number"] for one in found] == list(range(1, count + 1))
        assert [(one["response"], one["confidence"]) for one in found] == [self.given(n + 1) for n in range(count)]
        assert [(one["clip"], one["kind"]) for one in found] == [(t.clip, t.kind) for t in self.plan[:count]]
        assert all(type(one["response_time_ms"]) is int and one["response_time_ms"] >= 0 for one in found)
        assert not self.complaints


@pytest.fixture
def person(browser: Any, server: Server) -> Iterator[Any]:
    playwright.expect.set_options(timeout=30_000)
    made: list[Person] = []

    def come(name: str, at: Server = server, **context: Any) -> Person:
        made.append(Person(browser, at, name, **context))
        return made[-1]

    yield come
    for one in made:
        one.context.close()


def test_a_session_by_keyboard_alone_asks_nothing_of_other_hosts(person: Any, server: Server) -> None:
    one = person("keys")
    one.enter()
    one.arrives(1)
    one.reads("main", "Practice: this answer does not count.")
    playwright.expect(one.page.locator("main .play")).to_be_enabled()
    one.press("1")  # nothing was heard yet
    one.reads("#status", "Please play the clip first.")
    one.judge(1)
    one.arrives(2)
    one.reads("#done", "0 of")
    one.press("Escape")
    one.sees("A break")
    one.press("Tab", "Enter")
    one.sees(f"Clip 1 of {len(one.plan) - 1}")
    one.play()
    one.press("Control+1", "Alt+1", "Shift+1", "9", "a")  # a shortcut of the browser's, or no choice at all
    one.page.evaluate("document.querySelector('main').prepend(document.createElement('input'))")
    one.page.locator("main input").press("1")  # written, not chosen
    one.page.locator("main .play").press("Space")
    assert one.page.locator("#sure").count() == 0
    assert one.page.locator("main input").input_value() == "1"
    response, confidence = one.given(2)
    wrong = next(k for k, name in enumerate(server.made.choices) if name != response)
    for _ in range(3):  # held down: one choice, and no confidence
        one.page.keyboard.down(str(wrong + 1))
    one.page.keyboard.up(str(wrong + 1))
    one.reads("main", "Your choice:")
    one.press("Tab", "Tab", "Tab", "Tab", "Tab", "Enter")  # over the four to Change my choice
    one.press(str(server.made.choices.index(response) + 1))
    one.reads("main", f"Your choice: {response.capitalize()}")
    one.press(str(confidence))
    one.reads("#done", "1 of")
    check = next(trial.number for trial in one.plan if trial.kind == "check")
    for number in range(3, check):
        one.judge(number)
    one.arrives(check)
    one.reads("#task", f"please choose {one.plan[check - 1].expected.capitalize()} now")
    one.finish(check)
    assert {url.removeprefix("blob:").startswith(f"{server.address}/") for url in one.requests} == {True}
    one.page.reload()
    one.sees("Thank you!")


def test_without_agreement_nobody_goes_on(person: Any, server: Server) -> None:
    one = person("mistaken")
    one.press("Tab", "Enter")
    one.sees("Listening to music")
    one.press("1", "Tab", "Tab", "Enter")
    one.reads("#notice", "Please tick the box")
    playwright.expect(one.page.get_by_role("checkbox")).to_be_focused()
    one.press("Space", "Tab", "Enter")
    one.sees("Sound check")
    playwright.expect(one.page.locator("main .play")).to_be_enabled()  # it takes the focus once it is loaded
    one.press("Tab", "Tab", "Enter")
    one.reads("#status", "Please play the melody first.")


def test_a_browser_that_remembers_nothing_does_not_take_the_link(person: Any, server: Server) -> None:
    one = person("forgets", before="Object.defineProperty(window, 'localStorage', {get() { throw new Error('no'); }})")
    one.sees("This browser keeps no data")
    assert not [url for url in one.requests if url.endswith("/begin")]
    assert not server.layout.session("forgets").exists()


def test_of_two_windows_the_first_answer_counts_and_the_other_is_told(person: Any) -> None:
    one = person("windows")
    one.enter()
    one.arrives(1)
    first, second = one.page, one.context.new_page()
    one.page = second
    second.goto(first.url)
    one.arrives(1)
    one.play()
    one.page = first
    one.judge(1)
    one.sees("The practice is over")
    one.page = second
    other = next(k for k, name in enumerate(one.server.made.choices) if name != one.given(1)[0])
    one.press(str(other + 1), "1")
    one.sees("One moment")
    one.reads("main", "had been answered already")
    one.press("Tab", "Enter")
    one.finish(2)


def test_a_double_click_on_a_choice_does_not_answer_how_sure_the_person_is(person: Any) -> None:
    one = person("clicks")
    one.enter()
    one.arrives(1)
    one.play()
    for choice in one.page.locator(".choices button").all():  # below some of them an answer comes to stand
        choice.dblclick()
        playwright.expect(one.page.locator("#sure")).to_be_focused()
        one.page.locator("main button.quiet").click()
        playwright.expect(one.page.locator("#task")).to_be_visible()
    assert not one.server.answers("clicks")
    one.press(str(one.server.made.choices.index(one.given(1)[0]) + 1), str(one.given(1)[1]))
    one.finish(2)


def test_a_reload_and_a_new_start_of_the_browser_go_on_at_the_next_trial(person: Any, browser: Any) -> None:
    one = person("reload")
    one.page.reload()
    one.enter()
    one.judge(1)
    one.judge(2)
    one.arrives(3)
    one.play()
    one.page.reload()
    one.arrives(3)
    one.judge(3)
    one.arrives(4)
    again = person("reload", storage_state=one.context.storage_state())
    one.context.close()
    again.finish(4)
    assert again.server.answers("reload")[2]["plays"] == 2  # before the reload, and after


def test_an_answer_that_did_not_arrive_is_kept_and_one_that_did_is_not_doubled(person: Any) -> None:
    one = person("lost")
    one.enter()
    one.page.route("**/answers", lambda route: route.abort())
    one.judge(1)
    one.reads("#notice", "The study cannot be reached.")
    one.page.unroute("**/answers")
    one.page.reload()  # the page that knew the answer is gone
    one.sees("The practice is over")
    one.check(1)
    swallowed: list[int] = []

    def swallow(route: Any) -> None:
        swallowed.append(route.fetch().status)
        route.abort()

    one.page.route("**/answers", swallow, times=1)
    one.judge(2)
    one.arrives(3)
    assert swallowed == [200]
    one.finish(3)


def test_two_people_at_once_and_a_link_that_is_taken(person: Any) -> None:
    one, other = person("first"), person("second")
    one.enter()
    other.enter()
    for number in range(1, len(one.plan) + 1):
        one.judge(number)
        other.judge(number)
    for each in (one, other):
        each.sees("Thank you!")
        each.check(len(each.plan))
    thief = person("first")
    thief.press("Tab", "Enter")
    thief.sees("This link cannot be used here")


def test_the_server_is_killed_and_started_again(person: Any, server: Server) -> None:
    one = person("killed")
    one.enter()
    one.judge(1)
    one.arrives(2)
    one.play()
    server.kill()
    response, confidence = one.given(2)
    one.press(str(server.made.choices.index(response) + 1), str(confidence))
    one.reads("#notice", "The study cannot be reached.")
    server.start()
    one.page.get_by_role("button", name="Try again").press("Enter")
    one.arrives(3)
    one.check(2)
    one.finish(3)


def test_a_clip_that_cannot_be_loaded_is_told_and_asked_for_again(person: Any) -> None:
    one = person("clip")
    one.enter()
    one.arrives(1)
    one.page.route("**/clips/**", lambda route: route.fulfill(status=404, json={"error": "gone"}))
    one.page.reload()
    one.arrives(1)
    one.reads("#notice", "The clip could not be loaded.")
    playwright.expect(one.page.locator("main .play")).to_be_disabled()
    one.page.unroute("**/clips/**")
    one.page.route("**/clips/**", lambda route: route.fulfill(body="no sound", content_type="audio/wav"))
    one.page.get_by_role("button", name="Try again").press("Enter")
    one.reads("#notice", "")
    playwright.expect(one.page.locator("main .play")).to_be_enabled()
    one.press("Space")
    one.reads("#notice", "The clip could not be loaded.")
    one.page.unroute("**/clips/**")
    one.page.get_by_role("button", name="Try again").press("Enter")
    one.judge(1)
    one.arrives(2)
    assert one.page.locator("#notice-text").text_content() == ""


def test_response_times_run_from_the_first_start_of_the_sound(person: Any) -> None:
    one = person("time")
    one.enter()
    one.arrives(1)
    one.page.clock.install(time=0)
    one.page.reload()
    one.arrives(1)
    playwright.expect(one.page.locator("main .play")).to_be_enabled()
    one.page.clock.pause_at(3_600_000)
    one.play()
    one.page.clock.run_for(1000)
    one.press("Space")
    for _ in range(2000):
        if one.plays() == 2:
            break
    one.page.clock.run_for(500)
    response, confidence = one.given(1)
    one.press(str(one.server.made.choices.index(response) + 1))
    one.page.clock.run_for(700)  # thinking about the confidence is no part of it
    one.press(str(confidence))
    one.arrives(2)
    found = one.server.answers("time")[0]
    assert (found["response_time_ms"], found["plays"]) == (1500, 2)


def test_in_german(person: Any) -> None:
    one = person("german")
    one.enter("Deutsch")
    assert one.page.evaluate("document.documentElement.lang") == "de"
    one.sees("Übungsausschnitt 1 von 1")
    one.reads("#task", "Welche Musikrichtung ist das?")
    one.page.reload()
    one.sees("Übungsausschnitt 1 von 1")
    assert "{" not in one.page.locator("body").inner_text()


def test_many_choices_names_like_markup_a_missing_language_and_a_small_screen(
    person: Any, tmp_path_factory: pytest.TempPathFactory
) -> None:
    choices = ("blues", "rock", "hip hop", "<b>bold</b>", *(f"kind of music number {k}" for k in range(24)))
    many = _served(
        tmp_path_factory.mktemp("many"), Experiment("genre", choices, clips(2), clips(1, "practice")), "[de]"
    )
    try:
        one = person("narrow", many, viewport={"width": 360, "height": 640}, color_scheme="dark")
        one.sees("Language · Sprache")
        one.press("Tab", "Tab", "Enter")
        one.reads("#notice", "Diese Studie gibt es nicht auf Deutsch.")
        one.enter()
        one.arrives(1)
        one.play()
        one.reads(".choices", choices[3])
        one.press("Control+d", "1", "d")  # of more than ten choices none has a digit
        one.sees("The practice is over")
        assert many.answers("narrow")[0]["response"] == choices[3]
        one.press("Tab", "Enter")
        one.sees("Clip 1 of 2")
        one.play()
        one.page.get_by_role("button", name=choices[-1]).press("Enter")  # beyond z: no shortcut, but a button
        one.sees("Clip 2 of 2")
        assert many.answers("narrow")[1]["response"] == choices[-1]
        assert many.answers("narrow")[1]["confidence"] is None
    finally:
        many.kill()

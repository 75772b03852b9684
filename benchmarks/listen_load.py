"""Do 1000 answers from 10 browsers at once arrive, each exactly once, and how long does a request take?

    python benchmarks/listen_load.py [--people 10] [--answers 1000] [--twice 0.02] [--kills 0]

Starts the real server on a made-up experiment. Each browser fetches a clip, answers, and goes on at once, over one
connection that stays open; some answers are sent a second time, over another connection at the same moment. With
``--kills`` the server process is killed (SIGKILL) that often on the way and started again; browsers repeat what was not
confirmed. Then the files are counted and compared with what was sent.
"""

from __future__ import annotations

import argparse
import http.client
import json
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import soundfile
from measuring import hardware, scratch_folder

from ban_bids.listen.experiment import (
    SOUND_CHECK,
    Experiment,
    Layout,
    ListeningClip,
    read_experiment,
    read_people,
    write_experiment,
    write_people,
)
from ban_bids.listen.store import GIVEN, answered, read_answer
from ban_bids.listen.texts import TEXTS

CHOICES = ("blues", "classical", "country", "disco", "hiphop", "jazz", "metal", "pop", "reggae", "rock")
_SECONDS_BETWEEN_TRIES = 0.05


def make_folder(root: Path, people: int, clips: int) -> Layout:
    """An experiment of as many trials as clips, with half a second of sound each."""
    layout = Layout(root)
    listed = tuple(
        ListeningClip(f"clip-{k:04d}", f"{CHOICES[k % 10]}.{k:05d}.wav", 0.0, 0.5, CHOICES[k % 10])
        for k in range(clips)
    )
    layout.clip(SOUND_CHECK).parent.mkdir(parents=True)
    for name in (SOUND_CHECK, *(clip.id for clip in listed)):
        soundfile.write(layout.clip(name), 0.1 * np.sin(np.arange(11025) / 8), 22050, subtype="PCM_16")
    layout.texts.write_bytes(TEXTS.read_bytes())
    write_people(layout, {f"listener{k:02d}": f"code-of-listener{k:02d}" for k in range(1, people + 1)})
    write_experiment(layout, Experiment("genre", CHOICES, listed, confidence=True))
    return layout


class Server:
    """The real server in a process of its own; can be killed and started again on the same port."""

    def __init__(self, root: Path) -> None:
        self.root, self.port, self.process = root, 0, None
        self.cpu = 0.0

    def start(self) -> None:
        command = [sys.executable, "-m", "ban_bids.cli.listen", "serve", str(self.root), "--port", str(self.port)]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        for line in self.process.stdout:
            if "http://" in line:
                self.port = int(line.split("http://")[1].split(":")[1].split("/")[0])
            if line.startswith("Stop with"):
                return
        raise SystemExit("the server did not start")

    def note_usage(self) -> int:
        """Add up processor seconds; give the peak memory in MB."""
        process = psutil.Process(self.process.pid)
        times = process.cpu_times()
        self.cpu += times.user + times.system
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(status.split("VmHWM:")[1].split()[0]) // 1024

    def kill(self) -> None:
        self.note_usage()
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()


@contextmanager
def running(root: Path) -> Iterator[Server]:
    server = Server(root)
    server.start()
    try:
        yield server
    finally:
        server.process.kill()
        server.process.wait()


@dataclass
class Browser:
    """One person's browser."""

    server: Server
    code: str
    rng: np.random.Generator
    seconds: dict[str, list[float]] = field(default_factory=lambda: {"answer": [], "clip": []})
    sent: dict[int, dict[str, Any]] = field(default_factory=dict)
    repeated: int = 0
    refused: int = 0
    tries_again: int = 0
    connection: http.client.HTTPConnection | None = None

    def ask(self, method: str, path: str, body: object = None, kind: str | None = None) -> tuple[int, bytes]:
        """Ask until there is a reply; only tries that were replied to are timed."""
        text = None if body is None else json.dumps(body)
        while True:
            begin = time.perf_counter()
            try:
                if self.connection is None:
                    self.connection = http.client.HTTPConnection("127.0.0.1", self.server.port, timeout=60)
                self.connection.request(method, f"/p/{self.code}/{path}", text)
                reply = self.connection.getresponse()
                content = reply.read()
            except (OSError, http.client.HTTPException):
                self.connection.close()
                self.connection, self.tries_again = None, self.tries_again + 1
                time.sleep(_SECONDS_BETWEEN_TRIES)
                continue
            if kind is not None:
                self.seconds[kind].append(time.perf_counter() - begin)
            return reply.status, content

    def session(self, twice: float, done: threading.Semaphore) -> None:
        # a key of its own: should the reply to the first call be lost, the second one is known again
        told = json.loads(self.ask("POST", "begin", {"key": f"{self.code}-key", "language": "en"})[1])
        other = Browser(self.server, self.code, self.rng)
        with ThreadPoolExecutor(1) as pool:
            for trial in told["trials"]:
                status, _ = self.ask("GET", f"clips/{trial['clip']}.wav?key={told['key']}", kind="clip")
                self.refused += status != 200
                body = {
                    "key": told["key"], "number": trial["number"], "response": str(self.rng.choice(CHOICES)),
                    "confidence": int(self.rng.integers(1, 5)), "response_time_ms": float(self.rng.uniform(300, 9000)),
                    "plays": int(self.rng.integers(1, 4)),
                }  # fmt: skip
                self.sent[trial["number"]] = body
                again = None
                if self.rng.random() < twice:
                    self.repeated += 1
                    again = pool.submit(other.ask, "POST", "answers", body)
                self.refused += self.ask("POST", "answers", body, kind="answer")[0] != 200
                self.refused += again is not None and again.result()[0] != 200
                done.release()
        self.refused += self.ask("POST", "finish", {"key": told["key"]})[0] != 200


def count(layout: Layout, browsers: list[Browser]) -> dict[str, int]:
    """Compare what lies on the disk with what was sent."""
    lost = changed = 0
    for number, browser in enumerate(browsers, start=1):
        person = f"listener{number:02d}"
        there = set(answered(layout, person))
        lost += len(set(browser.sent) - there)
        for trial in there & set(browser.sent):
            kept = read_answer(layout, person, trial)
            changed += any(kept[name] != browser.sent[trial][name] for name in GIVEN)
    files = sum(path.is_file() for path in layout.answers("").rglob("*.json"))
    sent = sum(len(browser.sent) for browser in browsers)
    return {"sent": sent, "files": files, "lost": lost, "too many": files - (sent - lost), "changed": changed}


def run(layout: Layout, browsers: list[Browser], server: Server, twice: float, kills: int) -> None:
    """All browsers at once; the server is killed at equal distances."""
    done = threading.Semaphore(0)
    answers = len(browsers) * len(read_experiment(layout).clips)
    with ThreadPoolExecutor(len(browsers)) as pool:
        sessions = [pool.submit(browser.session, twice, done) for browser in browsers]
        for _ in range(kills):
            for _ in range(answers // (kills + 1)):
                done.acquire()
            server.kill()
            server.start()
        for session in sessions:
            session.result()


def tell(found: dict[str, int], browsers: list[Browser]) -> None:
    """Print counts and times."""
    repeated, refused, again = (
        sum(getattr(browser, name) for browser in browsers) for name in ("repeated", "refused", "tries_again")
    )
    print(hardware(1))
    print(f"{len(browsers)} browsers, {found['sent']} answers, {repeated} of them sent twice at once")
    print(", ".join(f"{name}: {number}" for name, number in found.items()))
    print(f"refused: {refused}, requests repeated because the server was gone: {again}")
    for kind in ("answer", "clip"):
        times = 1000 * np.concatenate([browser.seconds[kind] for browser in browsers])
        print(f"{kind}: median {np.median(times):.1f} ms, 99th percentile {np.percentile(times, 99):.1f} ms")
    found["refused"] = refused


def main() -> int:
    made = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--people", type=int, default=10)
    made.add_argument("--answers", type=int, default=1000)
    made.add_argument("--twice", type=float, default=0.02)
    made.add_argument("--kills", type=int, default=0)
    made.add_argument("--scratch", type=Path, help="where the experiment's folder is made")
    options = made.parse_args()
    with scratch_folder(options.scratch) as folder:
        layout = make_folder(folder / "experiment", options.people, options.answers // options.people)
        with running(layout.root) as server:
            browsers = [
                Browser(server, code, np.random.default_rng(number))
                for number, code in enumerate(read_people(layout).values())
            ]
            begin = time.perf_counter()
            run(layout, browsers, server, options.twice, options.kills)
            wall, peak = time.perf_counter() - begin, server.note_usage()
        found = count(layout, browsers)
    tell(found, browsers)
    print(f"{wall:.1f} s in all; server: killed {options.kills} times, {server.cpu:.1f} s CPU, {peak} MB")
    whole = found["files"] == found["sent"] and not any(
        found[name] for name in ("lost", "too many", "changed", "refused")
    )
    print("none lost, none twice, none changed" if whole else "ANSWERS ARE NOT AS THEY WERE SENT")
    return 0 if whole else 1


if __name__ == "__main__":
    sys.exit(main())

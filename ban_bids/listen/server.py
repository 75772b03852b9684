"""The local server of a listening experiment: personal links, sounds, answers; one process, no cookies.

Addresses and their JSON::

    POST /p/<code>/begin    {"key", "language"}       key null at the first call, or one that the page has drawn itself
    GET  /p/<code>/clips/<id>.wav?key=...
    POST /p/<code>/answers  {"key", "number", "response", "confidence", "response_time_ms", "plays"}
    POST /p/<code>/finish   {"key"}

The browser says what was answered, never to what: clips, kinds and expected answers are the schedule's. An answer is on
the disk before it is confirmed; sent again, it is confirmed again.
"""

from __future__ import annotations

import hmac
import json
import logging
import os
import re
import secrets
import socket
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ban_bids.errors import BanBidsError, DataError, UsageError
from ban_bids.files.atomic import remove_with_leftovers, write_once
from ban_bids.listen.experiment import SOUND_CHECK, Experiment, Layout, Trial, read_experiment, read_people
from ban_bids.listen.schedule import trials
from ban_bids.listen.store import (
    GIVEN,
    Session,
    answered,
    asked,
    change_session,
    check_answers,
    keep_answer,
    now,
    open_session,
    read_answer,
    read_session,
)
from ban_bids.listen.texts import read_texts

try:
    import uvicorn
    from starlette.applications import Starlette
    from starlette.concurrency import run_in_threadpool
    from starlette.datastructures import MutableHeaders
    from starlette.exceptions import HTTPException
    from starlette.requests import ClientDisconnect, Request
    from starlette.responses import FileResponse, HTMLResponse, JSONResponse, Response
    from starlette.routing import Route
    from starlette.types import ASGIApp, Message, Receive, Scope, Send
except ImportError as error:
    raise UsageError(f"serve: {error.name} is missing; pip install 'ban-bids[listen]'") from error

_LOG = logging.getLogger(__name__)

WEB = Path(__file__).with_name("web")
"""The page: ``index.html``, ``listen.js``, ``listen.css``."""

_STATIC = {"listen.js": "text/javascript", "listen.css": "text/css"}
_MOST_BYTES = 4096
_LONGEST_MS = 24 * 3600 * 1000
_MOST_PLAYS = 10_000
_KEY = re.compile(r"[A-Za-z0-9_-]{16,64}")
_HEADERS = {
    "Content-Security-Policy": "default-src 'self'; media-src 'self' blob:",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
    "Referrer-Policy": "no-referrer",
}
_NOTHING = type(None)
_Kinds = Mapping[str, tuple[type, ...]]
_BEGIN: _Kinds = {"key": (str, _NOTHING), "language": (str,)}
_ANSWER: _Kinds = {
    "key": (str,), "number": (int,), "response": (str,), "confidence": (int, _NOTHING),
    "response_time_ms": (int, float), "plays": (int,),
}  # fmt: skip
_FINISH: _Kinds = {"key": (str,)}

_PAGE = """<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>{en}</title></head>
<body><main><h1>{en}</h1><p>Please open the link that was sent to you, complete and unchanged.</p>
<div lang="de"><h1>{de}</h1>
<p>Bitte öffnen Sie den Link, der Ihnen geschickt wurde, vollständig und unverändert.</p></div></main></body></html>
"""
_WELCOME = _PAGE.format(en="You need your personal link", de="Sie brauchen Ihren persönlichen Link")
_UNKNOWN = _PAGE.format(en="There is nothing under this link", de="Unter diesem Link gibt es nichts")


def _same(one: str, other: str) -> bool:
    """Compare in a time that does not tell how much agrees; anything may come from a request."""
    return hmac.compare_digest(*(text.encode("utf-8", "surrogatepass") for text in (one, other)))


# --- what is done, whatever carries it


@dataclass(frozen=True)
class Desk:
    """Everything that is the same for all requests, read and checked once.

    Parameters
    ----------
    layout : Layout
    experiment : Experiment
    codes : mapping of str to str
        Participant to the code of the personal link.
    texts : mapping of str to mapping
        By language.
    schedules : mapping of str to tuple of Trial
        By participant.
    """

    layout: Layout
    experiment: Experiment
    codes: Mapping[str, str]
    texts: Mapping[str, Mapping[str, Any]]
    schedules: Mapping[str, tuple[Trial, ...]]

    def participant(self, code: str) -> str:
        """Whose link it is; all are compared, so that time tells nothing."""
        found = [participant for participant, known in self.codes.items() if _same(known, code)]
        if not found:
            raise HTTPException(404, "this personal link is unknown")
        return found[0]

    def check_key(self, participant: str, key: str) -> Session:
        """The session, if it is this browser's."""
        session = read_session(self.layout, participant)
        if session is None or not _same(session.key, key):
            raise HTTPException(403, "this personal link is in use in another browser")
        return session

    def begin(self, participant: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """Give the link to this browser, or know it again, and tell what is asked."""
        key, language = body["key"], body["language"]
        if language not in self.texts:
            raise HTTPException(400, f"language must be one of {', '.join(self.texts)}")
        # a key that the page drew and remembers survives the loss of this reply
        own = secrets.token_urlsafe(18) if key is None else key
        if read_session(self.layout, participant) is None:
            if not _KEY.fullmatch(own):
                raise HTTPException(400, "key must be null, or 16 to 64 random letters, digits, - and _")
            open_session(self.layout, participant, Session(own, language, now()))
        session = self.check_key(participant, own)
        if session.language != language:
            session = change_session(self.layout, participant, language=language)
        return {
            "key": session.key,
            "languages": list(self.texts),
            "texts": self.texts[language],
            "choices": self.experiment.choices,
            "confidence": self.experiment.confidence,
            "trials": [
                {"number": one.number, "kind": one.kind, "clip": one.clip, "expected": one.expected}
                for one in self.schedules[participant]
            ],
            "answered": answered(self.layout, participant),
            "finished": session.finished is not None,
        }

    def answer(self, participant: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """Keep an answer, once; confirm it as often as it is sent."""
        self.check_key(participant, body["key"])
        number, there = body["number"], answered(self.layout, participant)
        if number in there:
            self._confirm(participant, body)
            return {"answered": len(there)}
        trial = next((one for one in self.schedules[participant] if one.number not in there), None)
        if trial is None or trial.number != number:
            following = "nothing" if trial is None else f"trial {trial.number}"
            raise HTTPException(400, f"number {number}: {following} is to be answered next")
        self._check(body, trial)
        # of two that come at once one is kept, and the other is confirmed only if it says the same
        if not keep_answer(self.layout, participant, asked(self.experiment, trial), body):
            self._confirm(participant, body)
        return {"answered": len(there) + 1}

    def _check(self, body: Mapping[str, Any], trial: Trial) -> None:
        if body["response"] not in self.experiment.choices:
            raise HTTPException(400, "response must be one of the choices")
        if not 0 <= body["response_time_ms"] <= _LONGEST_MS:
            raise HTTPException(400, f"response_time_ms must lie between 0 and {_LONGEST_MS}")
        if not 1 <= body["plays"] <= _MOST_PLAYS:
            raise HTTPException(400, f"plays must lie between 1 and {_MOST_PLAYS}")
        confidence = body["confidence"]
        if confidence is not None and not (self.experiment.confidence and 1 <= confidence <= 4):
            raise HTTPException(400, "confidence must be 1 to 4 where it is asked for, else null")
        if confidence is None and self.experiment.confidence and trial.kind != "check":
            raise HTTPException(400, "confidence is missing; it must be 1 to 4")

    def _confirm(self, participant: str, body: Mapping[str, Any]) -> None:
        kept = read_answer(self.layout, participant, body["number"])
        if any(kept[name] != body[name] for name in GIVEN):
            raise HTTPException(409, f"trial {body['number']} has another answer already")

    def finish(self, participant: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """Note the end, once everything is answered."""
        session = self.check_key(participant, body["key"])
        missing = len(self.schedules[participant]) - len(answered(self.layout, participant))
        if missing > 0:
            raise HTTPException(409, f"{missing} trials have no answer")
        if session.finished is None:
            change_session(self.layout, participant, finished=now())
        return {"finished": True}

    def sound(self, participant: str, clip: str, key: str) -> Path:
        """File of a sound; nothing but the experiment's clips can be named."""
        self.check_key(participant, key)
        experiment = self.experiment
        if clip not in {SOUND_CHECK, *(one.id for one in (*experiment.clips, *experiment.practice))}:
            raise HTTPException(404, "there is no such clip")
        return self.layout.clip(clip)


def open_desk(out: Path) -> Desk:
    """Read an experiment's folder, and check all that could fail while people are listening.

    Raises
    ------
    DataError
        Something is missing or damaged, answers are to other questions, or nothing can be written.
    """
    layout = Layout(out)
    experiment, codes, texts = read_experiment(layout), read_people(layout), read_texts(layout.texts)
    for clip in (SOUND_CHECK, *(one.id for one in (*experiment.clips, *experiment.practice))):
        if not layout.clip(clip).is_file():
            raise DataError(f"{layout.clip(clip)}: missing; make the experiment again")
    schedules = {participant: trials(experiment, participant) for participant in codes}
    for participant, schedule in schedules.items():
        read_session(layout, participant)
        check_answers(layout, participant, {one.number: asked(experiment, one) for one in schedule})
    _check_writable(layout)
    return Desk(layout, experiment, codes, texts, schedules)


def _check_writable(layout: Layout) -> None:
    trial = layout.answers("") / f".trial-{os.getpid()}"
    try:
        layout.session("").parent.mkdir(exist_ok=True)
        write_once(trial, "")
        remove_with_leftovers(trial)
    except OSError as error:
        raise DataError(
            f"{trial.parent}: answers cannot be kept there ({error.strerror}); use a folder that can be written, on a "
            "file system with hard links"
        ) from error


# --- HTTP


async def _body(request: Request, kinds: _Kinds) -> dict[str, Any]:
    """Body of a request: an object of JSON with exactly these fields of these types."""
    raw = bytearray()
    async for chunk in request.stream():
        raw += chunk
        if len(raw) > _MOST_BYTES:
            raise HTTPException(413, f"the body is longer than {_MOST_BYTES} bytes")
    try:
        body = json.loads(raw, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise HTTPException(400, "the body is not JSON") from error
    if not isinstance(body, dict) or set(body) != set(kinds):
        raise HTTPException(400, f"the body must be an object of {', '.join(kinds)}")
    # type, not isinstance: true is no number
    wrong = [name for name, kind in kinds.items() if type(body[name]) not in kind]
    if wrong:
        raise HTTPException(400, f"{wrong[0]} is of a wrong type")
    return body


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON")


_Endpoint = Callable[[Request], Awaitable[Response]]


def _posted(desk: Desk, work: Callable[[str, Mapping[str, Any]], dict[str, Any]], kinds: _Kinds) -> _Endpoint:
    async def endpoint(request: Request) -> Response:
        participant = desk.participant(request.path_params["code"])
        body = await _body(request, kinds)
        return JSONResponse(await run_in_threadpool(work, participant, body))

    return endpoint


def _sound(desk: Desk) -> _Endpoint:
    async def endpoint(request: Request) -> Response:
        participant = desk.participant(request.path_params["code"])
        key = request.query_params.get("key", "")
        path = await run_in_threadpool(desk.sound, participant, request.path_params["clip"], key)
        return FileResponse(path, media_type="audio/wav")

    return endpoint


def _page(desk: Desk, web: Path) -> _Endpoint:
    async def endpoint(request: Request) -> Response:
        try:
            desk.participant(request.path_params["code"])
        except HTTPException:
            return HTMLResponse(_UNKNOWN, 404)
        return FileResponse(web / "index.html", media_type="text/html")

    return endpoint


def _static(web: Path) -> _Endpoint:
    async def endpoint(request: Request) -> Response:
        name = request.path_params["name"]
        if name not in _STATIC:
            raise HTTPException(404, "there is nothing here")
        return FileResponse(web / name, media_type=_STATIC[name])

    return endpoint


async def _welcome(request: Request) -> Response:
    return HTMLResponse(_WELCOME)


def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return JSONResponse({"error": error.detail}, error.status_code, headers=error.headers)


def _failed(request: Request, error: Exception) -> Response:
    """Tell the experimenter what is wrong, and the browser to try again later."""
    _LOG.error("%s", error)
    return JSONResponse({"error": "the experiment's files cannot be used now; please tell the experimenter"}, 503)


def _gone(request: Request, error: Exception) -> Response:
    return Response(status_code=400)  # nobody is there to read it


def _with_headers(inner: ASGIApp) -> ASGIApp:
    """Add the headers to whatever is answered, errors included."""

    async def outer(scope: Scope, receive: Receive, send: Send) -> None:
        async def send_with(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(_HEADERS)
            await send(message)

        await inner(scope, receive, send_with)

    return outer


def application(desk: Desk, *, web: Path = WEB) -> ASGIApp:
    """Make the ASGI application.

    Parameters
    ----------
    desk : Desk
        As :func:`open_desk` makes it.
    web : Path
        Folder of the page.

    Returns
    -------
    callable
    """
    routes = [
        Route("/", _welcome),
        Route("/static/{name}", _static(web)),
        Route("/p/{code}", _page(desk, web)),
        Route("/p/{code}/begin", _posted(desk, desk.begin, _BEGIN), methods=["POST"]),
        Route("/p/{code}/answers", _posted(desk, desk.answer, _ANSWER), methods=["POST"]),
        Route("/p/{code}/finish", _posted(desk, desk.finish, _FINISH), methods=["POST"]),
        Route("/p/{code}/clips/{clip}.wav", _sound(desk)),
    ]
    handlers = {HTTPException: _refused, BanBidsError: _failed, OSError: _failed, ClientDisconnect: _gone}
    return _with_headers(Starlette(routes=routes, exception_handlers=handlers))


# --- the process


def _bound(host: str, port: int) -> socket.socket:
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        # named TCP, asyncio sends small replies at once; otherwise each waits 40 ms for an acknowledgement
        bound = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind((host, port))
        bound.listen()  # links work from the moment when they are printed
    except OSError as error:
        raise UsageError(f"--host {host} --port {port}: {error.strerror}; choose another host or port") from error
    return bound


def _origin(host: str, port: int) -> str:
    """Beginning of the links: of all addresses (0.0.0.0, ::) the machine's name is shown."""
    shown = socket.gethostname() if host in ("0.0.0.0", "::") else host
    return f"http://[{shown}]:{port}" if ":" in shown else f"http://{shown}:{port}"


def describe_links(desk: Desk, origin: str) -> str:
    """What the experimenter is told at the start: links, how far people are, where answers are kept.

    Parameters
    ----------
    desk : Desk
    origin : str
        ``http://127.0.0.1:8000``.

    Returns
    -------
    str
    """
    layout = desk.layout
    lines = ["Personal links; each belongs to the browser that opens it first:"]
    for participant, code in desk.codes.items():
        session, done = read_session(layout, participant), len(answered(layout, participant))
        total = len(desk.schedules[participant])
        state = f"{done} of {total} answered" if session or done else "not opened"
        if session is not None and session.finished:
            state = "finished"
        lines.append(f"  {participant}  {origin}/p/{code}  ({state})")
    return "\n".join(
        [
            *lines,
            f"Answers are kept in {layout.answers('')}, one file each; to free a link for another browser delete "
            f"{layout.session('NAME')}.",
            "Stop with Ctrl-C; people can go on when it is started again. Then: ban-bids-listen import "
            f"{layout.root} BIDS_DIR",
        ]
    )


def serve(out: Path, host: str, port: int) -> None:
    """Serve an experiment until the process is stopped.

    Parameters
    ----------
    out : Path
        The experiment's folder.
    host : str
        Address to listen on.
    port : int
        0 takes a free one.

    Raises
    ------
    DataError
        As :func:`open_desk`.
    UsageError
        The address cannot be listened on.
    """
    desk = open_desk(out)
    bound = _bound(host, port)
    print(describe_links(desk, _origin(host, bound.getsockname()[1])), flush=True)
    if not host.startswith("127.") and host not in ("localhost", "::1"):
        _LOG.warning("--host %s: answers travel unencrypted; put a server with HTTPS in front of this one", host)
    # no log of accesses: it would hold codes and keys
    config = uvicorn.Config(
        application(desk), log_config=None, access_log=False, server_header=False, lifespan="off", ws="none",
        proxy_headers=False, timeout_graceful_shutdown=5,
    )  # fmt: skip
    # the usual end; where the shell lets a background process ignore Ctrl-C, uvicorn ends without raising it
    with suppress(KeyboardInterrupt):
        uvicorn.Server(config).run(sockets=[bound])
    print(f"Stopped; all answers are in {desk.layout.answers('')}", flush=True)

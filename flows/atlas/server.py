"""The atlas as a page that is served to this machine alone, read-only and under a secret address."""

from __future__ import annotations

import json
import secrets
import socket
import threading
from importlib.resources import files
from typing import Annotated

import uvicorn
from fastapi import Body, FastAPI, HTTPException, Request, Response
from fastapi.concurrency import run_in_threadpool

from curation.packs import read_frame, thumbnail
from flows.atlas.details import part_script
from flows.atlas.parts import part_of
from flows.atlas.points import Atlas, Picture, num_removals
from flows.atlas.script import as_script
from flows.atlas.search import Searcher
from flows.runners import say
from warehouse.answers import as_text
from warehouse.lake import Lake

__all__ = ["HOST", "MAX_ANSWER_ROWS", "PAGES", "make_app", "page", "picture", "serve"]

HOST = "127.0.0.1"
"""what is listened on; nothing else can be asked for"""
MAX_ANSWER_ROWS = 500
MAX_PICTURE_BYTES = 20_000_000
"""of a picture that is searched by"""
_PICTURE_PX = 320
_HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
_TYPES = {
    "index.html": "text/html; charset=utf-8",
    "atlas.js": "text/javascript; charset=utf-8",
    "maps.js": "text/javascript; charset=utf-8",
    "details.js": "text/javascript; charset=utf-8",
    "atlas.css": "text/css; charset=utf-8",
}
PAGES = tuple(_TYPES)
"""parts of the page that are files"""


def page(name: str) -> bytes:
    """A part of the page that is a file, one of PAGES."""
    return (files("flows.atlas") / "page" / name).read_bytes()


def picture(place: Picture) -> bytes:
    """The small JPEG of a point, of which the pack's bytes in its range alone are read."""
    return thumbnail(read_frame(place.pack_path, place.byte_offset, place.byte_size), width=_PICTURE_PX)


def make_app(lake: Lake, atlas: Atlas, secret: str) -> FastAPI:
    """The page, its points, pictures and answers, all below /SECRET/; whoever does not know it gets 404, other users of the machine too.

    `lake` is one that was opened for reading alone. After a removal from the lake no picture is given any more.
    """
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    script, removals, lock = as_script(atlas.with_sql()), num_removals(lake), threading.Lock()
    searcher = Searcher(lake, atlas)

    def answer(content: bytes | str, media_type: str) -> Response:
        return Response(content, media_type=media_type, headers=_HEADERS)

    def check(given: str) -> None:
        if not secrets.compare_digest(given.encode(), secret.encode()):
            raise HTTPException(404)

    def refuse_removed() -> None:
        if num_removals(lake) != removals:
            raise HTTPException(410, "frames were removed from the lake since the atlas began; start it again")

    @app.get("/{given}/pictures/{number}.jpg")
    def _picture(given: str, number: int) -> Response:
        check(given)
        if not 0 <= number < len(atlas.pictures):
            raise HTTPException(404)
        with lock:
            refuse_removed()
        try:
            return answer(picture(atlas.pictures[number]), "image/jpeg")
        except (OSError, ValueError) as error:
            raise HTTPException(404, "the picture is not there any more") from error

    @app.post("/{given}/sql")  # statements with thousands of ids are longer than an address may be
    def _sql(given: str, statement: Annotated[str, Body(embed=True, max_length=1_000_000)]) -> Response:
        check(given)
        try:
            with lock:
                rows = lake.ask(statement)
        except Exception as error:  # DuckDB's own words are the answer
            return answer(json.dumps({"error": str(error)}), "application/json")
        shown = json.loads(as_text(rows.slice(0, MAX_ANSWER_ROWS), format="json"))
        return answer(json.dumps({"columns": rows.schema.names, "rows": shown, "num_rows": rows.num_rows}), "application/json")

    @app.get("/{given}/parts/{name:path}.js")
    def _part(given: str, name: str) -> Response:
        check(given)
        with lock:
            refuse_removed()
            found = part_of(lake, atlas, name)
        if found is None:
            raise HTTPException(404)
        return answer(part_script(name, found), "text/javascript; charset=utf-8")

    @app.post("/{given}/similar")
    async def _similar(given: str, request: Request) -> Response:
        check(given)
        content = b""
        async for chunk in request.stream():
            content += chunk
            if len(content) > MAX_PICTURE_BYTES:
                raise HTTPException(413, "the picture is larger than 20 MB; give a smaller one")
        return answer(json.dumps(await run_in_threadpool(lambda: searcher.near(content, lock))), "application/json")

    @app.get("/{given}/points.js")
    def _points(given: str) -> Response:
        check(given)
        return answer(script, "text/javascript; charset=utf-8")

    @app.get("/{given}/{name}")
    def _page(given: str, name: str) -> Response:
        check(given)
        if name not in _TYPES:
            raise HTTPException(404)
        return answer(page(name), _TYPES[name])

    return app


def serve(lake: Lake, atlas: Atlas, *, port: int) -> None:
    """Serve until interrupted; the address is printed.

    Raises:
        OSError: the port is taken.
        KeyboardInterrupt: it was interrupted.
    """
    secret = secrets.token_urlsafe(16)
    with socket.socket() as listening:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listening.bind((HOST, port))
        except OSError as error:
            raise OSError(f"port {port} of {HOST} cannot be listened on ({error.strerror}); give another with --port") from error
        config = uvicorn.Config(make_app(lake, atlas, secret), log_level="warning", access_log=False, timeout_graceful_shutdown=1)
        say(f"open http://{HOST}:{listening.getsockname()[1]}/{secret}/index.html on this machine; Ctrl-C ends it")
        uvicorn.Server(config).run(sockets=[listening])

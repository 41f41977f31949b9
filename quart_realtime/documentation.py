"""The app's description under its websocket, for programs and for people."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from string import Template
from typing import Any
from urllib.parse import urlsplit

from markupsafe import Markup, escape
from quart import Blueprint, Response, abort, request, send_from_directory
from quart_schema import hide

from .asyncapi import asyncapi_document
from .contract import Contract
from .models import dump
from .proxies import see_through
from .runtime import Runtime
from .settings import DOCS_CSS_URL, DOCS_JS_URL
from .survey import contract_of

_PAGES = Path(__file__).with_name("pages")
_FILES = frozenset({"docs.js", "docs.css"})
_INTEGRITY = {
    DOCS_JS_URL: "sha384-sXQoomcvhrsPmd7P2aBlZf3Pg3nwcedYtaEUlYlM5cgbju2EuoDj+69WaGnAO0Qd",
    DOCS_CSS_URL: "sha384-oo9RoQcacP++XdMX6CjTucTvASEORHX3chFik0/V2kHcsHiVboGyWZztGeq/0bum",
}
"""What the files have to be that a public CDN sends, whatever becomes of that."""


class Documentation:
    """Serves ``asyncapi.json`` and ``docs``, where the app says that it may."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime

    def add_to(self, blueprint: Blueprint) -> None:
        """Give *blueprint* the rules of both."""
        url = self._runtime.settings.url
        for path, view in (
            ("asyncapi.json", self.document),
            ("docs", self.page),
            # An app may have made another converter the default.
            ("docs/<path:name>", self.file),
        ):
            blueprint.add_url_rule(f"{url}/{path}", view_func=view)

    @cached_property
    def _contract(self) -> Contract:
        runtime = self._runtime
        return contract_of(runtime.app, runtime.registry, runtime.settings)

    def _check(self) -> None:
        """Answer 404 where the names of all that there is are nobody's business."""
        allowed = self._runtime.settings.docs
        if not (self._runtime.app.debug if allowed is None else allowed):
            abort(404)

    @hide
    async def document(self) -> Response:
        """Send the AsyncAPI document."""
        self._check()
        response = Response(dump(asyncapi_document(self._contract, self._server())))
        response.mimetype = "application/json"
        return _unsniffed(response)

    def _server(self) -> str:
        """Return where it was asked for, as far as trusted proxies tell it."""
        scheme, host = request.scheme, request.host
        if self._runtime.proxies:
            scope: dict[str, Any] = dict(request.scope)
            see_through(scope, self._runtime.proxies)
            said = dict(scope["headers"]).get(b"host", b"").decode("latin-1")
            scheme, host = scope["scheme"], said or host
        return f"{scheme}://{host}{request.root_path}"

    @hide
    async def page(self) -> Response:
        """Send the page that shows it."""
        self._check()
        settings = self._runtime.settings
        template = Template((_PAGES / "docs.html").read_text(encoding="utf-8"))
        html = template.substitute(
            title=escape(self._contract.title),
            js_url=escape(settings.docs_js_url),
            css_url=escape(settings.docs_css_url),
            js_more=_integrity(settings.docs_js_url),
            css_more=_integrity(settings.docs_css_url),
        )
        response = Response(html, mimetype="text/html")
        response.content_security_policy = None  # Whatever the app's own default is.
        response.headers["Content-Security-Policy"] = _policy(
            settings.docs_js_url, settings.docs_css_url
        )
        response.headers["Referrer-Policy"] = "no-referrer"
        return _unsniffed(response)

    @hide
    async def file(self, name: str) -> Response:
        """Send what the page is made of."""
        self._check()
        if name not in _FILES:
            abort(404)
        return _unsniffed(await send_from_directory(_PAGES, name, cache_timeout=0))


def _unsniffed(response: Response) -> Response:
    response.headers["X-Content-Type-Options"] = "nosniff"
    return response


def _integrity(url: str) -> Markup:
    """Return the attributes that hold a CDN's file to what it was, none for other files."""
    if url not in _INTEGRITY:
        return Markup("")
    return Markup(' integrity="{}" crossorigin="anonymous"').format(_INTEGRITY[url])


def _policy(js_url: str, css_url: str) -> str:
    """Return the page's policy: its own files, and the two that are named; nothing inline."""
    return "; ".join(
        [
            "default-src 'none'",
            # The component compiles what it checks schemas by, as soon as it is loaded.
            f"script-src 'self' 'unsafe-eval' {_source(js_url)}".rstrip(),
            f"style-src 'self' {_source(css_url)}".rstrip(),
            "connect-src 'self'",
            "img-src 'self' data:",
            "base-uri 'none'",
            "form-action 'none'",
            "frame-ancestors 'none'",
        ]
    )


def _source(url: str) -> str:
    """Return the file itself as a policy's source, nothing for one of the app's own."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}{parts.path}" if parts.netloc else ""

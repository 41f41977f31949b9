"""JSON Web Tokens to identities: the only module that knows quart-jwt-extended."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from copy import deepcopy
from datetime import timedelta
from functools import lru_cache
from typing import Any, cast

import jwt
from attrs import evolve, field, frozen
from jwt.algorithms import requires_cryptography
from quart import Quart, current_app, g
from quart.wrappers import Request, Websocket
from quart_jwt_extended import view_decorators
from quart_jwt_extended.config import config as jwt_config
from quart_jwt_extended.default_callbacks import default_decode_key_callback
from quart_jwt_extended.exceptions import (
    JWTExtendedException,
    RevokedTokenError,
    UserLoadError,
)
from quart_jwt_extended.utils import (
    create_access_token,
    decode_token,
    get_unverified_jwt_headers,
    has_user_loader,
    user_loader,
    verify_token_claims,
    verify_token_not_blacklisted,
    verify_token_type,
)
from werkzeug.datastructures import Headers

from .cookies import set_cookie
from .errors import SetupError, TokenRefused
from .handshake import Brought, Handshake, cookies_count, offered_token
from .identity import ANY_ORIGIN, Identity
from .settings import Settings

_EXTENSION = "quart-jwt-extended"
_REASONS: dict[type, str] = {
    jwt.PyJWTError: "it can't be read",
    jwt.InvalidSignatureError: "Signature verification failed",
    jwt.ImmatureSignatureError: "it is not yet valid",
    jwt.InvalidIssuedAtError: "it is not yet valid",
    jwt.InvalidAudienceError: "its audience is another",
    jwt.InvalidIssuerError: "its issuer is another",
    jwt.InvalidAlgorithmError: "its algorithm isn't allowed",
    jwt.MissingRequiredClaimError: "a claim is missing",
}


@frozen(kw_only=True)
class JWTIdentity(Identity):
    """Who a token says its bearer is, with the token as it was read.

    *user_id* is the token's identity as text, *claims* the app's own claims in it, *expires_at*
    None for a token that doesn't expire.
    """

    token: str = field(repr=False)
    token_data: dict[str, Any] = field(repr=False)
    token_header: dict[str, Any] = field(repr=False)
    user: Any = field(default=None, repr=False, eq=False)
    leeway: float = 0.0
    # The key and all else that the token was checked by.
    rules: tuple[Any, ...] = field(default=(), repr=False, eq=False)

    def remaining(self) -> float | None:
        """Return for how many seconds from now the token is taken, None for ever."""
        remaining = super().remaining()
        return None if remaining is None else remaining + self.leeway


def _missing_key(app: Quart) -> str | None:
    """Return which setting lacks the key that tokens are checked by, None where it may be had."""
    manager = app.extensions[_EXTENSION]
    if manager._decode_key_callback is not default_decode_key_callback:
        return None
    # Realtime has one hook of its own; another one may set the key yet.
    if len(app.before_serving_funcs) > 1 or app.while_serving_gens:
        return None
    if app.config["JWT_ALGORITHM"] in requires_cryptography:
        return None if app.config["JWT_PUBLIC_KEY"] else "JWT_PUBLIC_KEY"
    has_secret = app.config["JWT_SECRET_KEY"] or app.config.get("SECRET_KEY")
    return None if has_secret else "JWT_SECRET_KEY"


class JWTAuthenticator:
    """Checks tokens as quart-jwt-extended does for a route, with the app's own configuration."""

    def __init__(self, app: Quart) -> None:
        self._app = app
        self._rules: tuple[Any, ...] = ()
        _read_tokens_once()

    def check_setup(self, settings: Settings) -> None:
        """Raise SetupError where no token could be checked, or cookies of any page would count."""
        if _EXTENSION not in self._app.extensions:
            raise SetupError(
                "Quart-Realtime checks tokens with Quart-JWT-Extended, and this app has none: "
                'write JWTManager(app) and set app.config["JWT_SECRET_KEY"], or log in by a '
                "function of your own: Realtime(authenticate=…)."
            )
        missing = _missing_key(self._app)
        if missing is not None:
            raise SetupError(
                f'No token can be checked: set app.config["{missing}"], which '
                f"JWT_ALGORITHM = {self._app.config['JWT_ALGORITHM']!r} needs."
            )
        if settings.allowed_origins == "*" and "cookies" in _locations(self._app):
            raise SetupError(
                ANY_ORIGIN.format(
                    cookies="JWT_TOKEN_LOCATION has cookies", instead="take the cookies out"
                )
            )

    async def check(self, handshake: Handshake, token: str | None) -> JWTIdentity | None:
        """Return whose token it is, None where there is none.

        Key, algorithms, issuer, audience, token type, blacklist, claims verification and user
        loader are the app's.

        Raises:
            TokenRefused: it isn't good; the error says why, and whether it has merely expired.

        """
        if token is None:
            return None
        if not token.isascii():  # RFC 7515: base64url and dots.
            raise TokenRefused("the token is not accepted: it is no JWT")
        async with self._app.app_context():
            with _refusals():
                data = decode_token(token)
                verify_token_type(data, expected_type="access")
                user = _user_of(data)
                header = _header_of(token.partition(".")[0])
            data = _lean(data)
            return JWTIdentity(
                user_id=_as_text(data[jwt_config.identity_claim_key]),
                claims=data[jwt_config.user_claims_key],
                expires_at=data.get("exp"),
                token=token,
                token_data=data,
                token_header=header,
                user=user,
                leeway=_seconds(jwt_config.leeway),
                rules=self._shared_rules(data, header),
            )

    async def check_again(self, handshake: Handshake, identity: Identity) -> Identity:
        """Return *identity* with its user loaded anew, unless it counts no longer.

        Blacklist, claims verification and user loader are asked. When the token begins and ends
        isn't looked at: that was settled when it was shown, by a clock that nobody sets.

        Raises:
            TokenRefused: it counts no longer.

        """
        identity = cast("JWTIdentity", identity)
        async with self._app.app_context():
            with _refusals():
                user = _user_of(identity.token_data)
        return evolve(identity, user=user)

    def _shared_rules(self, data: dict[str, Any], header: dict[str, Any]) -> tuple[Any, ...]:
        """Return one tuple for all tokens that are checked alike, to keep connections small."""
        rules = _rules(data, header)
        if rules != self._rules:
            self._rules = rules
        return self._rules

    async def issue(self, user_id: Any, claims: Mapping[str, Any] | None = None) -> str:
        """Make an access token for *user_id*, with the app's own *claims* in it."""
        async with self._app.app_context():
            return str(create_access_token(user_id, user_claims=dict(claims or {})))

    def can_be_revoked(self) -> bool:
        """Whether a token that was good may stop being so before it expires."""
        manager = self._app.extensions[_EXTENSION]
        return bool(self._app.config["JWT_BLACKLIST_ENABLED"]) or (
            manager._user_loader_callback is not None
        )

    def is_asked_each_time(self) -> bool:
        """Whether a token is looked at again before each request and each room: it is cheap."""
        return self.can_be_revoked()

    def token_header(self) -> str:
        """Return the name of the JWT header."""
        return str(self._app.config["JWT_HEADER_NAME"])

    def read(self, opened: Websocket | Request) -> Brought:
        """Return the token that a handshake brings.

        It is looked for in the subprotocols, in the JWT header, and then in the cookies and the
        query string where ``JWT_TOKEN_LOCATION`` names them. Cookies count where
        :func:`~quart_realtime.handshake.cookies_count` says so.
        """
        token = offered_token(opened)
        if token is None:
            token = _token_of(opened)
        return Brought(
            token,
            asks=token is not None,
            used_up={self.token_header().lower()},
            passed_over=token is None and self._has_cookie(opened),
        )

    def _has_cookie(self, opened: Websocket | Request) -> bool:
        """Whether there is a cookie that a token would be looked for in."""
        name = self._app.config["JWT_ACCESS_COOKIE_NAME"]
        return "cookies" in _locations(self._app) and name in opened.cookies

    def _carrier(self, identity: JWTIdentity, method: str) -> str:
        """Return the first location that a request may bring *identity*'s token in.

        A token that was made for a header has no CSRF value, without which a cookie is refused.
        """
        config = self._app.config
        protected = config["JWT_COOKIE_CSRF_PROTECT"] and method in config["JWT_CSRF_METHODS"]
        locations = _locations(self._app)
        for location in locations:
            if location != "cookies" or not protected or "csrf" in identity.token_data:
                return location
        return locations[0]

    def carry(
        self,
        identity: Identity | None,
        method: str,
        headers: Headers,
        query: list[tuple[str, str]],
    ) -> dict[str, str]:
        """Put *identity*'s token where the app looks for it first, and vouch for it.

        Args:
            identity: Whose token; None before login.
            method: The request's HTTP method; some need the token's CSRF value beside a cookie.
            headers: The request's headers; changed in place.
            query: The request's query arguments; changed in place.

        Returns:
            What is to be added to a JSON body.

        """
        identity = cast("JWTIdentity | None", identity)
        _vouched_for.set(identity)
        config = self._app.config
        # What else might pass for a token must not speak for somebody else, nor for who is nobody:
        # a cookie is there too that must not count.
        name = config["JWT_QUERY_STRING_NAME"]
        query[:] = [(key, value) for key, value in query if key != name]
        set_cookie(headers, config["JWT_ACCESS_COOKIE_NAME"], None)
        if identity is None:
            return {}
        location = self._carrier(identity, method)
        if location == "query_string":
            query.append((name, identity.token))
        elif location == "json":
            return {config["JWT_JSON_KEY"]: identity.token}
        elif location == "cookies":
            set_cookie(headers, config["JWT_ACCESS_COOKIE_NAME"], identity.token)
            if "csrf" in identity.token_data and method in config["JWT_CSRF_METHODS"]:
                headers[config["JWT_ACCESS_CSRF_HEADER_NAME"]] = identity.token_data["csrf"]
        else:
            kind = config["JWT_HEADER_TYPE"]
            token = f"{kind} {identity.token}" if kind else identity.token
            headers[config["JWT_HEADER_NAME"]] = token
        return {}

    def log_in(self, identity: Identity | None) -> None:
        """Make it what ``get_jwt_identity`` and ``current_user`` answer in this app context."""
        if isinstance(identity, JWTIdentity):
            g._jwt_extended_jwt = identity.token_data
            g._jwt_extended_jwt_header = dict(identity.token_header)  # All tokens share it.
            if identity.user is not None:
                g._jwt_extended_jwt_user = identity.user


# A route that is called over a socket would have its token read, and its signature checked, at each
# request, which takes longer than all the rest of the request. Within a request of ours, what has
# been read from the connection's token is used again while nothing it depends on has changed; all
# that may change (expiry, revocation, the claims' check, the user) is looked at each time.

_vouched_for: ContextVar[JWTIdentity | None] = ContextVar(
    "quart_realtime_vouched_for", default=None
)
"""Whose token routes that run in this context may take as it has been read."""


_RULES = (
    "JWT_ALGORITHM",
    "JWT_DECODE_AUDIENCE",
    "JWT_DECODE_ISSUER",
    "JWT_DECODE_LEEWAY",
    "JWT_IDENTITY_CLAIM",
    "JWT_USER_CLAIMS",
)


def _rules(data: dict[str, Any], header: dict[str, Any]) -> tuple[Any, ...]:
    """Return all that quart-jwt-extended reads and checks a token by, from the current app."""
    app = current_app._get_current_object()  # type: ignore[attr-defined]
    manager = app.extensions[_EXTENSION]
    try:
        key = manager._decode_key_callback(data, header)
    except TypeError:  # The older form of the callback.
        key = manager._decode_key_callback(data)
    read = app.config.get
    algorithms = tuple(read("JWT_DECODE_ALGORITHMS") or ())
    return key, algorithms, *map(read, _RULES)


def _read_tokens_once() -> None:
    """Have quart-jwt-extended's decorators ask for what has been read already."""
    if view_decorators.decode_token is decode_token:
        view_decorators.decode_token = _decode_token
        view_decorators.get_unverified_jwt_headers = _unverified_headers


def _decode_token(
    encoded_token: str, csrf_value: str | None = None, allow_expired: bool = False
) -> dict[str, Any]:
    """Do as quart-jwt-extended's ``decode_token``, which it is in place of."""
    identity = _vouched_for.get()
    if (
        identity is not None
        and identity.token == encoded_token
        and not (csrf_value or allow_expired)
        and (identity.expires_at is None or (identity.remaining() or 0) > 0)
        and _rules(identity.token_data, identity.token_header) == identity.rules
    ):
        # A copy, so that nothing that a route does to its claims carries over to the next.
        return {
            name: deepcopy(value) if isinstance(value, (dict, list)) else value
            for name, value in identity.token_data.items()
        }
    return cast("dict[str, Any]", decode_token(encoded_token, csrf_value, allow_expired))


def _unverified_headers(encoded_token: str) -> dict[str, Any]:
    """Do as quart-jwt-extended's ``get_unverified_jwt_headers``, which it is in place of."""
    return dict(_header_of(encoded_token.partition(".")[0]))


def _token_of(opened: Websocket | Request) -> str | None:
    header = opened.headers.get(jwt_config.header_name)
    if header:
        return _strip_header(header, jwt_config.header_type)
    cookies = opened.cookies if cookies_count(opened) else {}
    for location in jwt_config.token_location:
        if location == "cookies" and jwt_config.access_cookie_name in cookies:
            return str(cookies[jwt_config.access_cookie_name])
        if location == "query_string" and jwt_config.query_string_name in opened.args:
            return str(opened.args[jwt_config.query_string_name])
    return None


def _seconds(value: timedelta | float) -> float:
    return value.total_seconds() if isinstance(value, timedelta) else float(value)


def _locations(app: Quart) -> Sequence[str]:
    locations = app.config["JWT_TOKEN_LOCATION"]
    return (locations,) if isinstance(locations, str) else tuple(locations)


@contextmanager
def _refusals() -> Iterator[None]:
    """Raise TokenRefused for whatever quart-jwt-extended has against a token."""
    try:
        yield
    except jwt.ExpiredSignatureError:
        raise TokenRefused("the token has expired", expired=True) from None
    except RevokedTokenError:
        raise TokenRefused("the token has been revoked") from None
    except (jwt.InvalidTokenError, jwt.InvalidKeyError, JWTExtendedException) as error:
        raise TokenRefused(f"the token is not accepted: {_reason(error)}") from None


def _user_of(data: dict[str, Any]) -> Any:
    """Ask whether a token still counts, whatever the time, and return whom the app loads for it."""
    verify_token_not_blacklisted(data, "access")
    verify_token_claims(data)
    return _load_user(data)


def _load_user(data: dict[str, Any]) -> Any:
    if not has_user_loader():
        return None
    user = user_loader(data[jwt_config.identity_claim_key])
    if user is None:
        raise UserLoadError("its user is unknown")
    return user


def _reason(error: Exception) -> str:
    """Say what is wrong in words of our own: PyJWT's may hold what a client wrote."""
    if isinstance(error, JWTExtendedException):
        return str(error) or type(error).__name__
    return next(_REASONS[kind] for kind in type(error).__mro__ if kind in _REASONS)


def _lean(data: dict[str, Any]) -> dict[str, Any]:
    """Return *data* with keys that all tokens share, so that no connection keeps its own."""
    return {sys.intern(name): value for name, value in data.items()}


@lru_cache(maxsize=16)
def _header_of(part: str) -> dict[str, Any]:
    """Return a token's header, read from its first *part*, which an app issues few kinds of."""
    return dict(get_unverified_jwt_headers(f"{part}.."))


def _as_text(identity: object) -> str:
    return identity if isinstance(identity, str) else json.dumps(identity, sort_keys=True)


def _strip_header(header: str, kind: str | None) -> str:
    """Return the token of a header ``Bearer <token>``; the whole header where it isn't one."""
    if not kind:
        return header.strip()
    for part in header.split(","):
        words = part.split()
        if len(words) == 2 and words[0].lower() == kind.lower():
            return words[1]
    return header

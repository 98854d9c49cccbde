"""What a signed cookie holds about a browser, and the tokens of its forms."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from dataclasses import dataclass
from typing import Any, Final

from itsdangerous import BadData, SignatureExpired, URLSafeTimedSerializer
from itsdangerous.signer import Signer

LIFETIME: Final = 12 * 3600
"""Seconds after which a browser has to log in again."""

KEPT: Final = 30 * 24 * 3600
"""Seconds for which a browser keeps the cookie: longer, so that the login can say what happened."""


@dataclass(frozen=True, slots=True)
class BrowserSession:
    """``id`` is random. ``user`` has logged in, with a password of this ``fingerprint``."""

    id: str
    user: str | None = None
    fingerprint: str | None = None

    @classmethod
    def new(cls, user: str | None = None, fingerprint: str | None = None) -> BrowserSession:
        """Return one with another id. A login must begin one: others may know the id before it."""
        return cls(secrets.token_urlsafe(18), user, fingerprint)


class Sessions:
    """Reads and writes the cookie. Who does not know ``secret`` can forge nothing."""

    def __init__(self, secret: str) -> None:
        self._serializer = URLSafeTimedSerializer(
            secret, salt="owsuper session", signer_kwargs={"digest_method": hashlib.sha256}
        )
        self._tokens = Signer(secret, salt="owsuper form", digest_method=hashlib.sha256)
        # Cookies do not know ports: two dashboards on one host must not overwrite each other's.
        self.cookie = f"owsuper_{hashlib.sha256(b'cookie ' + secret.encode()).hexdigest()[:8]}"

    def write(self, session: BrowserSession) -> str:
        """Return the value of the cookie."""
        return str(self._serializer.dumps([session.id, session.user, session.fingerprint]))

    def read(self, value: str | None) -> tuple[BrowserSession | None, bool]:
        """Return the session, or None; and whether there is none because it has expired."""
        if not value:
            return None, False
        try:
            data: Any = self._serializer.loads(value, max_age=LIFETIME)
        except SignatureExpired:
            return None, True
        except BadData:
            return None, False
        return BrowserSession(*data), False

    def token(self, session: BrowserSession) -> str:
        """Return the token that each form of this browser carries."""
        return self._tokens.get_signature(session.id).decode()

    def is_token(self, session: BrowserSession, token: str) -> bool:
        """Return whether the form was made for this browser; takes the same time for all."""
        return hmac.compare_digest(self.token(session).encode(), token.encode())

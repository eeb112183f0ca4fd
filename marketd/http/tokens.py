"""
Signed tokens, by PyJWT: access tokens (EdDSA, RFC 8037) and download links (HMAC, for ourselves alone).

Keys are files in the data directory, readable by the service only: `<kid>.pem` for access tokens, of which the newest
signs and the others verify what they have signed; `links.key` for links; `mail.key` for tokens that are mailed;
`push.key` for push messages; `webhooks.key` for the secrets of webhooks; `answers.key` for stored responses.

    TokenInvalid    not issued by this service, or for another use
    TokenExpired    issued by this service, but expired
    KeyUnusable     a key's file can't be read, or holds something else
"""

import secrets
from collections import OrderedDict
from pathlib import Path
from typing import Annotated, Any, Final

import jwt
import msgspec
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from jwt.algorithms import OKPAlgorithm
from msgspec import Meta, Struct

from marketd.actors.account import Role
from marketd.clock import Clock, id_of, made_at, new_id
from marketd.whole import make_folder, write_whole

ISSUER: Final = "marketd"
AUDIENCE: Final = "marketd-api"
LINK_AUDIENCE: Final = "marketd-download"
CLAIMS: Final = ("sub", "role", "iat", "exp", "iss", "aud", "jti")
SECRET_BYTES: Final = 32
REMEMBERED_MAX: Final = 10_000
TOKEN_CHARACTERS_MAX: Final = 4_096
AHEAD_S_MAX: Final = 60  # how far the issuer's clock may be ahead of ours


class TokenInvalid(Exception):
    """Not issued by this service, or for another use."""


class TokenExpired(Exception):
    """Issued by this service, but expired."""


class KeyUnusable(Exception):
    """A key's file can't be read, or holds something else; the message is one line for the operator."""

    def __init__(self, path: Path, why: str) -> None:
        super().__init__(f"the key {path} can't be used: {why}")
        self.path = path


class Principal(Struct, frozen=True):
    """The user of a request, and their session; a token made by hand may have none."""

    user_id: str
    role: Role
    session_id: str = ""


class _Claims(Struct, frozen=True):
    """The claims of an access token that are read, strictly."""

    sub: Annotated[str, Meta(min_length=1, max_length=64)]
    role: Role
    iat: int
    exp: int
    nbf: int = 0
    sid: str = ""


class DownloadGrant(Struct, frozen=True):
    """What a download link is good for: one file of one order."""

    order_id: str
    name: str
    type: str
    url: str


class AccessTokens:
    """Issues and verifies access tokens; those issued or verified are remembered until they expire."""

    def __init__(self, keys: dict[str, Ed25519PrivateKey], clock: Clock, *, minutes: int) -> None:
        self._clock, self.seconds = clock, minutes * 60
        self._remembered: OrderedDict[str, tuple[Principal, float]] = OrderedDict()
        self.renew(keys)

    def renew(self, keys: dict[str, Ed25519PrivateKey]) -> None:
        """Replace the keys: the newest signs, and tokens that none of them has signed are invalid."""
        self._kid, self._signing = max(keys.items(), key=lambda item: item[0])
        self._public = {kid: key.public_key() for kid, key in keys.items()}
        self._remembered.clear()

    def issue(self, principal: Principal) -> str:
        """Sign a token for this user."""
        now_s = self._clock.now_ms() // 1000
        claims = {
            "sub": principal.user_id,
            "role": principal.role,
            "iat": now_s,
            "exp": now_s + self.seconds,
            "iss": ISSUER,
            "aud": AUDIENCE,
            "jti": new_id(self._clock),
            "sid": principal.session_id,
        }
        token = jwt.encode(claims, self._signing, algorithm="EdDSA", headers={"kid": self._kid})
        self._remember(token, (principal, float(now_s + self.seconds)))
        return token

    def verify(self, token: str) -> Principal:
        """Give the user of a token; raise `TokenInvalid` or `TokenExpired`."""
        now_s = self._clock.now_ms() / 1000
        known = self._remembered.get(token)
        if known is None:
            known = self._verify(token)
            self._remember(token, known)
        principal, expires_s = known
        if expires_s <= now_s:
            raise TokenExpired("the access token has expired")
        return principal

    def _remember(self, token: str, known: tuple[Principal, float]) -> None:
        self._remembered[token] = known
        if len(self._remembered) > REMEMBERED_MAX:
            self._remembered.popitem(last=False)

    def _verify(self, token: str) -> tuple[Principal, float]:
        if len(token) > TOKEN_CHARACTERS_MAX:
            raise TokenInvalid("the access token is too long")
        try:
            key = self._public.get(jwt.get_unverified_header(token).get("kid", ""))
            if key is None:
                raise TokenInvalid("the access token was not signed by a key of this service")
            decoded = _decode(token, key, "EdDSA", AUDIENCE, ISSUER)
            claims = msgspec.convert(decoded, _Claims)
        except (jwt.PyJWTError, msgspec.ValidationError, UnicodeError, RecursionError):
            raise TokenInvalid("the access token is not valid") from None
        if max(claims.iat, claims.nbf) > self._clock.now_ms() / 1000 + AHEAD_S_MAX:
            raise TokenInvalid("the access token is not valid yet")
        return Principal(claims.sub, claims.role, claims.sid), float(claims.exp)

    def jwks(self) -> dict[str, Any]:
        """Give the public keys as a JSON Web Key Set (RFC 7517)."""
        return {"keys": [_jwk(kid, key) for kid, key in self._public.items()]}


class DownloadLinks:
    """Issues and verifies the tokens of download links."""

    def __init__(self, key: bytes, clock: Clock, *, minutes: int) -> None:
        self._key, self._clock, self.seconds = key, clock, minutes * 60

    def issue(self, grant: DownloadGrant) -> tuple[str, int]:
        """Sign a token; give it with its expiry, in ms since the epoch."""
        expires_s = self._clock.now_ms() // 1000 + self.seconds
        return self.issue_until(grant, expires_s), expires_s * 1000

    def issue_until(self, grant: DownloadGrant, expires_s: int) -> str:
        """Sign a token that is valid until a time (s since the epoch), the same each time."""
        claims = {
            "sub": grant.order_id,
            "name": grant.name,
            "type": grant.type,
            "url": grant.url,
            "exp": expires_s,
            "aud": LINK_AUDIENCE,
        }
        return jwt.encode(claims, self._key, algorithm="HS256")

    def verify(self, token: str) -> DownloadGrant:
        """Give what the link permits; raise `TokenInvalid` or `TokenExpired`."""
        try:
            claims = _decode(token, self._key, "HS256", LINK_AUDIENCE, None)
        except (jwt.PyJWTError, UnicodeError, RecursionError):
            raise TokenInvalid("the link is not one of this service") from None
        if claims["exp"] <= self._clock.now_ms() / 1000:
            raise TokenExpired("the link has expired")
        return DownloadGrant(claims["sub"], claims["name"], claims["type"], claims["url"])


def load_signing_keys(folder: Path, clock: Clock) -> dict[str, Ed25519PrivateKey]:
    """Load the keys by their ids, which sort by age; make the first one where there is none; raise `KeyUnusable`."""
    if not any(folder.glob("*.pem")):
        make_signing_key(folder, clock)
    return {path.stem: _signing_key(path) for path in sorted(folder.glob("*.pem"))}


def make_signing_key(folder: Path, clock: Clock) -> str:
    """Make a key that is newer than all others, whatever the clock says, and give its id; raise `KeyUnusable`."""
    newest = max(map(_made_at, folder.glob("*.pem")), default=0)
    kid = id_of(max(clock.now_ms(), newest + 1), clock.random_bytes(10))
    pem = Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    _write_secret(folder / f"{kid}.pem", pem)
    return kid


def _made_at(path: Path) -> int:
    """Say when a key was made, by its name; 0 if the file has another sort of name."""
    try:
        return made_at(path.stem)
    except ValueError:
        return 0


def _signing_key(path: Path) -> Ed25519PrivateKey:
    try:
        key = load_pem_private_key(_read_secret(path), password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):  # not PEM, or encrypted, or of an unknown curve
        key = None
    if not isinstance(key, Ed25519PrivateKey):
        raise KeyUnusable(path, "it is no private key of Ed25519 in PEM")
    return key


def load_link_key(folder: Path) -> bytes:
    """Load the key for download links; make it where there is none; raise `KeyUnusable`."""
    return _load_secret(folder / "links.key")


def load_mail_key(folder: Path) -> bytes:
    """Load the key for the tokens that go by mail; make it where there is none; raise `KeyUnusable`."""
    return _load_secret(folder / "mail.key")


def load_push_key(folder: Path) -> bytes:
    """Load the secret that our key for push services is derived from; make it if there is none; raise `KeyUnusable`."""
    return _load_secret(folder / "push.key")


def load_answers_key(folder: Path) -> bytes:
    """Load the secret that the keys of stored responses are derived from; make it if missing; raise `KeyUnusable`."""
    return _load_secret(folder / "answers.key")


def load_webhook_key(folder: Path) -> bytes:
    """Load the key that the secrets of webhooks are derived from; make it if there is none; raise `KeyUnusable`."""
    return _load_secret(folder / "webhooks.key")


def _load_secret(path: Path) -> bytes:
    if not path.exists():
        _write_secret(path, secrets.token_bytes(SECRET_BYTES))
    key = _read_secret(path)
    if len(key) != SECRET_BYTES:
        raise KeyUnusable(path, f"it has {len(key)} bytes, not {SECRET_BYTES}")
    return key


def _read_secret(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise KeyUnusable(path, error.strerror or str(error)) from None


def _write_secret(path: Path, data: bytes) -> None:
    """Write a file that only we can read, whole or not at all."""
    try:
        make_folder(path.parent, 0o700)
        write_whole(path, data)
    except OSError as error:
        raise KeyUnusable(path, error.strerror or str(error)) from None


def _decode(token: str, key: Any, algorithm: str, audience: str, issuer: str | None) -> dict[str, Any]:
    """Verify all but the times, which are compared with the service's own clock."""
    required = list(CLAIMS) if issuer else ["sub", "exp", "aud"]
    options: Any = {"require": required, "verify_exp": False, "verify_iat": False, "verify_nbf": False}
    return jwt.decode(token, key, algorithms=[algorithm], audience=audience, issuer=issuer, options=options)


def _jwk(kid: str, key: Ed25519PublicKey) -> dict[str, Any]:
    return {**OKPAlgorithm.to_jwk(key, as_dict=True), "kid": kid, "alg": "EdDSA", "use": "sig"}

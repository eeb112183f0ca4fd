"""
API2:2023 Broken Authentication: access tokens as attackers make them (RFC 8725). Those that need the service's own key
are signed with it here: what is in a token is looked at however well it is signed.
"""

import base64
import hashlib
import hmac
import json
from collections.abc import Callable
from typing import Any, Final

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key

from marketd.actors import account
from marketd.http.tokens import AHEAD_S_MAX, TOKEN_CHARACTERS_MAX, load_signing_keys, make_signing_key
from marketd.storage.library import Library, ReadLibrary
from tests.http.stage import Reply, Stage

pytestmark = pytest.mark.asyncio

Json = dict[str, Any]


class Forge:
    """Makes tokens out of those of a stage."""

    def __init__(self, stage: Stage) -> None:
        self.now_s = stage.clock.now_ms() // 1000
        (path,) = stage.keys.glob("*.pem")
        key = load_pem_private_key(path.read_bytes(), password=None)
        assert isinstance(key, Ed25519PrivateKey)
        self.key, self.kid = key, path.stem
        self.good = stage.bearer("ann")["Authorization"].partition(" ")[2]
        self.claims: Json = jwt.decode(self.good, options={"verify_signature": False})

    @property
    def public(self) -> bytes:
        return self.key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)

    @property
    def public_pem(self) -> bytes:
        return self.key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)

    def signed(self, claims: Json, header: Json | None = None, key: Ed25519PrivateKey | None = None) -> str:
        """Sign with the service's own key, or another."""
        signing = self.key if key is None else key
        return _sealed(claims, {"alg": "EdDSA", "kid": self.kid, "typ": "JWT"} | (header or {}), signing.sign)

    def mac(self, secret: bytes, header: Json | None = None) -> str:
        def sign(data: bytes) -> bytes:
            return hmac.digest(secret, data, hashlib.sha256)

        return _sealed(self.claims, {"alg": "HS256", "kid": self.kid} | (header or {}), sign)


def _sealed(claims: object, header: object, sign: Callable[[bytes], bytes]) -> str:
    body = f"{_b64(json.dumps(header).encode())}.{_b64(json.dumps(claims).encode())}"
    return f"{body}.{_b64(sign(body.encode()))}"


def _b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


async def shown(stage: Stage, *tokens: str) -> Reply:
    """Show the last of these tokens where one has to."""
    stage.bus.answers(ReadLibrary, Library(0, []))
    return await stage.call("GET", "/library", headers={"Authorization": f"Bearer {tokens[-1]}"})


def without_signature(forge: Forge, alg: object) -> str:
    return _sealed(forge.claims, {"alg": alg, "kid": forge.kid}, lambda data: b"")


STRANGER: Final = Ed25519PrivateKey.generate()
FORGED: Final[dict[str, Callable[[Forge], str]]] = {
    "alg none": lambda f: without_signature(f, "none"),
    "alg None": lambda f: without_signature(f, "None"),
    "alg nOnE": lambda f: without_signature(f, "nOnE"),
    "alg empty": lambda f: without_signature(f, ""),
    "alg null": lambda f: without_signature(f, None),
    "alg a list": lambda f: without_signature(f, ["EdDSA"]),
    "EdDSA without a signature": lambda f: without_signature(f, "EdDSA"),
    "HS256 under the public key": lambda f: f.mac(f.public),
    "HS256 under the public key in PEM": lambda f: f.mac(f.public_pem),
    "HS256 under the key of the JWKS": lambda f: f.mac(_b64(f.public).encode()),
    "HS256 under nothing": lambda f: f.mac(b""),
    "another alg over our signature": lambda f: f.signed(f.claims, {"alg": "ES256"}),
    "the key of a stranger": lambda f: f.signed(f.claims, key=STRANGER),
    "the key of a stranger under its kid": lambda f: f.signed(f.claims, {"kid": "stranger"}, STRANGER),
    "a stranger's jwk": lambda f: f.signed(f.claims, {"jwk": jwk(STRANGER), "kid": "x"}, STRANGER),
    "a stranger's jwk under our kid": lambda f: f.signed(f.claims, {"jwk": jwk(STRANGER)}, STRANGER),
    "a jku": lambda f: f.signed(f.claims, {"jku": "http://127.0.0.1:9/jwks.json", "kid": "x"}, STRANGER),
    "an x5u": lambda f: f.signed(f.claims, {"x5u": "file:///etc/hostname"}, STRANGER),
    "an x5c": lambda f: f.signed(f.claims, {"x5c": [_b64(b"no certificate")]}, STRANGER),
    "no kid": lambda f: _sealed(f.claims, {"alg": "EdDSA"}, f.key.sign),
    "crit": lambda f: f.signed(f.claims, {"crit": ["exp"], "exp": 1}),
    "crit of somebody else": lambda f: f.signed(f.claims, {"crit": ["policy"], "policy": "none"}),
    "b64 false": lambda f: f.signed(f.claims, {"b64": False, "crit": ["b64"]}),
    "a payload that was changed": lambda f: swapped(f, 1, _b64(json.dumps(f.claims | {"role": "admin"}).encode())),
    "a header that was changed": lambda f: swapped(f, 0, _b64(json.dumps({"alg": "EdDSA", "kid": f.kid}).encode())),
    "a signature that was cut": lambda f: f.good[:-4],
    "a part too few": lambda f: f.good.rpartition(".")[0],
    "a part too many": lambda f: f"{f.good}.e30",
    "empty parts": lambda f: "..",
    "dots alone": lambda f: "." * 50,
    "no base64": lambda f: swapped(f, 1, "&&&&"),
    "no JSON": lambda f: swapped(f, 0, _b64(b"{")),
    "no object": lambda f: swapped(f, 0, _b64(b"[]")),
    "no UTF-8": lambda f: swapped(f, 0, _b64(b'{"alg":"\xff"}')),
    "a nest": lambda f: f"{_b64(b'[' * 2_900)}.e30.e30",
    "a long number": lambda f: f"{_b64(b'1' * 2_900)}.e30.e30",
    "too long": lambda f: f"{f.good}{'A' * TOKEN_CHARACTERS_MAX}",
    "two": lambda f: f"{f.good}, {f.good}",
}


def jwk(key: Ed25519PrivateKey) -> Json:
    x = _b64(key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw))
    return {"kty": "OKP", "crv": "Ed25519", "x": x}


def swapped(forge: Forge, index: int, part: str) -> str:
    parts = forge.good.split(".")
    parts[index] = part
    return ".".join(parts)


@pytest.mark.parametrize("how", FORGED)
async def test_a_forged_token_opens_nothing(stage: Stage, how: str) -> None:
    answer = await shown(stage, FORGED[how](Forge(stage)))

    assert (401, []) == (answer.status, stage.bus.asked)
    assert "invalid_token" in answer.headers["WWW-Authenticate"]


@pytest.mark.parametrize("how", FORGED)
async def test_why_a_token_is_no_good_is_not_told_in_the_words_of_a_library(stage: Stage, how: str) -> None:
    detail = (await shown(stage, FORGED[how](Forge(stage)))).json()["detail"]

    assert detail in {
        "the access token is not valid",
        "the access token is too long",
        "the access token was not signed by a key of this service",
    }


@pytest.mark.parametrize(
    "kid",
    [
        "../../../../dev/null",
        "/dev/null",
        "keys/links",
        "..%2f..%2fetc%2fpasswd",
        "http://127.0.0.1:9/key.pem",
        "' OR '1'='1",
        "a\0b",
        "\ud800",
        "*",
        "",
        "x" * 2_000,
        None,
        1,
        True,
        ["a"],
        {"a": 1},
    ],
)
async def test_a_kid_is_the_name_of_a_key_and_no_address_of_one(stage: Stage, kid: object) -> None:
    assert 401 == (await shown(stage, Forge(stage).signed(Forge(stage).claims, {"kid": kid}))).status


HOUR_S: Final = 3600
WRONG: Final[dict[str, Callable[[int], Json]]] = {
    "expired": lambda now: {"exp": now - 1},
    "expiring now": lambda now: {"exp": now},
    "not valid yet": lambda now: {"nbf": now + HOUR_S},
    "issued tomorrow": lambda now: {"iat": now + 24 * HOUR_S, "exp": now + 25 * HOUR_S},
    "another audience": lambda now: {"aud": "marketd-download"},
    "many audiences, none ours": lambda now: {"aud": ["marketd-download", "x"]},
    "half of our audience": lambda now: {"aud": "marketd"},
    "another issuer": lambda now: {"iss": "https://evil.example"},
    "half of our issuer": lambda now: {"iss": "market"},
    "a list of issuers": lambda now: {"iss": ["marketd"]},
    "an end in words": lambda now: {"exp": "tomorrow"},
    "no end": lambda now: {"exp": None},
    "an end as text": lambda now: {"exp": str(now + HOUR_S)},
    "an infinite end": lambda now: {"exp": float("inf")},
    "a role that there is not": lambda now: {"role": "root"},
    "two roles": lambda now: {"role": ["buyer", "admin"]},
    "a role in an object": lambda now: {"role": {"admin": True}},
    "no role": lambda now: {"role": None},
    "a role in capitals": lambda now: {"role": "ADMIN"},
    "nobody": lambda now: {"sub": ""},
    "a number": lambda now: {"sub": 1},
    "a list of people": lambda now: {"sub": ["ann", "sam"]},
    "a session that is none": lambda now: {"sid": ["a"]},
}


@pytest.mark.parametrize("what", WRONG)
async def test_what_a_token_says_is_checked_even_if_we_signed_it(stage: Stage, what: str) -> None:
    forge = Forge(stage)

    assert 401 == (await shown(stage, forge.signed(forge.claims | WRONG[what](forge.now_s)))).status


@pytest.mark.parametrize("name", ["sub", "role", "iat", "exp", "iss", "aud", "jti"])
async def test_no_claim_may_be_missing(stage: Stage, name: str) -> None:
    forge = Forge(stage)
    del forge.claims[name]

    assert 401 == (await shown(stage, forge.signed(forge.claims))).status


async def test_the_forge_makes_good_tokens_as_well(stage: Stage) -> None:
    forge = Forge(stage)
    slow_clock = forge.claims | {"iat": forge.now_s + AHEAD_S_MAX}

    assert [200, 200, 200] == [
        (await shown(stage, token)).status
        for token in (forge.good, forge.signed(forge.claims), forge.signed(slow_clock))
    ]


async def test_the_token_of_a_key_that_was_taken_away_is_no_good(stage: Stage) -> None:
    forge = Forge(stage)
    before = (await shown(stage, forge.good)).status
    (old,) = stage.keys.glob("*.pem")
    make_signing_key(stage.keys, stage.clock)
    old.unlink()
    stage.tokens.renew(load_signing_keys(stage.keys, stage.clock))

    assert (200, 401) == (before, (await shown(stage, forge.good)).status)


async def test_a_token_that_was_good_expires_although_it_is_remembered(stage: Stage) -> None:
    forge = Forge(stage)
    before = (await shown(stage, forge.good)).status
    await stage.clock.advance(stage.tokens.seconds)

    assert (200, 401) == (before, (await shown(stage, forge.good)).status)


@pytest.mark.parametrize("scheme", ["Basic", "Token", "bearer,", "Bearer:", "", "JWT"])
async def test_a_token_under_another_scheme_is_none(stage: Stage, scheme: str) -> None:
    headers = {"Authorization": f"{scheme} {Forge(stage).good}"}

    assert 401 == (await stage.call("GET", "/library", headers=headers)).status


@pytest.mark.parametrize(
    "path", ["/library?access_token={}", "/library?token={}", "/library?Authorization=Bearer%20{}"]
)
async def test_a_token_in_the_address_is_none(stage: Stage, path: str) -> None:
    assert 401 == (await stage.call("GET", path.format(Forge(stage).good))).status


async def test_a_token_in_a_cookie_is_none(stage: Stage) -> None:
    assert 401 == (await stage.call("GET", "/library", cookies={"access_token": Forge(stage).good})).status


async def test_two_tokens_at_once_are_none(stage: Stage) -> None:
    """A proxy before us may look at the one, and we at the other."""
    first, second = Forge(stage).good, stage.bearer("sam")["Authorization"]
    head = f"GET /library HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {first}\r\nAuthorization: {second}\r\n"

    assert (await stage.raw(f"{head}Connection: close\r\n\r\n".encode())).startswith(b"HTTP/1.1 401 ")


async def test_a_bad_token_is_refused_even_where_none_is_needed(stage: Stage) -> None:
    bad = {"Authorization": "Bearer a.b.c"}

    assert 401 == (await stage.call("GET", "/products/lamp", headers=bad)).status


async def test_one_token_is_not_good_for_the_job_of_another(stage: Stage) -> None:
    access = Forge(stage).good
    mailed = {"token": access, "password": "Passw0rd"}
    answers = [
        await stage.call("GET", f"/downloads/{access}"),
        await stage.call("POST", "/auth/refresh", {"refreshToken": access[:500]}),
        await stage.call("POST", "/auth/verify-email", {"token": access[:500]}),
        await stage.call("POST", "/auth/password-reset/confirm", mailed | {"token": access[:500]}),
    ]

    assert ([403, 401, 400, 400], []) == ([answer.status for answer in answers], stage.bus.asked)


async def test_an_admin_is_made_by_no_request(stage: Stage) -> None:
    wanted = {"email": "eve@example.org", "password": "Passw0rd", "name": "Eve", "role": "admin"}
    answer = await stage.call("POST", "/auth/register", wanted)

    assert (["/role"], []) == (answer.faults, [m for _, m in stage.bus.messages if isinstance(m, account.Register)])

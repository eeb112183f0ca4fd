"""Signed tokens: only ours, only for what they are meant for, only for as long as they are good."""

import base64
import json
import stat
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)
from jwt.algorithms import OKPAlgorithm

from marketd.http import tokens as module
from marketd.http.tokens import (
    TOKEN_CHARACTERS_MAX,
    AccessTokens,
    DownloadGrant,
    DownloadLinks,
    KeyUnusable,
    Principal,
    TokenExpired,
    TokenInvalid,
    load_link_key,
    load_mail_key,
    load_signing_keys,
    make_signing_key,
)
from tests.clock import TestClock

ANN = Principal("ann", "buyer")
NOW_S = TestClock().now_ms() // 1000
KEY, OTHER = Ed25519PrivateKey.generate(), Ed25519PrivateKey.generate()
CLAIMS: dict[str, Any] = {
    "sub": "ann",
    "role": "buyer",
    "iat": NOW_S,
    "exp": NOW_S + 900,
    "iss": "marketd",
    "aud": "marketd-api",
    "jti": "1",
}
OPTIONAL: dict[str, Any] = {"sid": ""}  # what tokens of an older service have not
GRANT = DownloadGrant("o1", "lamp.zip", "application/zip", "https://files.example/lamp.zip")


def tokens(clock: TestClock | None = None, **keys: Ed25519PrivateKey) -> AccessTokens:
    return AccessTokens(keys or {"k1": KEY}, clock or TestClock(), minutes=15)


def signed(claims: dict[str, Any], key: Any = KEY, algorithm: str = "EdDSA", kid: Any = "k1") -> str:
    return jwt.encode(claims, key, algorithm=algorithm, headers={"kid": kid} if kid else None)


def written(header: object, claims: object = CLAIMS, signature: str = "AAAA") -> str:
    """A token put together by hand."""
    parts = (base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=") for part in (header, claims))
    return ".".join((*parts, signature))


def refuse(token: str) -> None:
    with pytest.raises(TokenInvalid):
        tokens().verify(token)


# Access tokens.


def test_who_a_token_was_made_for_is_who_it_stands_for() -> None:
    assert ANN == tokens().verify(tokens().issue(ANN))


def test_who_has_made_a_token_knows_it_without_reading_it(monkeypatch: pytest.MonkeyPatch) -> None:
    ours = tokens()
    token = ours.issue(ANN)
    monkeypatch.setattr(ours, "_verify", None)

    assert ANN == ours.verify(token)


def test_no_more_tokens_are_remembered_than_there_is_room_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "REMEMBERED_MAX", 2)
    ours = tokens()
    first, *_ = [ours.issue(ANN) for _ in range(3)]
    monkeypatch.setattr(ours, "_verify", None)

    with pytest.raises(TypeError):
        ours.verify(first)


def test_a_token_made_elsewhere_with_our_key_will_do() -> None:
    assert ANN == tokens().verify(signed(CLAIMS))


def test_a_token_has_the_claims_of_the_contract() -> None:
    claims = jwt.decode(tokens().issue(ANN), options={"verify_signature": False})

    assert CLAIMS | OPTIONAL == claims | {"jti": "1"}


def test_a_token_names_the_session_that_it_belongs_to() -> None:
    signed_in = Principal("ann", "buyer", "s1")

    assert signed_in == tokens().verify(tokens().issue(signed_in))


def test_after_a_renewal_the_new_key_signs() -> None:
    ours = tokens(k1=KEY)
    ours.renew({"k1": KEY, "k2": OTHER})

    assert "k2" == jwt.get_unverified_header(ours.issue(ANN))["kid"]


def test_after_a_renewal_what_the_old_key_has_signed_is_still_good() -> None:
    ours = tokens(k1=KEY)
    token = ours.issue(ANN)
    ours.renew({"k1": KEY, "k2": OTHER})

    assert ANN == ours.verify(token)


def test_what_a_key_has_signed_that_was_taken_away_is_good_no_more() -> None:
    ours = tokens(k1=KEY)
    token = ours.issue(ANN)
    ours.verify(token)
    ours.renew({"k2": OTHER})

    with pytest.raises(TokenInvalid):
        ours.verify(token)


def test_after_a_renewal_both_keys_are_public() -> None:
    ours = tokens(k1=KEY)
    ours.renew({"k1": KEY, "k2": OTHER})

    assert ["k1", "k2"] == [key["kid"] for key in ours.jwks()["keys"]]


def test_a_token_names_its_key_and_its_algorithm() -> None:
    assert {"alg": "EdDSA", "typ": "JWT", "kid": "k1"} == jwt.get_unverified_header(tokens().issue(ANN))


def test_no_two_tokens_are_the_same() -> None:
    ours = tokens()

    assert ours.issue(ANN) != ours.issue(ANN)


def test_the_newest_key_signs() -> None:
    header = jwt.get_unverified_header(tokens(k1=KEY, k2=OTHER).issue(ANN))

    assert "k2" == header["kid"]


def test_an_older_key_is_still_good_for_what_it_has_signed() -> None:
    assert ANN == tokens(k1=KEY, k2=OTHER).verify(tokens(k1=KEY).issue(ANN))


def test_the_time_of_the_service_decides() -> None:
    with pytest.raises(TokenExpired):
        tokens(TestClock((NOW_S + 900) * 1000)).verify(signed(CLAIMS))


def test_a_token_is_good_up_to_its_last_second() -> None:
    assert ANN == tokens(TestClock((NOW_S + 900) * 1000 - 1)).verify(signed(CLAIMS))


@pytest.mark.asyncio
async def test_a_token_that_is_remembered_expires_too() -> None:
    clock = TestClock()
    ours = tokens(clock)
    token = ours.issue(ANN)
    assert ANN == ours.verify(token)
    await clock.advance(900)

    with pytest.raises(TokenExpired):
        ours.verify(token)


@pytest.mark.parametrize("claim", sorted(CLAIMS))
def test_no_claim_may_be_missing(claim: str) -> None:
    refuse(signed({name: value for name, value in CLAIMS.items() if name != claim}))


@pytest.mark.parametrize(
    "change", [{"iss": "market"}, {"aud": "marketd-download"}, {"aud": "x"}, {"sub": 5}, {"exp": None}, {"jti": 5}]
)
def test_a_claim_that_is_not_ours_is_refused(change: dict[str, Any]) -> None:
    refuse(signed(CLAIMS | change))


@pytest.mark.parametrize("alg", ["none", "None", "NONE", "nOnE", ""])
@pytest.mark.parametrize("signature", ["", "AAAA"])
def test_a_token_without_a_signature_is_refused(alg: str, signature: str) -> None:
    refuse(written({"alg": alg, "typ": "JWT", "kid": "k1"}, signature=signature))


@pytest.mark.parametrize("form", ["pem", "raw", "jwk"])
@pytest.mark.parametrize("algorithm", ["HS256", "HS512"])
@pytest.mark.filterwarnings("ignore::jwt.warnings.InsecureKeyLengthWarning")
def test_the_public_key_is_no_secret_to_sign_with(form: str, algorithm: str) -> None:
    public = KEY.public_key()
    secret = {
        "pem": public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo),
        "raw": public.public_bytes(Encoding.Raw, PublicFormat.Raw),
        "jwk": OKPAlgorithm.to_jwk(public).encode(),
    }[form]
    head = written({"alg": algorithm, "typ": "JWT", "kid": "k1"}).rpartition(".")[0]
    signature = jwt.get_algorithm_by_name(algorithm).sign(head.encode(), secret)

    refuse(f"{head}.{base64.urlsafe_b64encode(signature).decode().rstrip('=')}")


def test_a_token_of_another_key_under_our_name_is_refused() -> None:
    refuse(signed(CLAIMS, OTHER))


@pytest.mark.parametrize("kid", ["k2", "../keys/k1", "", None])
def test_a_key_that_is_not_ours_is_refused(kid: str | None) -> None:
    refuse(signed(CLAIMS, kid=kid))


@pytest.mark.parametrize(
    "header",
    [
        {"alg": "EdDSA", "kid": 5},
        {"alg": "EdDSA", "kid": ["k1"]},
        {"alg": "EdDSA", "kid": {"k1": 1}},
        {"alg": ["EdDSA"], "kid": "k1"},
        {"alg": 5, "kid": "k1"},
        {"alg": None, "kid": "k1"},
        {"kid": "k1"},
        {"alg": "EdDSA", "kid": "k1", "crit": ["exp"]},
        {"alg": "EdDSA", "kid": "k1", "b64": False},
        [],
        "k1",
        None,
    ],
    ids=str,
)
def test_a_header_that_makes_no_sense_is_refused(header: object) -> None:
    refuse(written(header))


@pytest.mark.parametrize(
    "token", ["", ".", "..", "...", "a.b.c", "é.é.é", "\udcff", "\x00", "e30.e30.", "[" * 4000, "A" * 4096, "=.=.="]
)
def test_garbage_is_refused(token: str) -> None:
    refuse(token)


def test_a_tampered_claim_is_refused() -> None:
    head, _, signature = signed(CLAIMS).split(".")

    refuse(f"{head}.{written({}, CLAIMS | {'role': 'admin'}).split('.')[1]}.{signature}")


def test_a_token_that_is_too_long_is_refused_unread() -> None:
    refuse(signed(CLAIMS | {"more": "x" * TOKEN_CHARACTERS_MAX}))


def test_the_public_keys_are_all_there_and_nothing_else_is() -> None:
    first, second = tokens(k1=KEY, k2=OTHER).jwks()["keys"]

    assert ["alg", "crv", "kid", "kty", "use", "x"] == sorted(first)
    assert ("k1", "k2", "Ed25519") == (first["kid"], second["kid"], first["crv"])


def test_a_client_verifies_a_token_by_the_public_keys() -> None:
    ours = tokens()
    token = ours.issue(ANN)
    key = jwt.PyJWKSet.from_dict(ours.jwks())["k1"]

    claims = jwt.decode(token, key, ["EdDSA"], audience="marketd-api", options={"verify_exp": False})

    assert "ann" == claims["sub"]


# Links.


def test_what_a_link_was_made_for_is_what_it_is_good_for() -> None:
    links = DownloadLinks(bytes(32), TestClock(), minutes=15)
    token, expires_at = links.issue(GRANT)

    assert (GRANT, (NOW_S + 900) * 1000) == (links.verify(token), expires_at)


def test_a_link_of_another_key_is_refused() -> None:
    token, _ = DownloadLinks(b"x" * 32, TestClock(), minutes=15).issue(GRANT)

    with pytest.raises(TokenInvalid):
        DownloadLinks(bytes(32), TestClock(), minutes=15).verify(token)


@pytest.mark.asyncio
async def test_a_link_expires() -> None:
    clock = TestClock()
    links = DownloadLinks(bytes(32), clock, minutes=15)
    token, _ = links.issue(GRANT)
    await clock.advance(900)

    with pytest.raises(TokenExpired):
        links.verify(token)


# Keys.


def test_the_first_key_is_made_and_then_kept(tmp_path: Path) -> None:
    first = load_signing_keys(tmp_path / "keys", TestClock())

    assert 1 == len(first) and first.keys() == load_signing_keys(tmp_path / "keys", TestClock()).keys()


def test_the_key_of_links_is_made_and_then_kept(tmp_path: Path) -> None:
    key = load_link_key(tmp_path / "keys")

    assert (32, key) == (len(key), load_link_key(tmp_path / "keys"))


def test_the_key_of_mails_is_another_one(tmp_path: Path) -> None:
    assert load_link_key(tmp_path / "keys") != load_mail_key(tmp_path / "keys")


def test_a_key_that_is_made_after_the_clock_was_set_back_signs_all_the_same(tmp_path: Path) -> None:
    make_signing_key(tmp_path / "keys", TestClock())
    second = make_signing_key(tmp_path / "keys", TestClock(TestClock().now_ms() - 3_600_000))

    assert second == max(load_signing_keys(tmp_path / "keys", TestClock()))


def test_a_key_that_has_another_name_is_in_nobodys_way(tmp_path: Path) -> None:
    first = make_signing_key(tmp_path / "keys", TestClock())
    (tmp_path / "keys" / f"{first}.pem").rename(tmp_path / "keys" / "by-hand.pem")
    second = make_signing_key(tmp_path / "keys", TestClock())

    assert {"by-hand", second} == set(load_signing_keys(tmp_path / "keys", TestClock()))


def test_a_key_that_is_made_later_sorts_later(tmp_path: Path) -> None:
    first = make_signing_key(tmp_path / "keys", TestClock())
    second = make_signing_key(tmp_path / "keys", TestClock(TestClock().now_ms() + 1))

    assert [first, second] == sorted(load_signing_keys(tmp_path / "keys", TestClock()))


def test_keys_are_for_the_service_alone(tmp_path: Path) -> None:
    folder = tmp_path / "keys"
    load_signing_keys(folder, TestClock())
    load_link_key(folder)
    load_mail_key(folder)
    make_signing_key(folder, TestClock())

    modes = {stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()}
    assert ({0o600}, 0o700) == (modes, stat.S_IMODE(folder.stat().st_mode))


def other_curve() -> bytes:
    return X25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def locked() -> bytes:
    protection = BestAvailableEncryption(b"word")
    return Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, protection)


@pytest.mark.parametrize(
    "content", [b"", b"garbage", other_curve(), locked()], ids=["empty", "garbage", "other", "locked"]
)
def test_a_signing_key_that_is_none_is_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "0.pem").write_bytes(content)
    with pytest.raises(KeyUnusable) as caught:
        load_signing_keys(tmp_path, TestClock())

    assert tmp_path / "0.pem" == caught.value.path


@pytest.mark.parametrize("size", [0, 31, 33])
def test_a_key_for_links_has_its_size(tmp_path: Path, size: int) -> None:
    (tmp_path / "links.key").write_bytes(bytes(size))
    with pytest.raises(KeyUnusable):
        load_link_key(tmp_path)


def test_keys_that_can_not_be_kept_are_named(tmp_path: Path) -> None:
    (tmp_path / "keys").touch()
    with pytest.raises(KeyUnusable, match="can't be used: "):
        load_link_key(tmp_path / "keys")

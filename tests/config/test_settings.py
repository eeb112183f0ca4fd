"""Every setting is one line: with a default within its bounds, and a sentence."""

from typing import Annotated, Any, get_args

import msgspec
import pytest
from msgspec import Meta, Struct

from marketd.config.fields import FIELDS, SECTIONS, Field, fields
from marketd.config.settings import Settings
from marketd.config.telling import SECRET


class Door(Struct, frozen=True):
    """A section made up for these tests."""

    code: Annotated[str, Meta(description="what opens it", extra=SECRET)] = "1234"
    locks: Annotated[int, Meta(description="how many there are")] = 2


class House(Struct, frozen=True):
    front_door: Door = Door()


def meta(field: Field) -> Meta:
    found = get_args(field.type)[-1]
    assert isinstance(found, Meta)
    return found


def is_number(field: Field) -> bool:
    return get_args(field.type)[0] in (int, float)


every_field = pytest.mark.parametrize("field", FIELDS.values(), ids=FIELDS)


def test_a_line_of_a_section_is_a_setting() -> None:
    expected = Field("front_door", "locks", Annotated[int, Meta(description="how many there are")], 2, "", secret=False)
    expected = msgspec.structs.replace(expected, description="how many there are")

    assert expected == fields(House)["front_door.locks"]


def test_a_secret_is_marked_as_one() -> None:
    assert fields(House)["front_door.code"].secret


def test_the_passwords_of_servers_a_scrapers_token_and_what_stripe_gave_us_are_the_only_secrets() -> None:
    secrets = ["nats.password", "nats.leaf_password", "metrics.token", "mail.password"]

    assert [*secrets, "payments.stripe_secret_key", "payments.stripe_webhook_secret"] == [
        field.key for field in FIELDS.values() if field.secret
    ]


def test_the_environment_calls_it_by_section_and_name() -> None:
    assert "MARKETD_FRONT_DOOR__LOCKS" == fields(House)["front_door.locks"].variable


def test_the_sections_are_in_the_order_of_the_file() -> None:
    assert ("http", "data", "nats") == SECTIONS[:3]


def test_no_two_settings_share_a_variable() -> None:
    variables = [field.variable for field in FIELDS.values()]

    assert sorted(set(variables)) == sorted(variables)


@every_field
def test_every_default_is_within_its_bounds(field: Field) -> None:
    assert field.default == msgspec.convert(field.default, field.type, strict=True)


@every_field
def test_every_description_is_one_line(field: Field) -> None:
    assert 1 == len(field.description.splitlines())


@pytest.mark.parametrize("field", [field for field in FIELDS.values() if is_number(field)], ids=lambda field: field.key)
def test_every_number_has_a_lower_bound(field: Field) -> None:
    assert (meta(field).ge, meta(field).gt) != (None, None)


@pytest.mark.parametrize("origin", ["*", "https://shop.example", "http://localhost:3000"])
def test_an_origin_is_a_scheme_and_a_host(origin: str) -> None:
    assert (origin,) == msgspec.convert({"http": {"cors_origins": [origin]}}, Settings).http.cors_origins


@pytest.mark.parametrize("origin", ["https://shop.example/", "shop.example", "https://*.example", "null", "", "a b"])
def test_what_no_browser_calls_an_origin_is_refused(origin: str) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert({"http": {"cors_origins": [origin]}}, Settings)


@pytest.mark.parametrize("url", ["nats://host:4222", "tls://host", "nats://a,nats://b", None])
def test_a_nats_server_is_named_by_its_url(url: Any) -> None:
    assert url == msgspec.convert({"nats": {"url": url}}, Settings).nats.url


@pytest.mark.parametrize("url", ["host:4222", "http://host", "ws://host", "nats://", "nats://a b", "nats://a\n"])
def test_what_is_no_nats_url_is_refused(url: str) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert({"nats": {"url": url}}, Settings)


@pytest.mark.parametrize("url", ["https://market.example", "http://localhost:8080/shop/eu"])
def test_the_public_url_may_hold_a_path(url: str) -> None:
    assert url == msgspec.convert({"http": {"public_url": url}}, Settings).http.public_url


@pytest.mark.parametrize("url", ["https://market.example/", "market.example", "https://", "https://a?b", "ftp://a"])
def test_a_public_url_to_which_no_path_can_be_added_is_refused(url: str) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert({"http": {"public_url": url}}, Settings)

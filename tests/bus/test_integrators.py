"""The integrators: what they may subscribe to, how they are kept, and what their clients need."""

import json
import stat
from pathlib import Path

import bcrypt
import pytest

from marketd.bus.integrators import NAME, Integrator, Register, accounts, filters, hashed, subjects_of
from marketd.bus.subjects import EVENTS_STREAM, REPLAYS_STREAM


def integrator(name: str = "acme", *events: str) -> Integrator:
    return Integrator(name, events or ("order.*",), "$2b$10$hash", 1)


@pytest.mark.parametrize(
    ("patterns", "subjects"),
    [
        (["*"], ["market.events.>"]),
        (["order.*"], ["market.events.order.>"]),
        (["order.completed"], ["market.events.order.completed.*"]),
        (["order.completed", "seller.*"], ["market.events.order.completed.*", "market.events.seller.>"]),
        (["order.paid", "order.*", "order.placed"], ["market.events.order.>"]),
        (["order.*", "*"], ["market.events.>"]),
        (["order.paid", "order.paid"], ["market.events.order.paid.*"]),
    ],
)
def test_patterns_become_subjects_none_within_another(patterns: list[str], subjects: list[str]) -> None:
    assert subjects == subjects_of(patterns)


@pytest.mark.parametrize(
    "pattern", ["", ">", "order", "order.>", "account.*", "market.events.order.*", "*.*", "$SYS.>"]
)
def test_other_patterns_are_refused(pattern: str) -> None:
    with pytest.raises(ValueError, match="there are no public events"):
        subjects_of([pattern])


def test_of_the_replayed_it_gets_the_same_events_that_are_for_it_or_for_all() -> None:
    assert {
        EVENTS_STREAM: ["market.events.order.>"],
        REPLAYS_STREAM: ["market.replay.acme.order.>", "market.replay.all.order.>"],
    } == filters(integrator())


def test_a_password_is_kept_as_a_hash_that_nats_server_knows() -> None:
    kept = hashed("secret")

    assert ("$2b$10$", True) == (kept[:7], bcrypt.checkpw(b"secret", kept.encode()))


def test_each_has_an_account_of_its_own_and_in_it_no_password() -> None:
    made = accounts([integrator("acme"), integrator("books")])
    users = {name: [(user["user"], user["password"]) for user in account["users"]] for name, account in made.items()}

    assert {"INTEG-acme": [("acme", "$2b$10$hash")], "INTEG-books": [("books", "$2b$10$hash")]} == users


def test_without_a_file_there_is_nobody(tmp_path: Path) -> None:
    assert [] == Register(tmp_path / "integrators.json").read()


def test_who_was_written_down_is_read_again(tmp_path: Path) -> None:
    register = Register(tmp_path / "integrators.json")
    with register.changing() as known:
        known.append(integrator("acme"))
    with register.changing() as known:
        known.append(integrator("books", "*"))

    assert [integrator("acme"), integrator("books", "*")] == register.read()


def test_a_change_that_fails_changes_nothing(tmp_path: Path) -> None:
    register = Register(tmp_path / "integrators.json")
    changing = register.changing()
    changing.__enter__().append(integrator())
    changing.__exit__(RuntimeError, RuntimeError(), None)

    assert [] == register.read()


def test_the_file_is_for_its_owner_alone(tmp_path: Path) -> None:
    path = tmp_path / "integrators.json"
    with Register(path).changing() as known:
        known.append(integrator())

    assert 0o600 == stat.S_IMODE(path.stat().st_mode)


def test_the_file_can_be_read_by_people(tmp_path: Path) -> None:
    path = tmp_path / "integrators.json"
    with Register(path).changing() as known:
        known.append(integrator())

    assert [{"name": "acme", "events": ["order.*"], "passwordHash": "$2b$10$hash", "createdAt": 1}] == json.loads(
        path.read_text()
    )


@pytest.mark.parametrize("name", ["a", "acme", "Acme", "acme_shop", "acme-2", "A" * 64])
def test_a_name_may_be_like_this(name: str) -> None:
    assert NAME.fullmatch(name)


@pytest.mark.parametrize("name", ["", "-a", "a-", "_a", "a b", "a.b", "a>", "a*", "ä", "A" * 65, "a\n"])
def test_a_name_must_not_be_like_this(name: str) -> None:
    assert not NAME.fullmatch(name)

"""Sessions: where one is signed in, and that it can be ended there, at once."""

import pytest
from msgspec.structs import replace

from marketd.actors import account
from marketd.http.ended import EndedSessions
from marketd.storage.people import EndedOnes, FindPerson
from tests.http.stage import Stage
from tests.http.things import AT, AT_TEXT, PERSON

pytestmark = pytest.mark.asyncio

HERE = account.Session("s1", "hash", expires_at=AT + 60_000, opened_at=AT, used_at=AT)
THERE = account.Session("s2", "hash", expires_at=AT + 60_000, opened_at=AT, used_at=AT + 1_000)
EARLIER = "018bcfe5-6800-7000-8000-000000000001"  # made at AT, before sessions knew when they were opened


@pytest.fixture(autouse=True)
def person(stage: Stage) -> None:
    stage.bus.answers(FindPerson, PERSON)


async def shown(stage: Stage, *sessions: account.Session) -> list[dict[str, object]]:
    stage.bus.answers(account.ListSessions, account.OpenSessions(sessions))
    answer = await stage.call("GET", "/auth/sessions", user="ann")
    assert 200 == answer.status
    found: list[dict[str, object]] = answer.json()["sessions"]
    return found


async def test_a_session_is_shown_with_its_times(stage: Stage) -> None:
    (session,) = await shown(stage, THERE)

    assert {
        "id": "s2",
        "createdAt": AT_TEXT,
        "lastUsedAt": "2023-11-14T22:13:21Z",
        "expiresAt": "2023-11-14T22:14:20Z",
        "kind": "api",
    } == session


async def test_no_hash_is_shown(stage: Stage) -> None:
    assert "hash" not in str(await shown(stage, HERE))


async def test_the_session_that_asks_is_marked(stage: Stage) -> None:
    assert [None, True] == [session.get("current") for session in await shown(stage, HERE, THERE)]


async def test_the_one_used_last_comes_first(stage: Stage) -> None:
    assert ["s2", "s1"] == [session["id"] for session in await shown(stage, HERE, THERE)]


async def test_a_session_that_has_expired_is_not_shown(stage: Stage) -> None:
    assert [] == await shown(stage, replace(HERE, expires_at=AT))


async def test_a_session_from_before_there_were_times_is_as_old_as_its_id(stage: Stage) -> None:
    (session,) = await shown(stage, account.Session(EARLIER, "hash", AT + 60_000))

    assert (AT_TEXT, AT_TEXT) == (session["createdAt"], session["lastUsedAt"])


async def test_a_session_is_ended(stage: Stage) -> None:
    stage.bus.answers(account.RevokeSession, None)

    answer = await stage.call("DELETE", "/auth/sessions/s2", user="ann")

    assert (204, b"", account.RevokeSession("s2")) == (answer.status, answer.body, stage.bus.last.message)


async def test_all_sessions_are_ended(stage: Stage) -> None:
    stage.bus.answers(account.RevokeSessions, None)

    answer = await stage.call("DELETE", "/auth/sessions", user="ann")

    assert (204, account.RevokeSessions()) == (answer.status, stage.bus.last.message)


async def test_the_access_token_of_a_session_that_has_ended_is_no_good(stage: Stage) -> None:
    stage.ended.take(EndedOnes([("s1", AT)]))

    answer = await stage.call("GET", "/auth/sessions", user="ann")

    assert (401, []) == (answer.status, stage.bus.asked)
    assert "the session of the access token has ended" == answer.json()["detail"]


async def test_no_access_token_is_good_while_nobody_knows_which_sessions_have_ended(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(EndedSessions, "is_behind", True)

    answer = await stage.call("GET", "/auth/sessions", user="ann")

    assert (503, "1", []) == (answer.status, answer.headers["Retry-After"], stage.bus.asked)


async def test_where_signing_in_is_a_choice_a_token_of_an_ended_session_is_no_good_either(stage: Stage) -> None:
    stage.ended.take(EndedOnes([("s1", AT)]))

    assert 401 == (await stage.call("GET", "/mobile/products/lamp", user="ann")).status


async def test_the_access_token_of_another_session_is_still_good(stage: Stage) -> None:
    stage.ended.take(EndedOnes([("s2", AT)]))

    assert ["s1"] == [session["id"] for session in await shown(stage, HERE)]

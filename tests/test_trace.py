"""A trace is taken up as W3C Trace Context has it, and is known to whoever works for its request."""

import re

import pytest

from marketd.trace import NOBODY, Cause, current, described, doing_for, taken_up
from tests.clock import TestClock

TRACE_ID, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
GIVEN = f"00-{TRACE_ID}-{SPAN}-01"
NEW = re.compile(r"00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-00")


@pytest.mark.parametrize(
    ("given", "flags"),
    [
        (GIVEN, "01"),
        (GIVEN[:-2] + "00", "00"),
        (GIVEN[:-2] + "ff", "01"),
        (f"cc-{GIVEN[3:]}", "01"),
        (f"01-{GIVEN[3:]}-what-the-future-will-be-like", "01"),
        (f"01-{GIVEN[3:]}-", "01"),
    ],
)
def test_a_trace_goes_on_as_a_span_of_our_own(given: str, flags: str) -> None:
    version, trace_id, span, ours = taken_up(given, TestClock()).split("-")

    assert ("00", TRACE_ID, flags) == (version, trace_id, ours)
    assert re.fullmatch("[0-9a-f]{16}", span) and span != SPAN


@pytest.mark.parametrize(
    "given",
    [
        "",
        "nonsense",
        GIVEN.upper(),
        f"ff-{GIVEN[3:]}",
        f"0-{GIVEN[3:]}",
        f"00-{'0' * 32}-{SPAN}-01",
        f"00-{TRACE_ID}-{'0' * 16}-01",
        f"00-{TRACE_ID[1:]}-{SPAN}-01",
        f"00-{TRACE_ID}-{SPAN}-1",
        f"00-{TRACE_ID}-{SPAN}-0x",
        f"{GIVEN}-more",
        f"{GIVEN}-",
        f"cc-{GIVEN[3:]}.more",
        f"{GIVEN} ",
        f"{GIVEN}\n",
        GIVEN.replace("-", "_"),
    ],
)
def test_where_there_is_none_a_new_one_begins(given: str) -> None:
    begun = taken_up(given, TestClock())

    assert NEW.fullmatch(begun) and TRACE_ID not in begun


def test_what_has_begun_is_taken_up_again() -> None:
    clock = TestClock()
    begun = taken_up("", clock)

    assert begun[3:35] == taken_up(begun, clock)[3:35]


def test_a_trace_that_is_asked_for_twice_is_the_same() -> None:
    cause = Cause("r1", "", TestClock())

    assert cause.trace == cause.trace


def test_work_is_done_for_nobody_until_somebody_says_so() -> None:
    assert (NOBODY, "") == (current(), described())


def test_who_works_for_a_request_knows_which() -> None:
    with doing_for(cause := Cause("r1", GIVEN)):
        assert (cause, f"request=r1 trace={TRACE_ID}") == (current(), described())


def test_afterwards_it_is_forgotten() -> None:
    with doing_for(cause := Cause("r1", GIVEN)):
        with doing_for(Cause("r2", "")):
            pass
        assert cause == current()


def test_a_part_that_is_not_known_is_left_out() -> None:
    with doing_for(Cause("r1", "")):
        assert "request=r1" == described()


def test_work_for_several_names_them_all() -> None:
    with doing_for(Cause("r1", GIVEN), Cause("r2", GIVEN), Cause("r1", "")):
        assert (NOBODY, f"request=r1,r2 trace={TRACE_ID}") == (current(), described())


def test_of_very_many_a_few_are_named() -> None:
    with doing_for(*(Cause(f"r{n}", "") for n in range(100))):
        assert "request=r0,r1,r2,r3,r4,r5,r6,r7" == described()

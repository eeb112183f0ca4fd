"""What every carrier promises, asked of each: in memory, through the codec, beside NATS, and over NATS."""

import asyncio
import logging
from enum import StrEnum
from pathlib import Path

import pytest
from msgspec import Struct

from marketd.actors import product
from marketd.actors.aggregate import Refused
from marketd.bus.port import ERRORS, Answer, BusError, Crashed, Envelope, NoAnswer, NobodyServes, Undecodable
from tests.bus.post import QUOTED, SHORT_MS, SUBJECT, Carrier, Ears, Gate, carriers, envelope, never, quote, raising

pytestmark = pytest.mark.asyncio

ALL = ("memory", "memory-with-codec", "nats-in-process", "nats-over-the-wire")
PACKING = ("memory-with-codec", "nats-over-the-wire")
POLITE = list(ERRORS.values())


class Unheard(Struct, frozen=True, tag="unheard-of"):
    """A message, an answer, that no codec knows."""


class Unpackable(Struct, frozen=True):
    """An answer that can't be packed."""

    value: object


class Strange(StrEnum):
    REASON = "a reason that no codec knows"


@pytest.fixture(params=ALL)
def carrier(request: pytest.FixtureRequest, tmp_path: Path) -> Carrier:
    return carriers(tmp_path)[request.param]


@pytest.fixture(params=PACKING)
def packing(request: pytest.FixtureRequest, tmp_path: Path) -> Carrier:
    """Those that write messages down on the way."""
    return carriers(tmp_path)[request.param]


async def test_who_asks_is_answered(carrier: Carrier) -> None:
    async with carrier() as bus:
        await bus.serve(SUBJECT, quote)

        assert Answer(QUOTED, 42) == await bus.ask(SUBJECT, envelope())


async def test_an_answer_may_be_nothing_but_a_position(carrier: Carrier) -> None:
    async with carrier() as bus:
        await bus.serve(SUBJECT, Ears())

        assert Answer(None, 1) == await bus.ask(SUBJECT, envelope())


async def test_a_refusal_arrives_with_its_reason(carrier: Carrier) -> None:
    async with carrier() as bus:
        await bus.serve(SUBJECT, raising(Refused(product.Reason.SOLD_OUT)))
        with pytest.raises(Refused) as caught:
            await bus.ask(SUBJECT, envelope())

    assert product.Reason.SOLD_OUT is caught.value.reason


@pytest.mark.parametrize("error", POLITE, ids=lambda error: str(error.code))
async def test_each_error_arrives_as_itself(carrier: Carrier, error: type[BusError]) -> None:
    async with carrier() as bus:
        await bus.serve(SUBJECT, raising(error("what was expected")))
        with pytest.raises(BusError) as caught:
            await bus.ask(SUBJECT, envelope())

    assert (error, "what was expected") == (type(caught.value), str(caught.value))


async def test_where_nobody_serves_that_is_said(carrier: Carrier) -> None:
    async with carrier() as bus:
        with pytest.raises(NobodyServes, match=f"^nobody serves {SUBJECT}$"):
            await bus.ask(SUBJECT, envelope())


async def test_silence_ends_at_the_deadline(carrier: Carrier) -> None:
    async with carrier() as bus:
        await bus.serve(SUBJECT, never)
        with pytest.raises(NoAnswer, match=rf"^no answer from {SUBJECT}.+deadline"):
            await bus.ask(SUBJECT, envelope(wait_ms=SHORT_MS))


async def test_what_comes_after_its_deadline_is_not_heard(carrier: Carrier) -> None:
    ears = Ears()
    async with carrier() as bus:
        await bus.serve(SUBJECT, ears)
        with pytest.raises(NoAnswer):
            await bus.ask(SUBJECT, envelope(wait_ms=-1))

    assert [] == ears.heard


async def test_who_serves_a_branch_hears_what_is_below_it(carrier: Carrier) -> None:
    ears = Ears()
    async with carrier() as bus:
        await bus.serve("market.cmd.7.>", ears)
        await bus.ask(SUBJECT, envelope())
        await bus.ask("market.cmd.7.order.x", envelope())

    assert [SUBJECT, "market.cmd.7.order.x"] == ears.subjects


async def test_who_serves_a_branch_hears_nothing_from_beside_it(carrier: Carrier) -> None:
    async with carrier() as bus:
        await bus.serve("market.cmd.7.>", Ears())
        with pytest.raises(NobodyServes):
            await bus.ask("market.cmd.70.product.lamp", envelope())


async def test_all_facts_of_an_envelope_arrive(carrier: Carrier) -> None:
    sent = envelope(
        product.Release("order-1", "KEY-1"),
        id="id-1",
        correlation="correlation-1",
        cause="cause-1",
        principal="user-1",
        trace="00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        at_least=7_000_000_000,
        is_step=True,
    )
    ears = Ears()
    async with carrier() as bus:
        await bus.serve(SUBJECT, ears)
        await bus.ask(SUBJECT, sent)

    assert [sent] == ears.heard


async def test_of_500_who_ask_at_once_each_gets_its_own_answer(carrier: Carrier) -> None:
    async def echo(subject: str, envelope: Envelope) -> Answer:
        await asyncio.sleep(0)
        return Answer(product.Reservation(envelope.id), int(envelope.id))

    async with carrier() as bus:
        await bus.serve(SUBJECT, echo)
        answers = await asyncio.gather(*(bus.ask(SUBJECT, envelope(id=str(n))) for n in range(500)))

    assert [Answer(product.Reservation(str(n)), n) for n in range(500)] == answers


async def test_the_slow_hold_nobody_up(carrier: Carrier) -> None:
    gate = Gate()
    async with carrier() as bus, asyncio.TaskGroup() as tasks:
        await bus.serve("market.query.slow", gate)
        await bus.serve("market.query.quick", quote)
        slow = tasks.create_task(bus.ask("market.query.slow", envelope()))
        await bus.ask("market.query.quick", envelope())

        assert not slow.done()
        gate.opened.set()


@pytest.mark.parametrize("defect", [ValueError("secret"), TimeoutError("secret"), KeyError("secret")], ids=repr)
async def test_who_asks_somebody_with_a_defect_learns_it(carrier: Carrier, defect: Exception) -> None:
    async with carrier() as bus:
        await bus.serve(SUBJECT, raising(defect))
        with pytest.raises(Crashed) as caught:
            await bus.ask(SUBJECT, envelope())

    assert f"who serves {SUBJECT} has a defect: {type(defect).__name__}" == str(caught.value)


async def test_a_defect_is_logged_with_its_traceback(carrier: Carrier, caplog: pytest.LogCaptureFixture) -> None:
    async with carrier() as bus:
        await bus.serve(SUBJECT, raising(ValueError("the cause")))
        with pytest.raises(Crashed):
            await bus.ask(SUBJECT, envelope())

    assert [(logging.ERROR, f"who serves {SUBJECT} crashed", "the cause")] == [
        (record.levelno, record.getMessage(), str(record.exc_info[1])) for record in caplog.records if record.exc_info
    ]


async def test_the_carrier_outlives_a_defect(carrier: Carrier) -> None:
    async with carrier() as bus:
        await bus.serve("market.query.defect", raising(ValueError()))
        await bus.serve(SUBJECT, quote)
        with pytest.raises(Crashed):
            await bus.ask("market.query.defect", envelope())

        assert Answer(QUOTED, 42) == await bus.ask(SUBJECT, envelope())


async def test_a_message_that_nobody_understands_is_refused(packing: Carrier) -> None:
    ears = Ears()
    async with packing() as bus:
        await bus.serve(SUBJECT, ears)
        with pytest.raises(Undecodable):
            await bus.ask(SUBJECT, envelope(Unheard()))

    assert [] == ears.heard


async def test_an_answer_that_nobody_understands_is_an_error(packing: Carrier) -> None:
    async def answer(subject: str, envelope: Envelope) -> Answer:
        return Answer(Unheard(), 1)

    async with packing() as bus:
        await bus.serve(SUBJECT, answer)
        with pytest.raises(Undecodable):
            await bus.ask(SUBJECT, envelope())


async def test_an_answer_that_cannot_be_packed_is_a_defect_of_its_sender(packing: Carrier) -> None:
    async def answer(subject: str, envelope: Envelope) -> Answer:
        return Answer(Unpackable(object()), 1)

    async with packing() as bus:
        await bus.serve(SUBJECT, answer)
        with pytest.raises(Crashed, match=r"^the answer can't be packed: "):
            await bus.ask(SUBJECT, envelope())


async def test_a_refusal_without_a_code_is_a_defect_of_its_sender(packing: Carrier) -> None:
    async with packing() as bus:
        await bus.serve(SUBJECT, raising(Refused(Strange.REASON)))
        with pytest.raises(Crashed, match=r"^a refusal has no code: a reason that no codec knows$"):
            await bus.ask(SUBJECT, envelope())


@pytest.mark.parametrize("name", ["memory", "memory-with-codec", "nats-in-process"])
async def test_within_the_process_the_whole_name_beats_a_branch(name: str, tmp_path: Path) -> None:
    branch, leaf = Ears(), Ears()
    async with carriers(tmp_path)[name]() as bus:
        await bus.serve("market.cmd.>", branch)
        await bus.serve(SUBJECT, leaf)
        await bus.ask(SUBJECT, envelope())

    assert (0, 1) == (len(branch.heard), len(leaf.heard))


@pytest.mark.parametrize("name", ["memory", "memory-with-codec", "nats-in-process"])
async def test_within_the_process_the_nearest_branch_serves(name: str, tmp_path: Path) -> None:
    far, near = Ears(), Ears()
    async with carriers(tmp_path)[name]() as bus:
        await bus.serve("market.>", far)
        await bus.serve("market.cmd.7.>", near)
        await bus.ask(SUBJECT, envelope())

    assert (0, 1) == (len(far.heard), len(near.heard))

"""The newest records: without gaps, and no more of them than may be."""

from marketd.storage.log import Commit, Done, Meta, Recorded
from marketd.storage.recent import Recent


def records(first: int, count: int) -> list[Recorded]:
    commit = Commit("id", 1, (), Done(None), Meta("", "", "", ""))
    return [Recorded(position, "order/o1", position, commit) for position in range(first, first + count)]


def positions(recent: Recent, after: int) -> list[int] | None:
    found = recent.since(after, 100)
    return None if found is None else [record.position for record in found]


def test_what_was_added_follows_its_position() -> None:
    recent = Recent(0, records_max=10, bytes_max=100)
    recent.add(records(1, 3), 30)

    assert ([2, 3], 3) == (positions(recent, 1), recent.head)


def test_beyond_so_many_the_oldest_batches_go() -> None:
    recent = Recent(0, records_max=4, bytes_max=100)
    for first in (1, 3, 5):
        recent.add(records(first, 2), 1)

    assert (None, [3, 4, 5, 6]) == (positions(recent, 0), positions(recent, 2))


def test_beyond_so_many_bytes_too() -> None:
    recent = Recent(0, records_max=10, bytes_max=100)
    for first in (1, 3, 5):
        recent.add(records(first, 2), 50)

    assert (None, [3, 4, 5, 6]) == (positions(recent, 1), positions(recent, 2))


def test_the_newest_batch_is_there_however_large() -> None:
    recent = Recent(0, records_max=1, bytes_max=100)
    recent.add(records(1, 2), 50)
    recent.add(records(3, 3), 5_000)

    assert (None, [3, 4, 5]) == (positions(recent, 1), positions(recent, 2))

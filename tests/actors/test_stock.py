"""Whatever orders and sellers do, a product never sells more than it has, and no licence key twice."""

from collections.abc import Sequence

from hypothesis import given, settings
from hypothesis import strategies as st

from marketd.actors.aggregate import Refused
from marketd.actors.product import PRODUCT, Active, Command, Release, Reserve, Revise, State, Withdraw
from tests.actors.test_product import listing


class Reserving:
    """An order comes."""


class Releasing(int):
    """The n-th of those who hold a unit gives it back."""


class Restocking(tuple[int | None, int]):
    """The seller says what is left (None: leaves it), and adds so many new keys."""


Move = Reserving | Releasing | Restocking | Withdraw

MOVES: st.SearchStrategy[Move] = st.one_of(
    st.builds(Reserving),
    st.integers(0, 9).map(Releasing),
    st.tuples(st.none() | st.integers(0, 5), st.integers(0, 3)).map(Restocking),
)
ENDINGS: st.SearchStrategy[list[Move]] = st.just([]) | st.just([Withdraw("seller", 9)])


class Market:
    """A product, and who holds what of it."""

    def __init__(self, stock: int | None, keys: int) -> None:
        self.keys_made = 0
        self.orders = 0
        self.state: State = PRODUCT.initial
        self.hands: dict[str, str | None] = {}
        self.ask(listing(stock, self.new_keys(keys)))

    def new_keys(self, count: int) -> tuple[str, ...]:
        self.keys_made += count
        return tuple(f"k{n}" for n in range(self.keys_made - count, self.keys_made))

    def ask(self, command: Command) -> list[object]:
        try:
            events = PRODUCT.decide(self.state, command)
        except Refused:
            return []
        for event in events:
            self.state = PRODUCT.evolve(self.state, event)
        return list(events)

    def move(self, move: Move) -> None:
        match move:
            case Reserving():
                self.orders += 1
                order_id = f"o{self.orders}"
                for event in self.ask(Reserve(order_id)):
                    self.hands[order_id] = getattr(event, "licence_key", None)
            case Releasing():
                if self.hands:
                    order_id = list(self.hands)[move % len(self.hands)]
                    self.ask(Release(order_id, self.hands.pop(order_id)))
            case Restocking():
                stock, added = move
                keys = self.new_keys(added)
                self.ask(
                    Revise("seller", 5, licence_keys=keys)
                    if stock is None
                    else Revise("seller", 5, stock=stock, licence_keys=keys)
                )
            case Withdraw():
                self.ask(move)

    @property
    def product(self) -> Active | None:
        state = self.state
        return state if isinstance(state, Active) else getattr(state, "last", None)


def played(stock: int | None, keys: int, moves: Sequence[Move]) -> Market:
    market = Market(stock, keys)
    for move in moves:
        market.move(move)
    return market


AT_RANDOM = given(
    stock=st.none() | st.integers(0, 4),
    keys=st.integers(0, 4),
    moves=st.lists(MOVES, max_size=25),
    ending=ENDINGS,
    after=st.lists(MOVES, max_size=4),
)
QUICKLY = settings(max_examples=150, deadline=None, database=None)


@QUICKLY
@AT_RANDOM
def test_stock_is_never_negative(
    stock: int | None, keys: int, moves: list[Move], ending: list[Move], after: list[Move]
) -> None:
    product = played(stock, keys, [*moves, *ending, *after]).product

    assert product is None or product.stock is None or product.stock >= 0


@QUICKLY
@AT_RANDOM
def test_there_are_never_more_units_than_licence_keys(
    stock: int | None, keys: int, moves: list[Move], ending: list[Move], after: list[Move]
) -> None:
    product = played(stock, keys, [*moves, *ending, *after]).product

    assert product is None or product.keys is None or (product.stock or 0) <= len(product.keys)


@QUICKLY
@AT_RANDOM
def test_a_licence_key_is_in_one_place_at_a_time(
    stock: int | None, keys: int, moves: list[Move], ending: list[Move], after: list[Move]
) -> None:
    market = played(stock, keys, [*moves, *ending, *after])
    left = (market.product.keys if market.product else None) or ()
    everywhere = [*left, *(key for key in market.hands.values() if key)]

    assert sorted(set(everywhere)) == sorted(everywhere)


@settings(max_examples=150, deadline=None, database=None)
@given(stock=st.integers(0, 4), moves=st.lists(st.builds(Reserving) | st.integers(0, 9).map(Releasing), max_size=40))
def test_units_are_neither_made_nor_lost(stock: int, moves: list[Move]) -> None:
    market = played(stock, 0, moves)

    assert market.product is not None
    assert stock == (market.product.stock or 0) + len(market.hands)

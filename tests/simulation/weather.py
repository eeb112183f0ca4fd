"""
What goes wrong in one run, and how often: drawn from the seed, each fault with a coin of its own.

A run in which everything fails all the time never comes far, so each run has some faults and not others (Groce et al.,
Swarm Testing, ISSTA 2012).
"""

from dataclasses import dataclass
from random import Random
from typing import Final

CALM_S: Final = 60.0  # after this time nothing goes wrong any more


@dataclass
class Weather:
    """Probabilities of one message, append or call; spans of time in seconds."""

    drop: float  # a message is lost
    double: float  # a message comes twice
    slow: float  # a message takes up to `slow_s`, so that later ones overtake it
    slow_s: float
    write_s: float  # an append takes up to so long
    unknown: float  # an append is not answered: it was taken or not
    full: float  # an append is refused
    crash: float  # the host dies at an append: before, in the middle or after it
    crash_every_s: float  # and at any other moment, about so often; 0 for never
    overlap: float  # the next host is there before the last one is gone
    jump_every_s: float  # the clock is set, about so often; 0 for never
    jump_s: float  # by up to so much, forwards or backwards
    bank_drop: float  # the processor does not hear, or is not heard: it may have charged
    bank_slow: float
    bank_down_s: float  # how long it is away, each time that it is
    bank_down_every_s: float
    notice: float  # a notice does not go out
    lost_notes: float  # a snapshot or a checkpoint is not kept
    stream: float  # the stream of events does not hear, or not all, or is not heard
    stream_lost_every_s: float  # it comes back without what it took last, about so often; 0 for never
    disorder: float  # how often the order of what is ready is by lot


def drawn(chance: Random, afar: Random) -> Weather:
    """Draw the weather of one run; that of the stream from a lot of its own, so that the rest is as it was without."""

    def maybe(most: float, odds: float = 0.5, chance: Random = chance) -> float:
        return chance.uniform(most / 10, most) if chance.random() < odds else 0.0

    return Weather(
        drop=maybe(0.15),
        double=maybe(0.3),
        slow=maybe(0.2),
        slow_s=chance.choice([0.1, 3, 15]),
        write_s=chance.choice([0.001, 0.02, 0.5]),
        unknown=maybe(0.1),
        full=maybe(0.1, 0.3),
        crash=maybe(0.05),
        crash_every_s=maybe(30),
        overlap=maybe(0.8),
        jump_every_s=maybe(30, 0.3),
        jump_s=chance.choice([5, 600, 7_200]),
        bank_drop=maybe(0.5),
        bank_slow=maybe(0.4),
        bank_down_s=chance.choice([5, 30, 90]),
        bank_down_every_s=maybe(60, 0.3),
        notice=maybe(0.5),
        lost_notes=maybe(0.5),
        stream=maybe(0.4, chance=afar),
        stream_lost_every_s=maybe(30, 0.3, afar),
        disorder=chance.choice([0, 0.2, 1]),
    )


CALM: Final = Weather(0, 0, 0, 0.1, 0.001, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0)

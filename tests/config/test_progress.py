"""Progress: shown at a terminal, at a bearable pace, and to nobody else."""

from io import StringIO

from marketd.config.progress import Progress
from tests.clock import TestClock


class Terminal(StringIO):
    def isatty(self) -> bool:
        return True


def shown(screen: StringIO) -> list[str]:
    """What stood on the line, one after the other."""
    return [" ".join(line.split()) for line in screen.getvalue().split("\r\x1b[K") if line]


def test_at_a_terminal_it_is_shown() -> None:
    screen = Terminal()
    Progress(TestClock(), screen).tell("records", 50, 100)

    assert ["records [############### ] 50% 50 of 100"] == shown(screen)


def test_elsewhere_nothing_is_shown() -> None:
    screen = StringIO()
    with Progress(TestClock(), screen) as progress:
        progress.tell("records", 50, 100)

    assert "" == screen.getvalue()


def test_what_comes_too_soon_is_not_shown() -> None:
    screen = Terminal()
    progress = Progress(TestClock(), screen)
    for done in range(1, 50):
        progress.tell("records", done, 100)

    assert 1 == len(shown(screen))


def test_the_end_is_shown_however_soon() -> None:
    screen = Terminal()
    progress = Progress(TestClock(), screen)
    for done in (1, 100):
        progress.tell("records", done, 100)

    assert "100% 100 of 100" in shown(screen)[-1]


def test_at_the_end_the_line_is_gone() -> None:
    screen = Terminal()
    with Progress(TestClock(), screen) as progress:
        progress.tell("records", 1, 100)

    assert screen.getvalue().endswith("\r\x1b[K")


def test_pieces_add_up() -> None:
    screen = Terminal()
    adding = Progress(TestClock(), screen).adding("files", 100)
    for piece in (40, 60):
        adding(piece)

    assert "100% 100 of 100" in shown(screen)[-1]


def test_nothing_is_all_of_nothing() -> None:
    screen = Terminal()
    Progress(TestClock(), screen).tell("records", 0, 0)

    assert "100% 0 of 0" in shown(screen)[-1]

"""Where the binary lives: what killed runs have left goes, and nothing else does."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from marketd.unpacked import INHABITED, OURS, UNPACKING_S_MAX, inhabit, own_folder, remove_dead

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the binary is Linux's")

# Lives in a folder until its standard input ends.
LIVING = "import sys; from pathlib import Path; from marketd.unpacked import inhabit; "
LIVING += "inhabit(Path(sys.argv[1])); print(flush=True); sys.stdin.read()"


def unpacked(path: Path, *, inhabited: bool = True) -> Path:
    (path / OURS).parent.mkdir(parents=True)
    (path / OURS).touch()
    if inhabited:
        (path / INHABITED).touch()
    return path


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """Give a folder that is our own."""
    return unpacked(tmp_path / "_MEIours", inhabited=False)


def aged(path: Path, home: Path, by_s: float) -> Path:
    moment = home.stat().st_mtime - by_s
    os.utime(path, (moment, moment))
    return path


def test_where_this_is_no_binary_there_is_no_folder() -> None:
    assert own_folder() is None


def test_a_folder_that_nobody_holds_is_removed(home: Path) -> None:
    dead = unpacked(home.with_name("_MEIdead"))

    assert ([dead], False) == (remove_dead(home), dead.exists())


def test_a_folder_that_somebody_lives_in_stays(home: Path) -> None:
    lived_in = unpacked(home.with_name("_MEIlived"), inhabited=False)
    command = [sys.executable, "-c", LIVING, str(lived_in)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as living:
        assert living.stdout
        living.stdout.readline()
        while_it_lived = remove_dead(home)
        living.kill()

    assert ([], [lived_in]) == (while_it_lived, remove_dead(home))


def test_our_own_folder_stays(home: Path) -> None:
    assert inhabit(home)

    assert ([], True) == (remove_dead(home), (home / INHABITED).exists())


@pytest.mark.parametrize(("age_s", "goes"), [(UNPACKING_S_MAX - 60, False), (UNPACKING_S_MAX + 60, True)])
def test_a_folder_that_may_be_being_unpacked_stays(home: Path, age_s: float, goes: bool) -> None:
    begun = aged(unpacked(home.with_name("_MEIbegun"), inhabited=False), home, age_s)

    assert ([begun] if goes else []) == remove_dead(home)


def test_a_folder_of_another_program_stays(home: Path) -> None:
    other = home.with_name("_MEIother")
    other.mkdir()
    aged(other, home, UNPACKING_S_MAX * 2)

    assert [] == remove_dead(home)


def test_a_link_is_not_followed(home: Path, tmp_path: Path) -> None:
    elsewhere = unpacked(tmp_path / "elsewhere")
    home.with_name("_MEIlink").symlink_to(elsewhere)

    assert ([], True) == (remove_dead(home), elsewhere.exists())

"""Serving: what the service keeps of its own start."""

import os
import stat
from pathlib import Path

import pytest

from marketd.config.folder import Folder
from marketd.config.serving import _sample_password


def test_the_password_of_the_sample_people_is_made_once_and_for_the_owner_alone(tmp_path: Path) -> None:
    folder = Folder(tmp_path)
    made = [_sample_password(folder) for _ in range(2)]

    assert (1, 0o600) == (len(set(made)), stat.S_IMODE(folder.sample_password.stat().st_mode))


def test_the_password_of_the_sample_people_outlasts_a_power_cut(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[int] = []
    monkeypatch.setattr(os, "fsync", lambda handle: synced.append(os.fstat(handle).st_size))
    password = _sample_password(Folder(tmp_path))

    assert len(password) + 1 == synced[0]

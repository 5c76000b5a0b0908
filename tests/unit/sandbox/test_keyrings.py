"""Kernel keys that the programs of a box have left."""

from pathlib import Path

import pytest

from verdictd.sandbox import keyrings

USERS = """\
    0:     9 8/8 3/1000000 48/25000000
60001:     5 5/5 5/200 76/20000
60002:     2 2/2 2/200 10/20000
"""


@pytest.mark.parametrize(("uid", "expected"), [(60001, 3), (60002, 0), (60003, 0), (6000, 0)])
def test_keys_of_a_user_are_counted(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, uid: int, expected: int
) -> None:
    """The two keyrings that the kernel makes for each user do not count."""
    users = tmp_path / "key-users"
    users.write_text(USERS)
    monkeypatch.setattr(keyrings, "_USERS", users)

    assert expected == keyrings.held(uid)


def test_kernel_without_keys_has_none(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The file is missing there."""
    monkeypatch.setattr(keyrings, "_USERS", tmp_path / "missing")

    assert 0 == keyrings.held(60001)

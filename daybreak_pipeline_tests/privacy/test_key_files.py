"""The keys of a rotation: from the environment, or from the embedded server's files, at every point of a crash."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from daybreak_pipeline.errors import UsageError
from daybreak_pipeline.privacy import keys
from daybreak_pipeline_tests.conftest import KEY

NEW = "0123456789abcdeffedcba987654321000112233445566778899aabbccddeeff"
BEGUN_WITH_BOTH = {"ENCRYPTION_KEY": KEY, "NEW_ENCRYPTION_KEY": NEW}


@pytest.fixture
def home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A home of the embedded server with a key."""
    monkeypatch.setenv("DAYBREAK_HOME", str(tmp_path))
    keys.key_file().write_text(KEY + "\n")
    return tmp_path


def files(home: Path) -> dict[str, str]:
    """Return name and content of every file, the old key's without its date."""
    return {path.name.partition("-")[0]: path.read_text().strip() for path in home.iterdir()}


def test_the_new_key_is_made_beside_the_old_one_for_its_owner_only(home: Path) -> None:
    exchange = keys.exchange()
    assert (exchange.current, exchange.new, exchange.kept) == (KEY, None, True)
    assert files(home) == {"encryption.key": KEY}, "nothing is made before it is needed"
    new = exchange.require_new()
    assert files(home) == {"encryption.key": KEY, "encryption.key.next": new}
    assert keys.parse(new) != KEY
    assert stat.S_IMODE(keys.next_key_file().stat().st_mode) == 0o600
    assert keys.exchange() == keys.Exchange(KEY, new, kept=True)


def test_in_the_end_the_new_key_is_the_key_and_the_old_one_is_kept(home: Path) -> None:
    keys.key_file().chmod(0o644)
    new = keys.exchange().require_new()
    old = keys.promote()
    assert old
    assert old.name.startswith("encryption.key.old-20")
    assert files(home) == {"encryption.key": new, "encryption.key.old": KEY}
    assert [stat.S_IMODE(path.stat().st_mode) for path in home.iterdir()] == [0o600, 0o600]
    assert keys.load() == new
    assert keys.promote() is None


def test_an_exchange_cut_short_after_the_old_key_was_kept_is_finished(home: Path) -> None:
    new = keys.exchange().require_new()
    (home / "encryption.key.old-20250101T000000Z").hardlink_to(keys.key_file())
    assert keys.load() == KEY
    keys.promote()
    assert sorted(path.name for path in home.iterdir()) == [
        "encryption.key",
        "encryption.key.old-20250101T000000Z",
    ]
    assert keys.load() == new


def test_a_lost_key_file_beside_a_new_one_is_not_made_up(home: Path) -> None:
    new = keys.exchange().require_new()
    keys.key_file().unlink()
    with pytest.raises(UsageError, match=r"encryption\.key is missing: run daybreak keys rotate"):
        keys.load()
    exchange = keys.exchange()
    assert exchange == keys.Exchange(None, new, kept=True)
    with pytest.raises(UsageError, match=r"encryption\.key is missing: restore it"):
        exchange.require_current()
    assert files(home) == {"encryption.key.next": new}
    keys.promote()
    assert files(home) == {"encryption.key": new}


@pytest.mark.parametrize("content", ["", "not a key", "00" * 32])
def test_a_damaged_new_key_is_named_and_left(home: Path, content: str) -> None:
    keys.next_key_file().write_text(content)
    with pytest.raises(UsageError, match=r"encryption\.key\.next is damaged: restore it"):
        keys.exchange()
    assert files(home)["encryption.key.next"] == content


def test_given_keys_are_not_kept(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, key in BEGUN_WITH_BOTH.items():
        monkeypatch.setenv(name, key)
    assert keys.exchange() == keys.Exchange(KEY, NEW, kept=False)
    assert files(home) == {"encryption.key": KEY}


@pytest.mark.parametrize(
    ("environment", "message"),
    [
        ({"ENCRYPTION_KEY": KEY, "NEW_ENCRYPTION_KEY": "00" * 32}, "NEW_ENCRYPTION_KEY is not random"),
        ({"ENCRYPTION_KEY": KEY, "NEW_ENCRYPTION_KEY": NEW[:-2]}, "NEW_ENCRYPTION_KEY is not 32 bytes"),
        ({"ENCRYPTION_KEY": "password", "NEW_ENCRYPTION_KEY": NEW}, "^ENCRYPTION_KEY is not 32 bytes"),
        ({"NEW_ENCRYPTION_KEY": NEW}, "set without ENCRYPTION_KEY"),
        ({"NEW_ENCRYPTION_KEY": NEW, "DB_HOST": "db.example.org"}, "^ENCRYPTION_KEY is not set"),
    ],
)
def test_keys_that_are_missing_or_weak_are_named(
    home: Path, monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], message: str
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(UsageError, match=message) as refused:
        keys.exchange()
    assert not [value for value in environment.values() if len(value) > 30 and value in str(refused.value)]
    assert files(home) == {"encryption.key": KEY}


def test_a_new_key_that_is_not_given_is_asked_for(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ENCRYPTION_KEY", KEY)
    with pytest.raises(UsageError, match="NEW_ENCRYPTION_KEY is not set"):
        keys.exchange().require_new()
    assert files(home) == {"encryption.key": KEY}

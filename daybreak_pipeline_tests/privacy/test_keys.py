"""The encryption key: its forms, where it is kept, and that a wrong one is refused before anything happens."""

from __future__ import annotations

import base64
import os
import secrets
import stat
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psycopg
import pytest

from daybreak_pipeline import database
from daybreak_pipeline.errors import UsageError
from daybreak_pipeline.privacy import keys
from daybreak_pipeline.settings import DatabaseSettings
from daybreak_pipeline_tests.conftest import KEY
from daybreak_pipeline_tests.exports import record, uuid

# In urlsafe base64 these bytes need both of its own letters, in hex none of them.
RAW = bytes.fromhex("fbefbe" + KEY[6:])
OTHER_KEY = "fedcba98765432100123456789abcdef" + KEY[:32]


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(RAW.hex(), id="hex"),
        pytest.param(RAW.hex().upper(), id="HEX"),
        pytest.param(base64.b64encode(RAW).decode(), id="base64"),
        pytest.param(base64.urlsafe_b64encode(RAW).decode(), id="urlsafe base64"),
    ],
)
def test_every_form_of_a_key_is_the_same_key(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv("ENCRYPTION_KEY", f" {text}\n")
    assert keys.load() == RAW.hex()


def test_a_command_that_may_need_the_key_takes_what_there_is_and_makes_none(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("DAYBREAK_HOME", str(tmp_path))
    assert keys.held() is None
    assert not list(tmp_path.iterdir())
    kept = keys.load()
    assert keys.held() == kept
    monkeypatch.setenv("DB_HOST", "127.0.0.1")
    monkeypatch.setenv("DB_NAME", "any")
    monkeypatch.setenv("DB_USER", "any")
    assert keys.held() is None  # the file belongs to the embedded server
    monkeypatch.setenv("ENCRYPTION_KEY", RAW.hex())
    assert keys.held() == RAW.hex()


def test_the_two_base64_forms_differ() -> None:
    plain, urlsafe = base64.b64encode(RAW).decode(), base64.urlsafe_b64encode(RAW).decode()
    assert set("+/") & set(plain)
    assert set("-_") & set(urlsafe)


WEAK = [
    pytest.param("00" * 32, id="all zero"),
    pytest.param("ab" * 32, id="one byte repeated"),
    pytest.param("00ff17ab" * 8, id="four different bytes"),
    pytest.param("password", id="a password"),
    pytest.param("correct horse battery staple!!!!", id="32 characters of text"),
    pytest.param("A" * 32, id="32 letters"),
    pytest.param(RAW.hex()[:-2], id="31 bytes in hex"),
    pytest.param(RAW.hex() + "00", id="33 bytes in hex"),
    pytest.param(base64.b64encode(RAW[:31]).decode(), id="31 bytes in base64"),
    pytest.param(base64.b64encode(RAW + b"!").decode(), id="33 bytes in base64"),
    pytest.param(RAW.hex()[:-1] + "g", id="a letter that is not hex"),
    pytest.param(base64.b64encode(b"a" * 32).decode(), id="repeated byte in base64"),
    pytest.param("ключ" * 8, id="not ASCII"),
]


@pytest.mark.parametrize("text", WEAK)
def test_anything_weaker_is_refused_and_not_repeated(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv("ENCRYPTION_KEY", text)
    with pytest.raises(UsageError, match="ENCRYPTION_KEY") as refused:
        keys.load()
    assert text not in str(refused.value)
    assert "token_hex(32)" in str(refused.value)


def test_no_message_holds_a_key_that_is_nearly_right(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ENCRYPTION_KEY", RAW.hex() + "0")
    with pytest.raises(UsageError) as refused:
        keys.load()
    told: BaseException | None = refused.value
    while told:
        assert RAW.hex()[:16] not in str(told)
        told = told.__cause__


def test_random_keys_are_accepted() -> None:
    for _ in range(2000):
        key = secrets.token_hex(32)
        assert keys.parse(key) == key


def test_a_given_server_needs_a_given_key(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("DAYBREAK_HOME", str(tmp_path))
    monkeypatch.setenv("DB_HOST", "db.example.org")
    with pytest.raises(UsageError, match="ENCRYPTION_KEY is not set"):
        keys.load()
    assert list(tmp_path.iterdir()) == []


# --- The key kept beside the embedded server ------------------------------------------------------------


def test_a_missing_key_is_made_for_its_owner_only_and_stays(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("DAYBREAK_HOME", str(tmp_path / "new" / "home"))
    previous = os.umask(0)
    try:
        first = keys.load()
    finally:
        os.umask(previous)
    file = keys.key_file()
    assert file == tmp_path / "new" / "home" / "encryption.key"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert keys.parse(file.read_text().strip()) == first
    assert keys.load() == first
    assert list(file.parent.iterdir()) == [file]


def test_two_homes_have_two_keys(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    made = set()
    for name in ("one", "two"):
        monkeypatch.setenv("DAYBREAK_HOME", str(tmp_path / name))
        made.add(keys.load())
    assert len(made) == 2


def test_commands_that_start_at_once_agree_on_one_key(tmp_path: Path) -> None:
    program = "from daybreak_pipeline.privacy import keys; input(); print(keys.load())"
    for attempt in range(3):
        home = tmp_path / str(attempt)
        running = [
            subprocess.Popen(
                [sys.executable, "-c", program],
                env=os.environ | {"DAYBREAK_HOME": str(home)},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
            for _ in range(4)
        ]
        for process in running:
            assert process.stdin
            process.stdin.write("\n")
            process.stdin.flush()
        answers = {process.communicate(timeout=30)[0] for process in running}
        assert len(answers) == 1
        assert len(answers.pop().strip()) == 64
        assert [path.name for path in home.iterdir()] == ["encryption.key"]


@pytest.mark.parametrize("content", ["", "\n", "not a key\n"])
def test_a_damaged_key_file_is_refused_and_left_as_it_is(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, content: str
) -> None:
    """A new key would make everything sealed so far unreadable."""
    monkeypatch.setenv("DAYBREAK_HOME", str(tmp_path))
    keys.key_file().write_text(content)
    with pytest.raises(UsageError):
        keys.load()
    assert keys.key_file().read_text() == content


def test_a_damaged_key_file_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Where the user set no ENCRYPTION_KEY, a message about that variable would mislead."""
    monkeypatch.setenv("DAYBREAK_HOME", str(tmp_path))
    keys.key_file().write_text("not a key\n")
    with pytest.raises(UsageError, match=r"encryption\.key"):
        keys.load()


def test_a_home_that_cannot_be_used_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("DAYBREAK_HOME", str(tmp_path / "file" / "home"))
    with pytest.raises(UsageError, match=r"cannot keep the encryption key in .*file/home"):
        keys.load()


# --- The key and the database ---------------------------------------------------------------------------


def key_check(settings: DatabaseSettings) -> list[tuple[bytes, ...]]:
    with psycopg.connect(settings.conninfo()) as connection:
        return connection.execute("SELECT check_value FROM privacy.key_check").fetchall()


def verify(settings: DatabaseSettings, key: str) -> None:
    with database.connect(settings, key=key) as connection:
        keys.verify(connection)


def test_the_first_key_is_the_databases_key(migrated: DatabaseSettings) -> None:
    assert key_check(migrated) == []
    verify(migrated, KEY)
    stored = key_check(migrated)
    assert len(stored) == 1
    verify(migrated, KEY)
    assert key_check(migrated) == stored


def test_what_is_stored_of_a_key_is_not_the_key(migrated: DatabaseSettings) -> None:
    verify(migrated, KEY)
    ((stored,),) = key_check(migrated)
    with database.connect(migrated, key=KEY) as connection:
        sealing = connection.execute("SELECT privacy.key('seal')").fetchone()
    assert sealing
    assert len({bytes(stored), bytes(sealing[0]), bytes.fromhex(KEY)}) == 3


def test_another_key_is_refused_and_changes_nothing(migrated: DatabaseSettings) -> None:
    verify(migrated, KEY)
    before = key_check(migrated)
    with pytest.raises(UsageError, match="another key") as refused:
        verify(migrated, OTHER_KEY)
    assert key_check(migrated) == before
    assert KEY not in str(refused.value)
    assert OTHER_KEY not in str(refused.value)
    verify(migrated, KEY)


def test_hex_and_base64_of_one_key_open_the_same_values(migrated: DatabaseSettings) -> None:
    """Applications hand the key to the session in the form in which they have it."""
    patient = record("patients_and_guardians", "patient")
    with database.connect(migrated, key=KEY) as writer:
        writer.execute(
            "INSERT INTO patients_and_guardians (id, role, first_name) VALUES (%s, 1, 'Ada')", [patient["id"]]
        )
    with database.connect(migrated, key=base64.b64encode(bytes.fromhex(KEY)).decode()) as reader:
        row = reader.execute("SELECT id, first_name FROM app.patients_and_guardians").fetchone()
    assert row
    assert (str(row[0]), row[1]) == (uuid("patient"), "Ada")


def test_the_key_of_a_connection_stays_out_of_what_the_server_shows_of_it(migrated: DatabaseSettings) -> None:
    with database.connect(migrated, key=KEY) as connection, psycopg.connect(migrated.conninfo()) as observer:
        rows = observer.execute(
            "SELECT a::text FROM pg_stat_activity a WHERE pid = %s", [connection.info.backend_pid]
        ).fetchall()
    assert len(rows) == 1
    assert KEY not in rows[0][0]


def test_connections_that_come_first_at_once_agree(migrated: DatabaseSettings) -> None:
    with ThreadPoolExecutor() as pool:
        list(pool.map(lambda _: verify(migrated, KEY), range(4)))
    assert len(key_check(migrated)) == 1

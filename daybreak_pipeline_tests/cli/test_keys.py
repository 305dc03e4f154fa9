"""``daybreak keys`` as people meet it, against a given server and with the embedded one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from daybreak_pipeline import database
from daybreak_pipeline.embedded_postgres import server
from daybreak_pipeline.privacy import keys, rotation
from daybreak_pipeline.settings import PROJECT_ROOT, DatabaseSettings
from daybreak_pipeline_tests.cli.test_main import environment_of, one_line
from daybreak_pipeline_tests.commands import Done, Environment, daybreak
from daybreak_pipeline_tests.conftest import KEY
from daybreak_pipeline_tests.exports import Export, record
from daybreak_pipeline_tests.homes import server_home

NEW = "0123456789abcdeffedcba987654321000112233445566778899aabbccddeeff"
UNFINISHED = "a rotation of the encryption key is unfinished: finish it with daybreak keys rotate"
COMMANDS = [
    ("import", "--data-dir", str(PROJECT_ROOT / "data" / "sample")),
    ("import", "--dry-run", "--data-dir", str(PROJECT_ROOT / "data" / "sample")),
    ("check",),
    ("quarantine", "list"),
    ("quarantine", "show", "1"),
    ("quarantine", "replay"),
    ("trace", "documents", "x"),
    ("run", "--", "true"),
]


class StoppedError(Exception):
    """Stands for whatever stops a rotation."""


def stop_in(settings: DatabaseSettings, current: str, new: str, *, phase: str = "re-encrypt") -> None:
    """Begin a rotation and stop it."""

    def stop(text: str) -> None:
        if text.startswith(phase):
            raise StoppedError

    with database.connect(settings, autocommit=True) as connection, pytest.raises(StoppedError):
        rotation.rotate(connection, keys.Exchange(current, new, kept=False), stop)


def tells_no_key(done: Done, *others: str) -> bool:
    return not [key for key in (KEY, NEW, *others) if key in done.stdout + done.stderr]


@pytest.fixture
def keyed(migrated: DatabaseSettings, tmp_path: Path) -> DatabaseSettings:
    """A database under KEY with one record in quarantine, whose label is missing."""
    with database.connect(migrated, key=KEY, autocommit=True) as connection:
        keys.verify(connection)
        Export(tmp_path, connection).load("documents", record("documents", "bad", label=None))
        connection.execute("INSERT INTO patients_and_guardians (role, first_name) VALUES (1, 'Zoë')")
    return migrated


@pytest.fixture
def given(keyed: DatabaseSettings, tmp_path: Path) -> Environment:
    return environment_of(keyed, tmp_path / "home")


def test_a_given_servers_key_is_rotated(given: Environment) -> None:
    assert daybreak(given, "keys", "status").stdout.splitlines() == [
        "the key fits the database",
        "it was never rotated",
    ]
    done = daybreak(given | {"NEW_ENCRYPTION_KEY": NEW}, "keys", "rotate")
    assert done.returncode == 0, done
    assert "in 3 rows of" in done.stdout
    assert "set ENCRYPTION_KEY to the new key" in done.stdout
    assert "daybreak maintain" in done.stdout
    assert tells_no_key(done)
    assert "another key" in one_line(daybreak(given, "quarantine", "show", "1"))
    renewed = given | {"ENCRYPTION_KEY": NEW}
    shown = daybreak(renewed, "quarantine", "show", "1")
    assert (shown.returncode, "documents, record 1 of" in shown.stdout) == (0, True)
    again = daybreak(given | {"NEW_ENCRYPTION_KEY": NEW}, "keys", "rotate")
    assert (again.returncode, again.stdout.splitlines()[0]) == (0, "everything is under the new key already")
    status = daybreak(renewed, "keys", "status")
    assert (status.returncode, status.stdout.splitlines()[0]) == (0, "the key fits the database")
    assert daybreak(given, "keys", "status").returncode == 2


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_every_command_is_refused_while_a_rotation_is_unfinished(
    keyed: DatabaseSettings, given: Environment, command: tuple[str, ...]
) -> None:
    stop_in(keyed, KEY, NEW)
    for key in (KEY, NEW):
        line = one_line(daybreak(given | {"ENCRYPTION_KEY": key}, *command))
        assert line.startswith(f"daybreak: {UNFINISHED}, with ENCRYPTION_KEY and NEW_ENCRYPTION_KEY")


def test_an_unfinished_one_is_shown_and_finished(keyed: DatabaseSettings, given: Environment) -> None:
    stop_in(keyed, KEY, NEW, phase="verify")
    status = daybreak(given, "keys", "status")
    assert (status.returncode, status.stdout.splitlines()[-1]) == (2, "to finish it: daybreak keys rotate")
    assert "  re-encrypt public.patients_and_guardians: 1 rows" in status.stdout.splitlines()
    assert "NEW_ENCRYPTION_KEY" in one_line(daybreak(given, "keys", "rotate"))
    assert daybreak(given | {"NEW_ENCRYPTION_KEY": NEW}, "keys", "rotate").returncode == 0
    assert daybreak(given | {"ENCRYPTION_KEY": NEW}, "keys", "status").returncode == 0


def test_damaged_values_are_counted_and_named(keyed: DatabaseSettings, given: Environment) -> None:
    with database.connect(keyed, key=KEY) as connection:
        (victim,) = connection.execute(
            "UPDATE patients_and_guardians SET first_name_encrypted = '\\x00' RETURNING id"
        ).fetchall()[0]
    done = daybreak(given | {"NEW_ENCRYPTION_KEY": NEW}, "keys", "rotate")
    assert done.returncode == 0
    assert "left as they are: 1 values of public.patients_and_guardians.first_name_encrypted" in done.stdout
    status = daybreak(given | {"ENCRYPTION_KEY": NEW}, "keys", "status")
    assert f'damaged: public.patients_and_guardians.first_name_encrypted of row ["{victim}"]' in status.stdout


@pytest.mark.parametrize(
    ("new", "message"),
    [("", "NEW_ENCRYPTION_KEY is not set"), ("password", "NEW_ENCRYPTION_KEY is not 32 bytes")],
)
def test_a_key_that_is_missing_or_weak_changes_nothing(given: Environment, new: str, message: str) -> None:
    assert message in one_line(daybreak(given | {"NEW_ENCRYPTION_KEY": new}, "keys", "rotate"))
    assert daybreak(given, "keys", "status").returncode == 0


# --- The embedded server --------------------------------------------------------------------------------


@pytest.fixture
def home() -> Iterator[Path]:
    """A home that every user may enter, so that root's server keeps its data in there."""
    with server_home() as directory:
        yield directory


def key_files(home: Path) -> dict[str, str]:
    return {path.name.partition("-")[0]: path.read_text().strip() for path in home.glob("encryption.key*")}


def test_the_embedded_servers_key_through_every_crash(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    environment = {"DAYBREAK_HOME": str(home), "ENCRYPTION_KEY": "", "NEW_ENCRYPTION_KEY": ""}
    monkeypatch.setenv("DAYBREAK_HOME", str(home))
    with server.serve(home) as settings:  # kept running, so that no command has to start it
        assert daybreak(environment, "keys", "status").returncode == 0
        first = keys.load()
        done = daybreak(environment, "keys", "rotate")
        second = keys.load()
        assert done.returncode == 0, done
        assert tells_no_key(done, first, second)
        assert key_files(home) == {"encryption.key": second, "encryption.key.old": first}

        # A new key on disk, and nothing begun: everything works, and the rotation takes that key.
        third = keys.exchange().require_new()
        assert daybreak(environment, "run", "--", "true").returncode == 0

        # Begun, and stopped.
        stop_in(settings, second, third)
        assert one_line(daybreak(environment, "run", "--", "true")) == f"daybreak: {UNFINISHED}"
        keys.next_key_file().rename(home / "elsewhere")
        assert "encryption.key.next is missing: restore that file" in one_line(
            daybreak(environment, "keys", "rotate")
        )
        assert "encryption.key.next" not in key_files(home)
        (home / "elsewhere").rename(keys.next_key_file())

        # Finished in the database, and stopped before the files were exchanged.
        with database.connect(settings, autocommit=True) as connection:
            rotation.rotate(connection, keys.Exchange(second, third, kept=False))
        line = one_line(daybreak(environment, "run", "--", "true"))
        assert "is still the old one: run daybreak keys rotate" in line
        assert daybreak(environment, "keys", "rotate").returncode == 0
        assert keys.load() == third
        assert sorted(key_files(home)) == ["encryption.key", "encryption.key.old"]
        assert daybreak(environment, "run", "--", "true").returncode == 0


def test_values_of_an_older_version_are_bound_to_their_columns(
    keyed: DatabaseSettings, given: Environment
) -> None:
    with database.connect(keyed, key=KEY) as connection:
        connection.execute(
            "UPDATE patients_and_guardians SET first_name_encrypted = privacy.seal('Ida', privacy.key('seal'))"
        )
        connection.execute(
            "INSERT INTO privacy.binding_steps (relation) VALUES ('public.patients_and_guardians')"
        )
    left = (
        "values of public.patients_and_guardians are not all bound to their columns yet: daybreak keys bind"
    )
    assert daybreak(given, "keys", "status").stdout.splitlines()[-1] == left
    done = daybreak(given, "keys", "bind")
    assert (done.returncode, done.stdout) == (
        0,
        "the values in 1 rows of 1 tables are bound to their columns\n",
    )
    assert left not in daybreak(given, "keys", "status").stdout
    assert daybreak(given, "keys", "bind").stdout == "every sealed value is bound to its column already\n"
    with database.connect(keyed, key=KEY) as connection:
        assert database.value(connection, "SELECT first_name FROM users") == "Ida"

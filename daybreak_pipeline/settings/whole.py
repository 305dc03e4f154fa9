"""The environment looked at as a whole, before anything is started: every fault at once, and names that nobody reads.

Nothing that is said here repeats a secret.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from daybreak_pipeline.errors import SettingsError, UsageError
from daybreak_pipeline.settings import processes, variables
from daybreak_pipeline.settings.backups import backups
from daybreak_pipeline.settings.databases import dagster_database, given_database
from daybreak_pipeline.settings.encryption_keys import parse
from daybreak_pipeline.settings.kinds import Key, Setting
from daybreak_pipeline.settings.notifications import mail, notifier
from daybreak_pipeline.settings.pooler import pooler
from daybreak_pipeline.settings.variables import SETTINGS
from daybreak_pipeline.settings.web import web

_OF_A_GIVEN_SERVER: tuple[Setting[Any], ...] = (
    variables.DB_PORT,
    variables.DB_NAME,
    variables.DB_USER,
    variables.DB_PASSWORD,
    variables.DB_SSLMODE,
    variables.DB_SSLROOTCERT,
    variables.DAGSTER_HOST,
    variables.DAGSTER_PORT,
)
_KEYS = (variables.ENCRYPTION_KEY, variables.NEW_ENCRYPTION_KEY)
_PREFIX = "DAYBREAK_"
_INTERNAL = frozenset({"DAYBREAK_DAGSTER_URL"})
"""What one of our processes tells another."""
_ALIKE, _ALIKE_OF_OTHERS = 0.6, 0.85
"""How much a name must resemble a setting's to be taken for it. Names without our prefix may be another program's."""


def require_sound() -> None:
    """Make sure that the environment can be used.

    Raises:
        SettingsError: it cannot; every fault is a line of its own.
    """
    found = faults()
    if found:
        raise SettingsError(found)


def faults() -> list[str]:
    """Return a line for each variable that cannot be used, and for each contradiction between some."""
    found = [text for setting in SETTINGS for text in _tried(setting.given)]
    looks: tuple[Callable[[], object], ...] = (
        notifier,
        mail,
        web,
        pooler,
        backups,
        *(partial(_look_at_key, key) for key in _KEYS),
    )
    for look in looks:
        found += _tried(look)
    found += _contradictions()
    return list(dict.fromkeys(found))


def unknown() -> list[str]:
    """Return a line for each variable that looks like one of ours and is none, with the one that may be meant."""
    known = {setting.name for setting in SETTINGS}
    lines = []
    for name in processes.names():
        if name in known | _INTERNAL:
            continue
        upper = name.upper()
        if upper.startswith(_PREFIX):  # which all of them share, and so says nothing
            rest = {one.removeprefix(_PREFIX): one for one in known if one.startswith(_PREFIX)}
            alike = difflib.get_close_matches(upper.removeprefix(_PREFIX), rest, 1, _ALIKE)
            meant = f": is {rest[alike[0]]} meant?" if alike else ", see docs/settings.md"
        elif upper.startswith("DB_") or "ENCRYPT" in upper:
            alike = difflib.get_close_matches(upper, known, 1, _ALIKE_OF_OTHERS)
            if not alike:
                continue
            meant = f": is {alike[0]} meant?"
        else:
            continue
        lines.append(f"{name} is no setting{meant}")
    return lines


def given() -> list[str]:
    """Return a line for each variable that is set, in the order of the page. All others have their defaults."""
    return [f"{setting.name} is {setting.shown()}" for setting in SETTINGS if setting.is_given]


def _tried(look: Callable[[], object]) -> list[str]:
    try:
        look()
    except UsageError as error:
        return [str(error)]
    return []


def _look_at_key(setting: Key) -> None:
    text = setting.given()
    if text:
        parse(text, setting.name)


def _contradictions() -> Iterator[str]:
    """Yield what is wrong only together. A variable that cannot be used by itself has been named already."""
    lonely = [setting.name for setting in _OF_A_GIVEN_SERVER if setting.is_given]
    if lonely and not variables.DB_HOST.is_given:
        are, them = ("is", "it") if len(lonely) == 1 else ("are", "them")
        yield (
            f"{_listed(lonely)} {are} set and DB_HOST is not: set it to the server, or leave {them} out for the embedded one"
        )
    try:
        db = given_database()
        storage = dagster_database(db) if db else None
    except UsageError:
        return
    name = db.name if db else variables.DEFAULT_DATABASE
    elsewhere = db and storage and (db.host, db.port) != (storage.host, storage.port)
    if variables.DAGSTER_DB.value() == name and not elsewhere:
        yield (
            "DAYBREAK_DAGSTER_DB is the database of the tables: Dagster's records need one of their own, such as "
            f"{variables.DAGSTER_DATABASE}"
        )


def _listed(names: list[str]) -> str:
    *others, last = names
    return f"{', '.join(others)} and {last}" if others else last

"""Addresses, phone numbers and mail addresses that nobody has.

Phone numbers use the exchange 555-01xx, mail addresses the domains that are reserved for examples.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from daybreak_pipeline.generator.text import join, pool, to_json

if TYPE_CHECKING:
    from daybreak_pipeline.generator.ids import Draws

CITIES = (
    ("San José", "CA", "951"),
    ("Los Angeles", "CA", "900"),
    ("Fresno", "CA", "937"),
    ("Cañon City", "CO", "812"),
    ("Coeur d'Alene", "ID", "838"),
    ("La Cañada Flintridge", "CA", "910"),
    ("Española", "NM", "875"),
    ("St. Paul", "MN", "551"),
    ("New York", "NY", "100"),
    ("O'Fallon", "MO", "633"),
    ("Winston-Salem", "NC", "271"),
    ("Austin", "TX", "787"),
    ("El Paso", "TX", "799"),
    ("Fort Wayne", "IN", "468"),
    ("Oakland", "CA", "946"),
)
STATES = tuple(sorted({state for _, state, _ in CITIES}))

_STREETS = (
    "Maple Street",
    "Oak Avenue",
    "Camino Peña",
    "Martin Luther King Jr. Blvd.",
    "O'Farrell St",
    "3rd Street",
    "Calle Ocho",
    "Rue de l’Église",  # noqa: RUF001 - a typographic apostrophe
    '"Old" Mill Road',
    "Avenida Niños Héroes",
    "County Road 12, Rear House",
)
_UNITS = ("", "", "", "Apt 2B", "Unit #7", "c/o Front Desk", "Piso 3º")
_AREA_CODES = ("212", "213", "303", "310", "415", "505", "512", "612", "818", "919")
_FIRST_WORDS = ("amber", "birch", "cedar", "coral", "delta", "ember", "fern", "harbor", "indigo", "juniper")
_SECOND_WORDS = ("brook", "cliff", "field", "grove", "lake", "meadow", "ridge", "river", "stone", "wood")

CITY_NAMES = pool(city for city, _, _ in CITIES)
CITY_STATES = pool(state for _, state, _ in CITIES)
CITY_ZIPS = pool(prefix for _, _, prefix in CITIES)
STATE_CODES = pool(STATES)

# As JSON members, quotes and backslashes escaped, so that joining them gives valid JSON.
_CITY_JSON = pool(
    to_json({"city": city, "state": state})[1:-1] + f',"zip_code":"{prefix}' for city, state, prefix in CITIES
)
_STREET_JSON = pool(json.dumps(street, ensure_ascii=False)[1:] for street in _STREETS)
_UNIT_JSON = pool(json.dumps(unit, ensure_ascii=False) for unit in _UNITS)
_STREET_TEXT = pool(_STREETS)
_UNIT_TEXT = pool(unit and f", {unit}" for unit in _UNITS)


def _two_digits(draws: Draws, name: str) -> Any:
    return draws.choice(name, pool(f"{number:02d}" for number in range(100)))


def address_json(draws: Draws) -> Any:
    """Return addresses as JSON objects."""
    return join(
        "{",
        draws.choice("city", _CITY_JSON),
        _two_digits(draws, "zip"),
        '","street_address_1":"',
        draws.below("house", 9_000) + 1,
        " ",
        draws.choice("street", _STREET_JSON),
        ',"street_address_2":',
        draws.choice("unit", _UNIT_JSON),
        "}",
    )


def street_address(draws: Draws) -> Any:
    """Return house number and street."""
    return join(draws.below("house", 9_000) + 1, " ", draws.choice("street", _STREET_TEXT))


def address_text(draws: Draws) -> Any:
    """Return addresses as plain text on one line."""
    return join(
        street_address(draws),
        draws.choice("unit", _UNIT_TEXT),
        ", ",
        draws.choice("city", CITY_NAMES),
        ", ",
        draws.choice("city", CITY_STATES),
        " ",
        draws.choice("city", CITY_ZIPS),
        _two_digits(draws, "zip"),
    )


def phone(draws: Draws, name: str = "phone") -> Any:
    """Return phone numbers (E.164) of the reserved exchange."""
    return join("+1", draws.choice(f"{name}-area", pool(_AREA_CODES)), "55501", _two_digits(draws, name))


def email(draws: Draws, domain: str = "example.org") -> Any:
    """Return mail addresses, one for each index."""
    first, second = pool(_FIRST_WORDS), pool(_SECOND_WORDS)
    return join(draws.choice("mail-1", first), ".", draws.choice("mail-2", second), draws.index, "@", domain)

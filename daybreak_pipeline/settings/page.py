"""The page docs/settings.md, made from the declarations of the variables."""

from __future__ import annotations

from typing import Any

from daybreak_pipeline.settings import variables
from daybreak_pipeline.settings.kinds import Setting
from daybreak_pipeline.settings.variables import SECTIONS, SETTINGS

_HEAD = """\
# Settings

All of them are variables of the environment. None is needed for the sample and the embedded server. An empty one counts as not
set.

This page is made of the declarations in `daybreak_pipeline/settings/variables.py`. After a change there, run `make docs`.
"""
_COLUMNS = "| variable | | holds | while it is not set |\n|---|---|---|---|\n"


_ENVIRONMENTS = """\
## Development, staging, production

They differ in nothing but these variables. Every command begins with a look at all settings, and names each that cannot be used
or contradicts another, before anything is started; it warns of names that it does not know. `daybreak doctor` shows what is set,
and no secret. Two environments on one server have a database each, and a database each for Dagster's records: a second one that
is given the first one's is refused.
"""
_DIFFERENCES: tuple[tuple[Setting[Any], str, str, str], ...] = (
    (variables.ENVIRONMENT, "not set", "`staging`", "`production`"),
    (variables.HOME, "not set", "a directory of its own", "a directory of its own"),
    (
        variables.EXPORT_DIR,
        "not set, or a synthetic export",
        "a synthetic export",
        "where the export arrives",
    ),
    (variables.DB_HOST, "not set: the embedded server", "the server", "the server"),
    (variables.DB_NAME, "not set", "such as `daybreak_staging`", "`daybreak_health`"),
    (variables.DAGSTER_DB, "not set", "such as `dagster_staging`", "`dagster`"),
    (variables.DB_USER, "not set", "a role of its own", "a role of its own"),
    (variables.DB_PASSWORD, "not set", "its own", "its own"),
    (variables.DB_SSLMODE, "not set", "`verify-full`", "`verify-full`"),
    (variables.ENCRYPTION_KEY, "not set", "its own, never production's", "its own"),
    (variables.EXECUTOR, "not set", "as in production", "`multiprocess` on a big server"),
    (variables.WEB_AUTH, "not set", "`proxy`", "`proxy`"),
    (variables.WEBHOOK_URL, "not set", "a channel for tests", "who is on call"),
    (variables.POOL_SIZE, "not set", "as in production", "what the server can bear"),
)


def page() -> str:
    """Return the page as it should be."""
    return "\n".join([_HEAD, _environments(), *(_section(name, begins) for name, begins in SECTIONS.items())])


def _environments() -> str:
    rows = "".join(f"| `{setting.name}` | {' | '.join(told)} |\n" for setting, *told in _DIFFERENCES)
    return f"{_ENVIRONMENTS}\n| variable | development | staging | production |\n|---|---|---|---|\n{rows}"


def _section(name: str, begins: str) -> str:
    rows = "".join(_row(setting) for setting in SETTINGS if setting.section == name)
    return "\n\n".join(part for part in (f"## {name}", begins, _COLUMNS + rows) if part)


def _row(setting: Setting[Any]) -> str:
    holds = f"{setting.holds} (secret)" if setting.secret else setting.holds
    return f"| `{setting.name}` | {setting.meaning} | {holds} | {setting.otherwise or _shown(setting.default)} |\n"


def _shown(default: object) -> str:
    return f"`{str(default).lower() if isinstance(default, bool) else default}`"

"""The page docs/settings.md, made from the declarations of the variables."""

from __future__ import annotations

from typing import Any

from daybreak_pipeline.settings.kinds import Setting
from daybreak_pipeline.settings.variables import SECTIONS, SETTINGS

_HEAD = """\
# Settings

All of them are variables of the environment. None is needed for the sample and the embedded server. An empty one counts as not
set.

This page is made of the declarations in `daybreak_pipeline/settings/variables.py`. After a change there, run
`python -m daybreak_pipeline.settings > docs/settings.md`.
"""
_COLUMNS = "| variable | | holds | while it is not set |\n|---|---|---|---|\n"


def page() -> str:
    """Return the page as it should be."""
    return "\n".join([_HEAD, *(_section(name, begins) for name, begins in SECTIONS.items())])


def _section(name: str, begins: str) -> str:
    rows = "".join(_row(setting) for setting in SETTINGS if setting.section == name)
    return "\n\n".join(part for part in (f"## {name}", begins, _COLUMNS + rows) if part)


def _row(setting: Setting[Any]) -> str:
    holds = f"{setting.holds} (secret)" if setting.secret else setting.holds
    return f"| `{setting.name}` | {setting.meaning} | {holds} | {setting.otherwise or _shown(setting.default)} |\n"


def _shown(default: object) -> str:
    return f"`{str(default).lower() if isinstance(default, bool) else default}`"

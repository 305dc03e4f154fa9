"""One finding at /report/finding: what it is, and a form to accept it or to take that back. It runs no script.

The form does what ``daybreak checks accept`` and ``reopen`` do, by the same functions. Who does it is whom the guard has let in,
whatever the form says. The report is made again before the answer goes out.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import date
from urllib.parse import parse_qs, urlencode

import dagster as dg
import psycopg
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.routing import Route

from daybreak_pipeline import database, settings
from daybreak_pipeline.checks import acceptance
from daybreak_pipeline.checks.rules import RULES
from daybreak_pipeline.errors import DaybreakError, UsageError
from daybreak_pipeline.failures import explanations
from daybreak_pipeline.orchestration import acceptances, attribution
from daybreak_pipeline.orchestration.web import report_page
from daybreak_pipeline.orchestration.web.request_rules import FORM
from daybreak_pipeline.report import finding_page, pages, store
from daybreak_pipeline.report.finding_page import Entered, Subject
from daybreak_pipeline.report.gather import gather
from daybreak_pipeline.settings import DatabaseSettings
from daybreak_pipeline.tables import TABLES

log = logging.getLogger("daybreak.web")
_MOST_BYTES = 16 * 1024
"""A form is a few words: 500 characters take up to 6,000 bytes."""
_MOST_FIELDS = 10
_CHECKS = {rule.name for rule in RULES}

Fields = Mapping[str, str]
_Do = Callable[[DatabaseSettings, str, str, Fields, str], Response]


class _BadRequestError(Exception):
    """A request that no form of ours makes; ``args`` are the status and a sentence."""


def route(instance: dg.DagsterInstance) -> Route:
    """Return what serves the page, and takes its form."""
    page = _Page(instance)
    return Route(FORM, page.answer, methods=["GET", "POST"])


@dataclass(frozen=True)
class _Page:
    """The page, with Dagster's instance, which shows at once what has changed."""

    instance: dg.DagsterInstance
    renewing: threading.Lock = field(default_factory=threading.Lock)

    async def answer(self, request: Request) -> Response:
        """Show the finding that the parameters name, or do what the form says."""
        try:
            if request.method == "POST":
                fields = _parsed(await _body(request))
                return await run_in_threadpool(self._answer, request, fields, self._change)
            fields = _parsed(request.scope["query_string"])
            return await run_in_threadpool(self._answer, request, fields, _show)
        except _BadRequestError as error:
            status, why = error.args
            return PlainTextResponse(f"{why}\n", status)

    def _answer(self, request: Request, fields: Fields, do: _Do) -> Response:
        table, check = fields.get("table", ""), fields.get("check", "")
        if table not in TABLES or check not in _CHECKS:
            raise _BadRequestError(404, "there is no such table, or no such check")
        try:
            with database.serving() as db:
                return do(db, table, check, fields, _person(request))
        except (DaybreakError, psycopg.Error) as error:
            why = str(error) if isinstance(error, DaybreakError) else explanations.explain(error)
            return PlainTextResponse(f"{why}\n", 503)

    def _change(self, db: DatabaseSettings, table: str, check: str, fields: Fields, who: str) -> Response:
        """Accept or reopen, and lead back to the finding; where it is refused, say why, with what was entered."""
        try:
            with database.connect(db, autocommit=True) as connection:
                column = fields.get("column") or None
                match fields.get("do"):
                    case "accept":
                        acceptance.accept(
                            connection,
                            table,
                            check,
                            column=column,
                            until=_day(fields.get("until", "")),
                            why=fields.get("why", ""),
                            who=who,
                            seen=fields.get("seen", ""),
                        )
                    case "reopen":
                        acceptance.reopen(connection, table, check, column=column, who=who)
                    case _:
                        raise _BadRequestError(400, "the form says neither accept nor reopen")
        except UsageError as error:
            return _shown(db, table, check, fields, who, refused=str(error))
        self._show_change(db, table, check)
        where = urlencode({"table": table, "check": check})
        return RedirectResponse(f"finding?{where}", 303, {"Cache-Control": "no-store"})

    def _show_change(self, db: DatabaseSettings, table: str, check: str) -> None:
        """Show in the report and in Dagster what is accepted now; it is accepted, whatever comes of that."""
        try:
            with self.renewing:
                pages.renew(db)
            acceptances.tell(self.instance, db, [(table, check)])
        except Exception as error:  # noqa: BLE001 - also Dagster's storage; the next check and report show it
            told = error if isinstance(error, DaybreakError) else explanations.explain(error)
            log.warning("what was accepted is not shown everywhere yet: %s", told)


def _show(db: DatabaseSettings, table: str, check: str, fields: Fields, who: str) -> Response:
    """Show the finding; the form is empty."""
    return _shown(db, table, check, {name: fields[name] for name in ("table", "check")}, who)


def _shown(  # noqa: PLR0913, PLR0917 - what the page is about
    db: DatabaseSettings, table: str, check: str, fields: Fields, who: str, refused: str = ""
) -> Response:
    with database.connect(db, autocommit=True) as connection:
        found = acceptance.as_found(connection, table, check)
        accepted = acceptance.in_force(connection).get((table, check), ())
    facts = gather(db)
    if found is None or all(one.check(check) is None for one in facts.tables if one.name == table):
        raise _BadRequestError(404, f"{table}.{check} has no result yet: run daybreak check first")
    page = finding_page.html(
        facts,
        Subject(table, check, found, accepted),
        who=who,
        entered=Entered(*(fields.get(name, "") for name in ("column", "why", "until"))),
        refused=refused,
        beside=store.pages(),
    )
    return report_page.shown(page.encode(), 400 if refused else 200, below=True, has_form=True)


async def _body(request: Request) -> bytes:
    """Return what was sent, as far as it is of a size that a form can have."""
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > _MOST_BYTES:
            raise _BadRequestError(413, f"a form has at most {_MOST_BYTES:,} bytes")
    return body


def _parsed(encoded: bytes) -> Fields:
    """Return the fields of a form or of a query, each of which must be there once."""
    try:
        found = parse_qs(
            encoded.decode("ascii"), keep_blank_values=True, errors="strict", max_num_fields=_MOST_FIELDS
        )
    except ValueError:
        raise _BadRequestError(400, "the fields cannot be read") from None
    if any(len(values) > 1 for values in found.values()):
        raise _BadRequestError(400, "a field is there twice")
    return {name: value for name, (value,) in found.items()}


def _day(text: str) -> date | None:
    try:
        return date.fromisoformat(text) if text else None
    except ValueError:
        msg = "the last day is written as 2027-03-31"
        raise UsageError(msg) from None


def _person(request: Request) -> str:
    """Return who is logged in; where all have one login, whose web UI it is."""
    name = attribution.name_of(request)
    return f"the web UI of {settings.account()}" if name == attribution.SOMEBODY else name

"""``daybreak frames``: the numbers for analysts, as whoever may read them gets them."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest

from daybreak_pipeline import database
from daybreak_pipeline.maintenance import summaries
from daybreak_pipeline.maintenance.summaries import SUMMARIES
from daybreak_pipeline.report.numbers import FRAMES
from daybreak_pipeline.settings import PROJECT_ROOT, DatabaseSettings
from daybreak_pipeline_tests.cli.test_main import environment_of, one_line
from daybreak_pipeline_tests.commands import Environment, daybreak
from daybreak_pipeline_tests.conftest import Databases
from daybreak_pipeline_tests.exports import uuid
from daybreak_pipeline_tests.privacy.test_roles import APP, READONLY, apply_with_passwords, login
from daybreak_pipeline_tests.schema.test_common_queries_page import examples

_REFERRED = """
INSERT INTO contracts (id, effective_date, services, terms) VALUES (%(d)s, '2025-01-01', '{}', '[]');
INSERT INTO organizations (id, kind, name) VALUES (%(d)s, 1, '=Any, "District"');
INSERT INTO referrals (submitter_id, organization_id, service_kind, contract_id, referred_at, enrolled_at)
    SELECT gen_random_uuid(), %(d)s, 1, %(d)s, '2025-03-05', CASE WHEN n <= 12 THEN timestamptz '2025-03-09' END
    FROM generate_series(1, 15) n"""
DISTRICT = uuid("district")
PAGE = (PROJECT_ROOT / "docs" / "numbers-for-analysts.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def served(databases: Databases, template: DatabaseSettings) -> Iterator[DatabaseSettings]:
    """A district with fifteen referrals of one week, twelve of them enrolled after four days."""
    with databases.copy(template.name) as given:
        apply_with_passwords(given)
        with database.connect(given) as connection:
            for statement in _REFERRED.split(";\n"):
                connection.execute(statement.encode(), {"d": DISTRICT})
            for summary in SUMMARIES.values():
                summaries.refresh(connection, summary)
        yield given


@pytest.fixture
def analyst(served: DatabaseSettings, tmp_path: Path) -> Environment:
    """What to set for an analyst, who has no key."""
    environment = environment_of(login(served, READONLY), tmp_path / "home")
    return {name: value for name, value in environment.items() if name != "ENCRYPTION_KEY"}


def test_without_a_name_it_lists_what_there_is(analyst: Environment) -> None:
    done = daybreak(analyst, "frames")
    assert (done.returncode, done.stderr) == (0, "")
    assert [line.split()[0] for line in done.stdout.splitlines()] == list(FRAMES)
    listed = json.loads(daybreak(analyst, "frames", "--json").stdout)
    assert {one["name"]: list(one["columns"]) for one in listed} == {
        name: list(frame.columns) for name, frame in FRAMES.items()
    }


def test_an_analyst_gets_the_same_rows_in_every_form(analyst: Environment, tmp_path: Path) -> None:
    """Three are not enrolled: too few to be told from the others."""
    done = daybreak(analyst, "frames", "funnel")
    assert (done.returncode, done.stderr) == (0, "")
    head = "week,weeks,scope,district_id,district,referred,onboarding_completed,ready_for_scheduling,scheduled,enrolled"
    assert done.stdout.splitlines() == [
        head,
        "2025-03-03,1,all,,,15,,,,",
        f'2025-03-03,1,district,{DISTRICT},"=Any, ""District""",15,,,,',
    ]
    assert json.loads(daybreak(analyst, "frames", "funnel", "--json").stdout)[0] == {
        **dict.fromkeys(head.split(",")), "week": "2025-03-03", "weeks": 1, "scope": "all", "referred": 15,
    }  # fmt: skip
    for name in ("out.csv", "out.PARQUET"):
        path = tmp_path / name
        path.write_text("what was there before")
        assert daybreak(analyst, "frames", "funnel", "--out", path).stdout == f"{path}\n"
        assert path.stat().st_mode & 0o077 == 0
        read = pd.read_csv(path) if name == "out.csv" else pd.read_parquet(path)
        assert list(read["referred"]) == [15, 15]
        assert read["enrolled"].isna().all()
    assert str(read.dtypes["week"]).startswith("datetime64")
    assert str(read.dtypes["enrolled"]) == "Int64"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out.PARQUET", "out.csv"]
    assert (tmp_path / "out.csv").read_text() == done.stdout


@pytest.mark.parametrize("name", FRAMES)
def test_every_frame_can_be_read_and_has_its_types_even_of_nothing(
    served: DatabaseSettings, tmp_path: Path, name: str
) -> None:
    """As the owner of the tables, too."""
    done = daybreak(environment_of(served, tmp_path / "home"), "frames", name)
    assert (done.returncode, done.stderr) == (0, "")
    assert list(pd.read_csv(io.StringIO(done.stdout)).columns) == list(FRAMES[name].columns)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("time_to_car",), "there is no frame time_to_car: did you mean time-to-care?"),
        (("weather",), "there is no frame weather: daybreak frames lists them"),
        (("funnel", "--out", "{}/x.xlsx"), "cannot tell what to write from x.xlsx: end its name in .csv or .parquet"),
        (("funnel", "--out", "{}/none/x.csv"), "there is no directory {}/none: make it first"),
        (("funnel", "--out", "{}/there.csv"), "{}/there.csv is a directory: name a file in it"),
        (("funnel", "--out", "/proc/x.csv"), "cannot write /proc/x.csv: "),
        (("funnel", "--json", "--out", "{}/x.csv"), "--out and --json are two ways to get it: choose one"),
        (("--out", "{}/x.csv"), "--out needs a name: funnel, time-to-care, coverage, capacity"),
    ],
)  # fmt: skip
def test_what_cannot_be_done_is_one_line(
    analyst: Environment, tmp_path: Path, arguments: tuple[str, ...], message: str
) -> None:
    (tmp_path / "there.csv").mkdir()
    done = daybreak(analyst, "frames", *(one.replace("{}", str(tmp_path)) for one in arguments))
    assert message.replace("{}", str(tmp_path)) in one_line(done)


def test_who_may_not_read_them_and_a_server_that_is_gone_are_one_line(
    served: DatabaseSettings, analyst: Environment, tmp_path: Path
) -> None:
    application = environment_of(login(served, APP), tmp_path / "home")
    assert (
        "user daybreak_app may not read the numbers for analysts: set DB_USER to daybreak_readonly"
        in one_line(daybreak(application, "frames", "funnel"))
    )
    assert "funnel" not in one_line(daybreak(analyst | {"DB_PORT": "1"}, "frames", "funnel"))


def test_a_database_without_them_says_so(empty: DatabaseSettings, tmp_path: Path) -> None:
    line = one_line(daybreak(environment_of(empty, tmp_path / "home"), "frames", "coverage"))
    assert line.endswith("the database has no reporting.coverage_by_week: run daybreak migrate up")


def test_the_examples_of_the_page_run_as_an_analyst_and_every_column_is_defined(
    served: DatabaseSettings,
) -> None:
    with database.connect(login(served, READONLY)) as connection:
        for example in examples(PAGE):
            connection.execute(example.encode())
    columns = {column for frame in FRAMES.values() for column in frame.columns}
    assert {column for column in columns if f"`{column}`" not in PAGE} == set()

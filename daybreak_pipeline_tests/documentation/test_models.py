"""``daybreak models``: it writes what applications may use; what it writes in Python is valid, and does what it says."""

from __future__ import annotations

import datetime as dt
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pydantic
import pytest
import sqlalchemy
import sqlalchemy.exc
from sqlalchemy.orm import DeclarativeBase, Session

from daybreak_pipeline.documentation import python_models
from daybreak_pipeline.settings import DatabaseSettings
from daybreak_pipeline_tests.commands import daybreak
from daybreak_pipeline_tests.conftest import KEY
from daybreak_pipeline_tests.privacy.test_roles import APP, login


@pytest.fixture(scope="module")
def models(written: Path) -> ModuleType:
    module = ModuleType("models_of_a_test")
    sys.modules[module.__name__] = module  # SQLAlchemy looks annotations up there
    source = (written / "daybreak_models.py").read_text(encoding="utf-8")
    exec(source, module.__dict__)  # noqa: S102 - what was made must run
    return module


@pytest.fixture(scope="module")
def engine(db: DatabaseSettings) -> Iterator[sqlalchemy.Engine]:
    role = login(db, APP)
    url = sqlalchemy.URL.create(
        "postgresql+psycopg", role.user, role.password, role.host, role.port, role.name
    )
    made = sqlalchemy.create_engine(url)
    yield made
    made.dispose()


@pytest.mark.parametrize("file", ["daybreak.ts", "daybreak_models.py"])
def test_internal_columns_and_closed_tables_are_in_no_model(written: Path, file: str) -> None:
    text = (written / file).read_text(encoding="utf-8")
    for hidden in (
        "_encrypted",
        "name_tokens",
        "_source_hash",
        "_import_id",
        'ingest.imports"',
        "hidden",
        "audit.",
    ):
        assert f"{hidden}:" not in text
        assert f"{hidden}'" not in text
    assert "closed" not in text


def test_the_same_database_gives_the_same_text(db: DatabaseSettings, written: Path) -> None:
    done = daybreak(db.environment(), "models", "--language", "TypeScript")
    assert done.returncode == 0
    assert done.stdout == (written / "daybreak.ts").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--language", "cobol"], "is not one of 'typescript', 'python'"),
        (
            ["--language", "python", "--out", "nowhere/models.py"],
            "cannot write nowhere/models.py: No such file or directory",
        ),
        ([], "Missing option '--language'"),
    ],
)
def test_wrong_usage_is_one_line(db: DatabaseSettings, arguments: list[str], said: str) -> None:
    done = daybreak(db.environment(), "models", *arguments)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert said in done.stderr


def test_a_server_that_is_not_there_is_one_line(db: DatabaseSettings) -> None:
    done = daybreak(db.environment() | {"DB_PORT": "1"}, "models", "--language", "python")
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)


def test_a_database_without_grants_shows_tables_and_views_of_applications(migrated: DatabaseSettings) -> None:
    done = daybreak(migrated.environment(), "models", "--language", "typescript")
    assert (done.returncode, done.stderr) == (0, "")
    assert '"app.coverage_status": { row: AppCoverageStatus };' in done.stdout
    assert '"reporting.' not in done.stdout
    assert '"ingest.' not in done.stdout


def test_a_database_without_the_schema_is_one_line(empty: DatabaseSettings) -> None:
    done = daybreak(empty.environment(), "models", "--language", "python")
    assert (done.returncode, done.stdout) == (2, "")
    assert "daybreak migrate up" in done.stderr


def test_names_that_the_libraries_take_are_known() -> None:
    names = {name for name in dir(pydantic.BaseModel) if not name.startswith("_")}
    names |= {name for name in dir(DeclarativeBase) if not name.startswith("_")}
    assert names <= python_models.OF_THE_LIBRARIES


# --- Python ----------------------------------------------------------------------------------------------


def give_key(session: Session) -> None:
    session.execute(sqlalchemy.text("SELECT set_config('daybreak.encryption_key', :key, true)"), {"key": KEY})


def test_an_application_writes_a_person_and_reads_her_through_the_view(
    models: ModuleType, engine: sqlalchemy.Engine
) -> None:
    with Session(engine) as session, session.begin():
        give_key(session)
        new = models.PatientsAndGuardiansInsert(
            role=models.PatientsAndGuardiansRole.PATIENT_OR_GUARDIAN,
            first_name="Any",
            birthdate="1980-02-29",
            address={"city": "Anywhere"},
            system_labels=["guardian"],
        )
        person = models.PatientsAndGuardians(**new.model_dump(exclude_unset=True))
        child = models.PatientsAndGuardians(role=1)
        session.add_all([person, child])
        session.flush()
        pair = models.KinshipsInsert(
            user_0_id=person.id, user_1_id=child.id, kind=1, user_0_label=1, user_1_label=2
        )
        assert pair.user_0_label is models.KinshipsUser0Label.GUARDIAN
        session.add(models.Kinships(**pair.model_dump(exclude_unset=True)))
        session.flush()
        seen = session.get(models.AppPatientsAndGuardians, person.id)
        row = models.AppPatientsAndGuardiansRow.model_validate(seen)
        assert (row.first_name, row.birthdate, row.address) == (
            "Any",
            dt.date(1980, 2, 29),
            {"city": "Anywhere"},
        )
        assert row.fivetran_deleted is False  # the default, of the column _fivetran_deleted
        assert seen is not None
        seen.first_name = None  # through the view that erases it
        session.flush()
        session.expire_all()
        assert seen.first_name is None
        [relative] = session.execute(
            sqlalchemy.select(models.AppRelatives).where(models.AppRelatives.c.person_id == child.id)
        )
        assert models.AppRelativesRow.model_validate(relative).is_guardian


def test_a_sealed_column_of_the_table_is_not_read_as_empty(
    models: ModuleType, engine: sqlalchemy.Engine
) -> None:
    with Session(engine) as session, session.begin():
        person = models.PatientsAndGuardians(role=1)
        session.add(person)
        session.flush()
        session.expire_all()
        with pytest.raises(sqlalchemy.exc.InvalidRequestError):
            _ = person.first_name
        assert "first_name" not in models.PatientsAndGuardiansRow.model_fields
        models.PatientsAndGuardiansRow.model_validate(person)


def test_odd_names_and_types_of_an_applications_own_tables(
    models: ModuleType, engine: sqlalchemy.Engine
) -> None:
    with Session(engine) as session, session.begin():
        new = models.Shop2ClassInsert.model_validate(
            {
                "class": "a",
                "two words": "b",
                "2nd": "c",
                "_under": "d",
                "under": "e",
                "model_config": "f",
                "metadata": [1],
                'it\'s "odd" */ --': "g",
                "größe": 1.5,
                "mood": 'it\'s "bad"',
                "moods": ["fine", "so, so"],
                "cost": "12.50",
                "big": 2**60,
                "spans": dt.timedelta(days=1),
                "picture": b"\0\xff",
                "days": ["2025-03-01"],
                "kind": 2,
                "level": "very high",
            }
        )
        made = models.Shop2Class(**new.model_dump(exclude_unset=True))
        session.add(made)
        session.flush()
        session.expire_all()
        row = models.Shop2ClassRow.model_validate(made)
    given = new.model_dump(by_alias=True, exclude_unset=True)
    assert row.model_dump(by_alias=True, include=new.model_fields_set) == given
    assert (row.from_, row.int_, row.twice, row.kind) == (1, 7, 2**61, models.Shop2ClassKind.ANOTHER)


@pytest.mark.parametrize(
    "wrong",
    [
        {"twice": 1},  # the database makes it
        {"from": 1},  # likewise
        {"level": "high"},
        {"kind": 3},
        {"two words": "x" * 21},
        {"big": None},
        {"unknown": 1},
    ],
)
def test_what_the_database_would_refuse_is_refused(models: ModuleType, wrong: dict[str, object]) -> None:
    right = {"class": "a", "big": 1, "level": "low", "cost": 1}
    models.Shop2ClassInsert.model_validate(right)
    with pytest.raises(pydantic.ValidationError):
        models.Shop2ClassInsert.model_validate(right | wrong)


_USES_PYTHON = """
import uuid

import sqlalchemy
import sqlalchemy.orm

import daybreak_models as m


def names(session: sqlalchemy.orm.Session, person: uuid.UUID) -> list[str | None]:
    found = session.get(m.AppPatientsAndGuardians, person)
    new = m.KinshipsInsert(
        user_0_id=person, user_1_id=person, kind=1, user_0_label=m.KinshipsUser0Label.BOTH, user_1_label=m.KinshipsUser1Label.BOTH
    )
    session.add(m.Kinships(**new.model_dump(exclude_unset=True)))
    at: int = m.Shop2ClassRow.model_validate(None).int_
    return [found.first_name if found else None, str(at)]
"""


@pytest.mark.slow
def test_the_python_module_is_typed(written: Path) -> None:
    (written / "uses.py").write_text(_USES_PYTHON, encoding="utf-8")
    checked = subprocess.run(
        [
            sys.executable,
            "-m",
            "mypy",
            "--strict",
            "--config-file=",
            "--cache-dir",
            str(written / "cache"),
            "uses.py",
            "daybreak_models.py",
        ],
        cwd=written,
        capture_output=True,
        text=True,
        check=False,
    )
    assert checked.returncode == 0, checked.stdout

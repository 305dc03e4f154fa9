"""Texts too long for an index: PostgreSQL refuses the whole statement for one of them, the import only its record."""

from __future__ import annotations

import json
import random
import string

import psycopg
import pytest

from daybreak_pipeline.database import Connection
from daybreak_pipeline.importer import bulk_load
from daybreak_pipeline.importer.run import ImportFailedError
from daybreak_pipeline.schema import catalog
from daybreak_pipeline.tables import TABLES
from daybreak_pipeline_tests.exports import Export, record

LIMIT = catalog.GIN_ELEMENT_BYTES
REASON = f"too long to be indexed ({LIMIT} bytes at most)"
_RANDOM = random.Random(1)  # noqa: S311 - nothing is to be kept secret


def text(length: int) -> str:
    """Return a text that PostgreSQL cannot compress."""
    return "".join(_RANDOM.choices(string.ascii_letters + string.digits, k=length))


@pytest.mark.parametrize(
    ("index", "value", "most"),
    [
        ("gin (labels)", "ARRAY[{}]", LIMIT + 4),
        ("gin (id, labels)", "ARRAY[{}]", LIMIT),
        ("btree (body)", "{}", catalog.BTREE_ROW_BYTES - 4),
        ("btree (id, body)", "{}", catalog.BTREE_ROW_BYTES - 16 - 4),
        ("btree (flag, id, body)", "{}", catalog.BTREE_ROW_BYTES - 20 - 4),
    ],
)
def test_postgresql_has_the_limits_that_we_take_it_to_have(
    connection: Connection, index: str, value: str, most: int
) -> None:
    connection.execute(
        "CREATE TABLE tried (id uuid DEFAULT gen_random_uuid(), body text, labels text[], flag bool DEFAULT true)"
    )
    connection.execute(f"CREATE INDEX ON tried USING {index}".encode())
    column = "labels" if "gin" in index else "body"
    query = f"INSERT INTO tried ({column}) VALUES ({value.format('%s')})".encode()  # noqa: S608 - names of this test
    connection.execute(query, [text(most)])
    with pytest.raises(psycopg.errors.ProgramLimitExceeded):
        connection.execute(query, [text(most + 1)])


def test_of_the_plans_columns_only_labels_have_an_index_and_no_length(connection: Connection) -> None:
    limits = {name: dict(catalog.read(connection, name).index_limits) for name in TABLES}
    assert {name: limit for name, limit in limits.items() if limit} == {
        name: {"system_labels": LIMIT}
        for name in ("patients_and_guardians", "clinicians", "insurance_coverages", "referrals")
    }


@pytest.mark.parametrize("way", ["bare", "empty", "merge"])
def test_a_label_too_long_to_be_indexed_takes_only_its_own_record(
    export: Export, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    export.add_parents()
    if way == "merge":
        export.load("referrals", record("referrals", "before"), record("referrals", "longest"))
    else:
        export.connection.execute("TRUNCATE referrals CASCADE")
    if way == "bare":
        monkeypatch.setattr(bulk_load, "FEWEST_RECORDS", 1)
    several = [text(LIMIT // 2) for _ in range(3)]
    export.write(
        "referrals",
        record("referrals", "longest", system_labels=json.dumps(["referred", text(LIMIT)])),
        record("referrals", "longer", system_labels=json.dumps(["referred", text(LIMIT + 1)])),
        record("referrals", "several", system_labels=json.dumps(several)),
        record("referrals", "bytes", system_labels="{" + "é" * (LIMIT // 2 + 1) + "}"),
        record("referrals", "escaped", system_labels=json.dumps(["é" * (LIMIT // 2)])),
        record("referrals", "list", system_labels=f"referred, {text(LIMIT + 1)}", service_kind="9"),
        record("referrals", "none", system_labels="[" + text(LIMIT + 1)),
    )
    told = export.load("referrals")
    assert (told["status"], told["read"], told["quarantined"]) == ("imported", 7, 4)
    label = ("invalid_value", "system_labels")
    assert export.refused("referrals") == [
        (2, [label]),
        (4, [label]),
        (6, [("invalid_enum", "service_kind"), label]),
        (7, [label]),
    ]
    details = export.connection.execute(
        "SELECT DISTINCT r ->> 'detail' FROM ingest.quarantine, jsonb_array_elements(reasons) r "
        "WHERE r ->> 'code' = 'invalid_value' ORDER BY 1"
    ).fetchall()
    assert details == [("not a valid text[]",), (REASON,)]
    assert ([*several],) in export.rows("referrals", "system_labels")


@pytest.mark.parametrize(
    "definition", ["(concerns)", "(organization_id, concerns)", "(concerns, service_kind, created_at)"]
)
def test_an_index_that_a_migration_adds_to_a_long_text_is_respected(export: Export, definition: str) -> None:
    export.add_parents()
    export.connection.execute(f"CREATE INDEX ON referrals {definition}".encode())
    most = catalog.read(export.connection, "referrals").index_limits["concerns"]
    long = [text(most), text(most + 1)]
    export.load("referrals", *(record("referrals", f"n{n}", concerns=t) for n, t in enumerate(long)))
    assert export.refused("referrals") == [(2, [("invalid_value", "concerns")])]
    assert (long[0],) in export.rows("referrals", "concerns")


def test_an_index_of_short_texts_sets_no_limit(export: Export) -> None:
    export.connection.execute("CREATE INDEX ON clinician_credentialed_insurances (name, state)")
    assert not catalog.read(export.connection, "clinician_credentialed_insurances").index_limits
    export.connection.execute("CREATE INDEX ON referrals USING hash (concerns)")
    assert set(catalog.read(export.connection, "referrals").index_limits) == {"system_labels"}


@pytest.mark.parametrize("rows_before", [False, True])
@pytest.mark.parametrize(("length", "name"), [(5_000, r" \(added\)"), (20_000, "")])
def test_a_value_too_large_for_an_index_that_somebody_has_added_is_told(
    export: Export, length: int, name: str, *, rows_before: bool
) -> None:
    export.connection.execute("CREATE INDEX added ON questionnaires ((question_answers::text))")
    if rows_before:
        export.load("questionnaires", record("questionnaires", "there"))
    large = record("questionnaires", "large", question_answers=json.dumps({"text": text(length)}))
    with pytest.raises(ImportFailedError, match=f"too large for an index{name}; nothing was changed"):
        export.load("questionnaires", large)
    assert len(export.rows("questionnaires", "id")) == rows_before

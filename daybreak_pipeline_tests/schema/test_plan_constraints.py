"""Every constraint, default and trigger of the plan, each with a value it takes and one it refuses.

The first half of this file is the plan, written out by hand as tables; the second half turns each entry into
tests. The last tests hold the tables against the catalog in both directions, so that neither a constraint
without a test nor an entry without a constraint goes unseen.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, date, datetime
from itertools import count
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

import pytest
from psycopg import errors, sql
from psycopg.types.json import Jsonb

from daybreak_pipeline import tables
from daybreak_pipeline.schema.catalog import SEALED_CONSTRAINT

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    import psycopg
    from psycopg.rows import TupleRow

    Connection = psycopg.Connection[TupleRow]
    Row = Mapping[str, Any]


# --- The plan -------------------------------------------------------------------------------------------

TABLES = (
    "patients_and_guardians",
    "clinicians",
    "kinships",
    "questionnaires",
    "clinician_credentialed_insurances",
    "insurance_coverages",
    "organizations",
    "contracts",
    "org_contracts",
    "referrals",
    "referral_members",
    "memberships",
    "patient_availabilities",
    "clinician_availabilities",
    "clinician_insurance_affiliations",
    "documents",
)


@dataclass(frozen=True)
class Enum:
    """An INTEGER column that a CHECK restricts to some values ("Enum Value Documentation")."""

    table: str
    column: str
    valid: tuple[int, ...]
    invalid: tuple[int, ...]

    @property
    def constraint(self) -> str:
        return f"chk_{self.table}_{self.column}"


ENUMS = (
    Enum("kinships", "user_0_label", valid=(1, 2, 12), invalid=(-1, 0, 3, 11, 13, 21)),
    Enum("kinships", "user_1_label", valid=(1, 2, 12), invalid=(-1, 0, 3, 11, 13, 21)),
    Enum("questionnaires", "type", valid=(3, 4), invalid=(-3, 0, 1, 2, 5)),
    Enum("insurance_coverages", "kind", valid=(0, 2), invalid=(-2, 1, 3)),
    Enum("insurance_coverages", "eligibility", valid=(0, 2, 4, 6), invalid=(-2, 1, 3, 5, 7, 8, 9)),
    Enum("referrals", "service_kind", valid=(1, 2, 3), invalid=(-1, 0, 4)),
    Enum("organizations", "kind", valid=(1, 2), invalid=(-1, 0, 3)),
)

REQUIRED_EVERYWHERE = ("id", "created_at", "updated_at")
REQUIRED: dict[str, tuple[str, ...]] = {
    "patients_and_guardians": ("role",),
    "clinicians": (),
    "kinships": ("user_0_id", "user_1_id", "kind", "user_0_label", "user_1_label"),
    "questionnaires": ("subject_id", "respondent_id", "question_answers", "type"),
    "clinician_credentialed_insurances": ("name",),
    "insurance_coverages": ("kind", "user_id"),
    "organizations": ("kind", "name"),
    "contracts": ("effective_date", "services", "terms"),
    "org_contracts": ("organization_id", "contract_id"),
    "referrals": ("submitter_id", "organization_id", "service_kind", "contract_id"),
    "referral_members": ("referral_id", "user_id"),
    "memberships": ("user_id", "organization_id"),
    "patient_availabilities": ("user_id", "availability"),
    "clinician_availabilities": ("user_id", "range_start", "range_end", "timezone"),
    "clinician_insurance_affiliations": ("care_provider_profile_id", "credentialed_insurance_id"),
    "documents": ("version", "label"),
}

RANDOM_ID = "gen_random_uuid()"
TRANSACTION_TIME = "now()"
MARKET = UUID("00000000-0000-0000-0000-000000000001")

_ORIGIN = {"id": RANDOM_ID, "created_at": TRANSACTION_TIME, "updated_at": TRANSACTION_TIME}
_USUAL = _ORIGIN | {"_fivetran_deleted": False}

DEFAULTS: dict[str, dict[str, Any]] = {
    "patients_and_guardians": {
        **_USUAL,
        "profile_data": {},
        "clinical_associate": False,
        "care_provider_status": 0,
        "account_status": 0,
    },
    "clinicians": {**_USUAL},
    "kinships": {**_USUAL, "guardian_can_be_contacted": False},
    "questionnaires": {**_USUAL, "score": 0},
    "clinician_credentialed_insurances": {
        **_USUAL,
        "country": "US",
        "network_status": 0,
        "associates_allowed": 0,
    },
    "insurance_coverages": {
        **_USUAL,
        "plan_holder_country": "US",
        "level": 1,
        "eligibility": 0,
        "genesis": 0,
    },
    "organizations": {**_USUAL, "config": {}, "market_id": MARKET},
    "contracts": {**_USUAL},
    "org_contracts": {**_ORIGIN},
    "referrals": {
        **_USUAL,
        "data": {},
        "market_id": MARKET,
        "terms_kind": 1,
        "planned_sessions": 12,
        "collect_coverage": True,
        "collection_rule": 0,
        "self_responsibility_required": True,
    },
    "referral_members": {**_USUAL, "role": 0, "data": {}},
    "memberships": {**_USUAL, "profile_data": {}},
    "patient_availabilities": {**_USUAL},
    "clinician_availabilities": {"is_repeating": False},
    "clinician_insurance_affiliations": {**_USUAL},
    "documents": {**_USUAL, "version": 1},
}


@dataclass(frozen=True)
class Unique:
    """Columns that together are different in every row: a primary key or a UNIQUE constraint."""

    table: str
    columns: tuple[str, ...]
    constraint: str


PRIMARY_KEYS = tuple(Unique(table, ("id",), f"{table}_pkey") for table in TABLES)
UNIQUE = (
    Unique("kinships", ("user_0_id", "user_1_id"), "kinships_user_0_id_user_1_id_key"),
    Unique("organizations", ("slug",), "idx_orgs_slug"),
    Unique(
        "org_contracts", ("organization_id", "contract_id"), "org_contracts_organization_id_contract_id_key"
    ),
    Unique("referral_members", ("referral_id", "user_id"), "referral_members_referral_id_user_id_key"),
    Unique("memberships", ("user_id", "organization_id"), "memberships_user_id_organization_id_key"),
    Unique(
        "clinician_insurance_affiliations",
        ("care_provider_profile_id", "credentialed_insurance_id"),
        "clinician_insurance_affiliati_care_provider_profile_id_cred_key",
    ),
)


@dataclass(frozen=True)
class ForeignKey:
    """A reference that the database enforces ("Direct Foreign Keys")."""

    table: str
    column: str
    parent: str
    constraint: str
    cascades: bool = False


FOREIGN_KEYS = (
    ForeignKey("patients_and_guardians", "supervisor_id", "clinicians", "fk_patients_guardians_supervisor"),
    ForeignKey("clinicians", "supervisor_id", "clinicians", "fk_clinicians_supervisor"),
    ForeignKey(
        "clinician_credentialed_insurances",
        "parent_credentialed_insurance_id",
        "clinician_credentialed_insurances",
        "fk_parent_insurance",
    ),
    ForeignKey("organizations", "parent_organization_id", "organizations", "fk_org_parent"),
    ForeignKey("org_contracts", "organization_id", "organizations", "org_contracts_organization_id_fkey"),
    ForeignKey("org_contracts", "contract_id", "contracts", "org_contracts_contract_id_fkey"),
    ForeignKey("referrals", "organization_id", "organizations", "referrals_organization_id_fkey"),
    ForeignKey("referrals", "contract_id", "contracts", "referrals_contract_id_fkey"),
    ForeignKey("referrals", "intake_id", "questionnaires", "referrals_intake_id_fkey"),
    ForeignKey("referrals", "care_provider_id", "clinicians", "fk_referrals_care_provider"),
    ForeignKey(
        "referral_members", "referral_id", "referrals", "referral_members_referral_id_fkey", cascades=True
    ),
    ForeignKey("memberships", "organization_id", "organizations", "memberships_organization_id_fkey"),
    ForeignKey(
        "clinician_insurance_affiliations",
        "care_provider_profile_id",
        "clinicians",
        "fk_clin_ins_aff_clinician",
    ),
    ForeignKey(
        "clinician_insurance_affiliations",
        "credentialed_insurance_id",
        "clinician_credentialed_insurances",
        "clinician_insurance_affiliations_credentialed_insurance_id_fkey",
    ),
)

UPDATED_AT_TRIGGERS = {
    "patients_and_guardians": "update_patients_guardians_updated_at",
    "clinicians": "update_clinicians_updated_at",
    "kinships": "update_kinships_updated_at",
    "questionnaires": "update_questionnaires_updated_at",
    "clinician_credentialed_insurances": "update_clin_cred_insurances_updated_at",
    "insurance_coverages": "update_insurance_coverages_updated_at",
    "organizations": "update_organizations_updated_at",
    "contracts": "update_contracts_updated_at",
    "org_contracts": "update_org_contracts_updated_at",
    "referrals": "update_referrals_updated_at",
    "referral_members": "update_referral_members_updated_at",
    "memberships": "update_memberships_updated_at",
    "patient_availabilities": "update_patient_availabilities_updated_at",
    "clinician_availabilities": "update_clinician_availabilities_updated_at",
    "clinician_insurance_affiliations": "update_clin_ins_aff_updated_at",
    "documents": "update_documents_updated_at",
}


# --- Rows to try the plan with --------------------------------------------------------------------------

LONG_AGO = datetime(2001, 2, 3, 4, 5, 6, tzinfo=UTC)
LESS_LONG_AGO = datetime(2002, 3, 4, 5, 6, 7, tzinfo=UTC)
_NUMBERS = count(1)


def _number() -> int:
    return next(_NUMBERS)


def _slug() -> str:
    return f"school-{_number()}"


MINIMAL_ROWS: dict[str, dict[str, Any]] = {
    "patients_and_guardians": {"role": 1},
    "clinicians": {},
    "kinships": {"user_0_id": uuid4, "user_1_id": uuid4, "kind": 1, "user_0_label": 1, "user_1_label": 2},
    "questionnaires": {
        "subject_id": uuid4,
        "respondent_id": uuid4,
        "question_answers": Jsonb({"question_1_answer": 2}),
        "type": 3,
    },
    "clinician_credentialed_insurances": {"name": "Example Health"},
    "insurance_coverages": {"kind": 2, "user_id": uuid4},
    "organizations": {"kind": 2, "name": "Example School"},
    "contracts": {
        "effective_date": date(2025, 8, 1),
        "services": ["individual_therapy"],
        "terms": Jsonb([{"kind": 1}]),
    },
    "org_contracts": {},
    "referrals": {"submitter_id": uuid4, "service_kind": 1},
    "referral_members": {"user_id": uuid4},
    "memberships": {"user_id": uuid4},
    "patient_availabilities": {"user_id": uuid4, "availability": Jsonb([])},
    "clinician_availabilities": {
        "id": _number,
        "user_id": 1,
        "range_start": LONG_AGO,
        "range_end": LESS_LONG_AGO,
        "timezone": "America/Los_Angeles",
        "created_at": LONG_AGO,
        "updated_at": LONG_AGO,
    },
    "clinician_insurance_affiliations": {},
    "documents": {"label": "privacy_policy"},
}
"""What a row needs at least; a function is called for each row, and required parents are added on demand."""

PARENTS = {(key.table, key.column): key.parent for key in FOREIGN_KEYS}

FRESH_VALUES: dict[tuple[str, str], Callable[[], object]] = {
    ("organizations", "slug"): _slug,
    ("clinician_availabilities", "id"): _number,
}
"""How to make a value of a unique column that is no UUID."""


def minimal_row(connection: Connection, table: str, **values: object) -> dict[str, object]:
    row = {
        column: value() if callable(value) else value
        for column, value in MINIMAL_ROWS[table].items()
        if column not in values
    }
    for column in REQUIRED[table]:
        if (table, column) in PARENTS and column not in values:
            row[column] = insert(connection, PARENTS[table, column])["id"]
    return row | values


def insert(connection: Connection, table: str, **values: object) -> Row:
    """Insert a minimal row with ``values`` and return what the database made of it."""
    row = minimal_row(connection, table, **values)
    if row:
        statement = sql.SQL("INSERT INTO {} ({}) VALUES ({}) RETURNING *").format(
            sql.Identifier(table),
            sql.SQL(", ").join(map(sql.Identifier, row)),
            sql.SQL(", ").join(sql.Placeholder() * len(row)),
        )
    else:
        statement = sql.SQL("INSERT INTO {} DEFAULT VALUES RETURNING *").format(sql.Identifier(table))
    cursor = connection.execute(statement, list(row.values()))
    (inserted,) = cursor.fetchall()
    assert cursor.description is not None
    return dict(zip((column.name for column in cursor.description), inserted, strict=True))


def update(connection: Connection, table: str, row_id: object, column: str, value: object) -> None:
    connection.execute(
        sql.SQL("UPDATE {} SET {} = %s WHERE id = %s").format(sql.Identifier(table), sql.Identifier(column)),
        [value, row_id],
    )


def delete(connection: Connection, table: str, row_id: object) -> None:
    connection.execute(sql.SQL("DELETE FROM {} WHERE id = %s").format(sql.Identifier(table)), [row_id])


def select(connection: Connection, table: str, row_id: object, column: str) -> object:
    """Return the column of the row, or None where there is no such row."""
    row = connection.execute(
        sql.SQL("SELECT {} FROM {} WHERE id = %s").format(sql.Identifier(column), sql.Identifier(table)),
        [row_id],
    ).fetchone()
    return None if row is None else row[0]


def transaction_value(connection: Connection, expression: sql.SQL) -> object:
    row = connection.execute(sql.SQL("SELECT {}").format(expression)).fetchone()
    assert row is not None
    return row[0]


def fresh_value(connection: Connection, table: str, column: str) -> object:
    """Return a value that no row holds in this column and that its foreign key accepts."""
    if (table, column) in PARENTS:
        return insert(connection, PARENTS[table, column])["id"]
    return FRESH_VALUES.get((table, column), uuid4)()


# --- Enums ----------------------------------------------------------------------------------------------


def _enum_values(kind: str) -> Iterable[Any]:
    return [
        pytest.param(enum, value, id=f"{enum.table}.{enum.column}={value}")
        for enum in ENUMS
        for value in (enum.valid if kind == "valid" else enum.invalid)
    ]


@pytest.mark.parametrize(("enum", "value"), _enum_values("valid"))
def test_enum_accepts(connection: Connection, enum: Enum, value: int) -> None:
    assert insert(connection, enum.table, **{enum.column: value})[enum.column] == value


@pytest.mark.parametrize(("enum", "value"), _enum_values("invalid"))
def test_enum_refuses(connection: Connection, enum: Enum, value: int) -> None:
    row = minimal_row(connection, enum.table, **{enum.column: value})
    with pytest.raises(errors.CheckViolation) as caught:
        insert(connection, enum.table, **row)
    assert caught.value.diag.constraint_name == enum.constraint


@pytest.mark.parametrize("enum", ENUMS, ids=lambda enum: f"{enum.table}.{enum.column}")
def test_enum_refuses_on_update_too(connection: Connection, enum: Enum) -> None:
    row = insert(connection, enum.table)
    with pytest.raises(errors.CheckViolation) as caught:
        update(connection, enum.table, row["id"], enum.column, enum.invalid[0])
    assert caught.value.diag.constraint_name == enum.constraint


@pytest.mark.parametrize("enum", ENUMS, ids=lambda enum: f"{enum.table}.{enum.column}")
def test_the_columns_comment_explains_each_value(connection: Connection, enum: Enum) -> None:
    row = connection.execute(
        """
        SELECT col_description(attrelid, attnum) FROM pg_attribute
        WHERE attrelid = to_regclass(%s) AND attname = %s
        """,
        [f"public.{enum.table}", enum.column],
    ).fetchone()
    assert row is not None
    assert tuple(int(value) for value in re.findall(r"(\d+) = ", row[0])) == enum.valid


# --- Required columns -----------------------------------------------------------------------------------


@pytest.mark.parametrize("table", TABLES)
def test_a_row_with_the_required_columns_alone_is_accepted(connection: Connection, table: str) -> None:
    assert insert(connection, table)["id"] is not None


@pytest.mark.parametrize(
    ("table", "column"),
    [
        pytest.param(table, column, id=f"{table}.{column}")
        for table in TABLES
        for column in (*REQUIRED_EVERYWHERE, *REQUIRED[table])
    ],
)
def test_required_column_refuses_null(connection: Connection, table: str, column: str) -> None:
    row = minimal_row(connection, table, **{column: None})
    with pytest.raises(errors.NotNullViolation) as caught:
        insert(connection, table, **row)
    assert (caught.value.diag.table_name, caught.value.diag.column_name) == (table, column)


# --- Defaults -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("table", "column"),
    [pytest.param(table, column, id=f"{table}.{column}") for table in TABLES for column in DEFAULTS[table]],
)
def test_default(connection: Connection, table: str, column: str) -> None:
    expected = DEFAULTS[table][column]
    value = insert(connection, table)[column]
    if expected == RANDOM_ID:
        assert isinstance(value, UUID)
        assert value.version == 4
        assert value != insert(connection, table)[column]
    elif expected == TRANSACTION_TIME:
        assert value == transaction_value(connection, sql.SQL("now()"))
    else:
        assert value == expected
        assert type(value) is type(expected)  # False is not 0


# --- Unique columns -------------------------------------------------------------------------------------


@pytest.mark.parametrize("unique", [*PRIMARY_KEYS, *UNIQUE], ids=lambda unique: unique.constraint)
def test_unique_refuses_the_same_values_again(connection: Connection, unique: Unique) -> None:
    values = {column: fresh_value(connection, unique.table, column) for column in unique.columns}
    insert(connection, unique.table, **values)
    again = minimal_row(connection, unique.table, **values)
    with pytest.raises(errors.UniqueViolation) as caught:
        insert(connection, unique.table, **again)
    assert caught.value.diag.constraint_name == unique.constraint


@pytest.mark.parametrize(
    ("unique", "column"),
    [
        pytest.param(unique, column, id=f"{unique.constraint}-{column}")
        for unique in (*PRIMARY_KEYS, *UNIQUE)
        for column in unique.columns
    ],
)
def test_unique_accepts_a_row_that_differs_in_one_column(
    connection: Connection, unique: Unique, column: str
) -> None:
    values = {name: fresh_value(connection, unique.table, name) for name in unique.columns}
    first = insert(connection, unique.table, **values)
    second = insert(
        connection, unique.table, **(values | {column: fresh_value(connection, unique.table, column)})
    )
    assert first["id"] != second["id"]


def test_any_number_of_organizations_may_have_no_slug(connection: Connection) -> None:
    assert [insert(connection, "organizations", slug=None)["slug"] for _ in range(2)] == [None, None]


# --- Foreign keys ---------------------------------------------------------------------------------------

each_foreign_key = pytest.mark.parametrize(
    "key", FOREIGN_KEYS, ids=lambda key: f"{key.table}.{key.column}->{key.parent}"
)


@each_foreign_key
def test_foreign_key_accepts_an_existing_parent(connection: Connection, key: ForeignKey) -> None:
    parent_id = insert(connection, key.parent)["id"]
    assert insert(connection, key.table, **{key.column: parent_id})[key.column] == parent_id


@each_foreign_key
def test_foreign_key_refuses_a_missing_parent(connection: Connection, key: ForeignKey) -> None:
    row = minimal_row(connection, key.table, **{key.column: uuid4()})
    with pytest.raises(errors.ForeignKeyViolation) as caught:
        insert(connection, key.table, **row)
    assert caught.value.diag.constraint_name == key.constraint


@pytest.mark.parametrize(
    "key",
    [key for key in FOREIGN_KEYS if key.column not in REQUIRED[key.table]],
    ids=lambda key: f"{key.table}.{key.column}",
)
def test_optional_foreign_key_accepts_null(connection: Connection, key: ForeignKey) -> None:
    assert insert(connection, key.table, **{key.column: None})[key.column] is None


@each_foreign_key
def test_deleting_the_parent_cascades_or_is_refused(connection: Connection, key: ForeignKey) -> None:
    parent_id = insert(connection, key.parent)["id"]
    child_id = insert(connection, key.table, **{key.column: parent_id})["id"]
    if key.cascades:
        delete(connection, key.parent, parent_id)
        assert select(connection, key.table, child_id, "id") is None
    else:
        with pytest.raises(errors.ForeignKeyViolation) as caught:
            delete(connection, key.parent, parent_id)
        assert caught.value.diag.constraint_name == key.constraint


def test_the_cascade_takes_the_members_of_the_deleted_referral_only(connection: Connection) -> None:
    kept, deleted = (insert(connection, "referrals")["id"] for _ in range(2))
    member_of_kept = insert(connection, "referral_members", referral_id=kept)["id"]
    members_of_deleted = [insert(connection, "referral_members", referral_id=deleted)["id"] for _ in range(2)]
    delete(connection, "referrals", deleted)
    assert select(connection, "referral_members", member_of_kept, "referral_id") == kept
    assert [select(connection, "referral_members", id_, "id") for id_ in members_of_deleted] == [None, None]


# --- updated_at -----------------------------------------------------------------------------------------

OWN_TRANSACTION = sql.SQL("pg_current_xact_id()::text")
OTHER_TRANSACTION = sql.SQL("(pg_current_xact_id()::text::bigint - 1)::text")
EMPTY = sql.SQL("''")


def declare_import(connection: Connection, transaction: sql.SQL) -> None:
    connection.execute(sql.SQL("SELECT set_config('daybreak.import_xid', {}, true)").format(transaction))


@pytest.mark.parametrize("table", UPDATED_AT_TRIGGERS)
def test_an_update_moves_updated_at(connection: Connection, table: str) -> None:
    row = insert(connection, table, updated_at=LONG_AGO)
    assert row["updated_at"] == LONG_AGO
    update(connection, table, row["id"], "created_at", LESS_LONG_AGO)
    assert select(connection, table, row["id"], "updated_at") == transaction_value(
        connection, sql.SQL("now()")
    )


@pytest.mark.parametrize("table", UPDATED_AT_TRIGGERS)
def test_an_update_cannot_set_updated_at_itself(connection: Connection, table: str) -> None:
    row = insert(connection, table, updated_at=LONG_AGO)
    update(connection, table, row["id"], "updated_at", LESS_LONG_AGO)
    assert select(connection, table, row["id"], "updated_at") == transaction_value(
        connection, sql.SQL("now()")
    )


@pytest.mark.parametrize("table", UPDATED_AT_TRIGGERS)
def test_an_import_keeps_the_sources_timestamp(connection: Connection, table: str) -> None:
    declare_import(connection, OWN_TRANSACTION)
    row = insert(connection, table, updated_at=LONG_AGO)
    update(connection, table, row["id"], "created_at", LESS_LONG_AGO)
    assert select(connection, table, row["id"], "updated_at") == LONG_AGO
    update(connection, table, row["id"], "updated_at", LESS_LONG_AGO)
    assert select(connection, table, row["id"], "updated_at") == LESS_LONG_AGO


@pytest.mark.parametrize("left_behind", [OTHER_TRANSACTION, EMPTY], ids=["another transaction", "empty"])
@pytest.mark.parametrize("table", UPDATED_AT_TRIGGERS)
def test_another_transactions_import_does_not_stop_the_trigger(
    connection: Connection, table: str, left_behind: sql.SQL
) -> None:
    declare_import(connection, left_behind)
    row = insert(connection, table, updated_at=LONG_AGO)
    update(connection, table, row["id"], "created_at", LESS_LONG_AGO)
    assert select(connection, table, row["id"], "updated_at") == transaction_value(
        connection, sql.SQL("now()")
    )


# --- The tables above against the catalog ---------------------------------------------------------------

ADDED_LATER = r"^(_(?!fivetran_(deleted|synced)$).*|.*_encrypted|name_tokens)$"
"""Columns of later migrations, about encryption and origin: what restricts them is tested with them."""


def constraints(connection: Connection, kind: str) -> set[tuple[str, str, tuple[str, ...]]]:
    """Return (table, constraint, columns) of the constraints of a kind ("c", "f", "p", "u")."""
    rows = connection.execute(
        """
        SELECT conrelid::regclass::text, conname, columns.names
        FROM pg_constraint
        CROSS JOIN LATERAL (
            SELECT array_agg(attname::text ORDER BY n) AS names
            FROM unnest(conkey) WITH ORDINALITY AS key (attnum, n)
            JOIN pg_attribute ON attrelid = conrelid AND pg_attribute.attnum = key.attnum
        ) AS columns
        WHERE connamespace = 'public'::regnamespace AND contype = %(kind)s
            AND NOT EXISTS (SELECT FROM unnest(columns.names) AS name WHERE name ~ %(added_later)s)
        """,
        {"kind": kind, "added_later": ADDED_LATER},
    ).fetchall()
    return {(table, name, tuple(columns)) for table, name, columns in rows}


def columns_where(connection: Connection, condition: sql.SQL) -> set[tuple[str, str]]:
    """Return (table, column) of the plan's columns that fulfil a condition on ``pg_attribute``."""
    rows = connection.execute(
        sql.SQL(
            """
            SELECT attrelid::regclass::text, attname
            FROM pg_attribute JOIN pg_class ON pg_class.oid = attrelid
            WHERE relnamespace = 'public'::regnamespace AND relkind = 'r'
                AND attnum > 0 AND NOT attisdropped AND attname !~ %s AND {}
            """
        ).format(condition),
        [ADDED_LATER],
    ).fetchall()
    return {(table, column) for table, column in rows}


def test_every_check_is_listed(connection: Connection) -> None:
    found = {check for check in constraints(connection, "c") if check[1] != SEALED_CONSTRAINT}
    assert found == {(enum.table, enum.constraint, (enum.column,)) for enum in ENUMS}


def test_every_personal_column_is_under_the_check_that_keeps_it_empty(connection: Connection) -> None:
    held = {
        (table, frozenset(columns))
        for table, name, columns in constraints(connection, "c")
        if name == SEALED_CONSTRAINT
    }
    assert held == {
        (table.name, frozenset(table.sealed_columns) - frozenset(table.kept_plain))
        for table in tables.TABLES.values()
        if table.sealed_columns
    }


def test_every_foreign_key_is_listed(connection: Connection) -> None:
    assert constraints(connection, "f") == {
        (key.table, key.constraint, (key.column,)) for key in FOREIGN_KEYS
    }


def test_every_primary_key_is_listed(connection: Connection) -> None:
    assert constraints(connection, "p") == {(key.table, key.constraint, key.columns) for key in PRIMARY_KEYS}


def test_every_unique_constraint_is_listed(connection: Connection) -> None:
    assert constraints(connection, "u") == {
        (unique.table, unique.constraint, unique.columns) for unique in UNIQUE
    }


def test_every_required_column_is_listed(connection: Connection) -> None:
    assert columns_where(connection, sql.SQL("attnotnull")) == {
        (table, column) for table in TABLES for column in (*REQUIRED_EVERYWHERE, *REQUIRED[table])
    }


def test_every_default_is_listed(connection: Connection) -> None:
    assert columns_where(connection, sql.SQL("atthasdef AND attgenerated = ''")) == {
        (table, column) for table in TABLES for column in DEFAULTS[table]
    }


def test_every_updated_at_column_has_its_trigger(connection: Connection) -> None:
    triggers = connection.execute(
        """
        SELECT tgrelid::regclass::text, tgname FROM pg_trigger
        WHERE tgfoid = to_regprocedure('public.update_updated_at_column()') AND tgenabled = 'O'
        """
    ).fetchall()
    assert dict(triggers) == UPDATED_AT_TRIGGERS
    assert len(triggers) == len(UPDATED_AT_TRIGGERS)
    assert columns_where(connection, sql.SQL("attname = 'updated_at'")) == {
        (table, "updated_at") for table in UPDATED_AT_TRIGGERS
    }

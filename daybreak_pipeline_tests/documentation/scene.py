"""A database as applications have it: the schema, the roles, and tables of their own with whatever names and types there are."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import psycopg

from daybreak_pipeline.settings import DatabaseSettings
from daybreak_pipeline_tests.conftest import Databases
from daybreak_pipeline_tests.privacy.test_roles import apply_with_passwords

_OWN = """
CREATE SCHEMA "shop-2";
CREATE TYPE "shop-2".mood AS ENUM ('fine', 'so, so', 'it''s "bad"');
CREATE DOMAIN "shop-2".price AS numeric(10, 2) NOT NULL;
CREATE TABLE "shop-2".class (
    "from" integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    class text NOT NULL,
    int integer NOT NULL DEFAULT 7,
    "two words" varchar(20),
    "2nd" text,
    "_under" text,
    under text,
    model_config text,
    metadata jsonb,
    "it's ""odd"" */ --" text,
    "größe" real,
    mood "shop-2".mood NOT NULL DEFAULT 'fine',
    moods "shop-2".mood[],
    cost "shop-2".price,
    big bigint NOT NULL,
    twice numeric GENERATED ALWAYS AS (big * 2) STORED,
    spans interval,
    picture bytea,
    days date[],
    amounts numeric[],
    at timestamptz NOT NULL DEFAULT now(),
    flag boolean,
    kind integer CHECK (kind IN (1, 2)),
    level varchar(10) NOT NULL CHECK (level IN ('low', 'very high'))
);
COMMENT ON TABLE "shop-2".class IS E'Ends */ here, \"\"\" and \\\\ too,\\nand goes on.';
COMMENT ON COLUMN "shop-2".class.kind IS 'What it is: 1 = one thing, 2 = another.';
CREATE TABLE "shop-2"."Date" (id uuid);
CREATE TABLE "shop-2".date_insert (id uuid PRIMARY KEY);
CREATE VIEW "shop-2"."class of today" AS SELECT class, int, level FROM "shop-2".class;
CREATE SCHEMA closed;
CREATE TABLE closed.hidden (id integer PRIMARY KEY);
GRANT USAGE ON SCHEMA "shop-2" TO daybreak_app;
GRANT SELECT, INSERT, UPDATE ON ALL TABLES IN SCHEMA "shop-2" TO daybreak_app;
REVOKE INSERT ON "shop-2"."class of today" FROM daybreak_app;
"""


@contextmanager
def application_database(databases: Databases, template: DatabaseSettings) -> Iterator[DatabaseSettings]:
    """Yield such a database."""
    with databases.copy(template.name) as db:
        apply_with_passwords(db)
        with psycopg.connect(db.conninfo()) as connection:
            connection.execute(_OWN.encode())
        yield db

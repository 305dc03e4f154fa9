"""How others load the same records: PostgreSQL's COPY, pgloader, dlt and pandas.

Each gets a clean, typed file: ISO times with their zone, array literals, valid JSON, and no record that the
table would refuse. Those that are not installed are left out; ``make bench`` installs them.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from psycopg import sql

from daybreak_pipeline.database import Connection
from daybreak_pipeline.schema import catalog as catalogs
from daybreak_pipeline.settings import DatabaseSettings

BLOCK = 1 << 20
PYTHON = os.environ.get("DAYBREAK_BENCH_PYTHON", "")
"""An environment of their own for dlt and pandas: what they need is not ours to install beside us."""

_DLT = """
import os
import sys
import dlt
from dlt.sources.filesystem import filesystem, read_csv

path, table, url = sys.argv[1:]
directory, name = os.path.split(path)
files = filesystem(bucket_url="file://" + directory, file_glob=name)
records = (files | read_csv(chunksize=50_000, dtype=str, na_filter=False)).with_name(table)
records.apply_hints(primary_key="id", write_disposition="merge")
destination = dlt.destinations.postgres(url)
pipeline = dlt.pipeline("bench", pipelines_dir=path + ".dlt", destination=destination, dataset_name="dlt_bench")
pipeline.run(records)
"""

_DLT_ARROW = """
import sys
import dlt
import pyarrow
import pyarrow.csv

path, table, url = sys.argv[1:]

@dlt.resource(name=table, primary_key="id", write_disposition="merge")
def records():
    with pyarrow.csv.open_csv(path, parse_options=pyarrow.csv.ParseOptions(newlines_in_values=True)) as batches:
        for batch in batches:
            yield pyarrow.Table.from_batches([batch])

destination = dlt.destinations.postgres(url)
pipeline = dlt.pipeline("bench", pipelines_dir=path + ".dlt", destination=destination, dataset_name="dlt_bench")
pipeline.run(records())
"""

_PANDAS = """
import sys
import pandas
import sqlalchemy

path, table, url = sys.argv[1:]
engine = sqlalchemy.create_engine(url.replace("postgresql://", "postgresql+psycopg2://"))
for chunk in pandas.read_csv(path, chunksize=50_000, dtype=str):
    chunk.to_sql(table, engine, schema="pandas_bench", if_exists="append", index=False)
"""


@dataclass
class Peer:
    """One table, loaded by others."""

    settings: DatabaseSettings
    connection: Connection
    scratch: Path
    table: str

    @property
    def clean_file(self) -> Path:
        """The clean, typed CSV file."""
        return self.scratch / f"{self.table}.clean.csv"

    @property
    def columns(self) -> list[str]:
        """The plan's columns of the table."""
        return [column.name for column in catalogs.read(self.connection, self.table).columns]

    def write_clean_file(self) -> None:
        """Write the file from the table as it is now, loaded by ourselves."""
        query = sql.SQL("COPY {} ({}) TO STDOUT (FORMAT csv, HEADER)").format(
            sql.Identifier(self.table), sql.SQL(", ").join(map(sql.Identifier, self.columns))
        )
        with self.clean_file.open("wb") as file, self.connection.cursor().copy(query) as copy:
            for block in copy:
                file.write(block)

    def copy_live(self) -> None:
        """COPY the clean file straight into the live table, with its keys and indexes: what an expert does."""
        listed = sql.SQL(", ").join(map(sql.Identifier, self.columns))
        self._copy(
            sql.SQL("COPY {} ({}) FROM STDIN (FORMAT csv, HEADER)").format(
                sql.Identifier(self.table), listed
            ),
            self.clean_file,
        )

    def copy_text(self, source: Path) -> None:
        """COPY the export's file into an unlogged table of text: the least that any import must do."""
        with source.open(encoding="utf-8") as file:
            width = len(file.readline().split(","))
        columns = ", ".join(f"c{i} text" for i in range(width))
        self.connection.execute("DROP TABLE IF EXISTS bench_text")
        self.connection.execute(f"CREATE UNLOGGED TABLE bench_text ({columns})".encode())
        self._copy(sql.SQL("COPY bench_text FROM STDIN (FORMAT csv, HEADER)"), source)
        self.connection.execute("DROP TABLE bench_text")

    def available(self) -> list[tuple[str, Callable[[], None]]]:
        """Return the other loaders that this machine has."""
        found: list[tuple[str, Callable[[], None]]] = []
        if shutil.which("pgloader"):
            found.append(("pgloader", self.pgloader))
        if PYTHON:
            found += [
                ("dlt merge", lambda: self.dlt_merge(_DLT)),
                ("dlt merge of Arrow batches", lambda: self.dlt_merge(_DLT_ARROW)),
                ("pandas to_sql", self.pandas_to_sql),
            ]
        return found

    def pgloader(self) -> None:
        """Load the clean file into the live table with pgloader."""
        fields = ", ".join(self.columns)
        command = self.scratch / "load.pgloader"
        command.write_text(
            f"LOAD CSV FROM '{self.clean_file}' HAVING FIELDS ({fields})\n"
            f"INTO {self._url()} TARGET TABLE public.{self.table} TARGET COLUMNS ({fields})\n"
            "WITH skip header = 1, fields optionally enclosed by '\"', fields escaped by double-quote, "
            "fields terminated by ',';\n"
        )
        subprocess.run(["pgloader", "--quiet", str(command)], check=True, cwd=self.scratch)
        self._expect_rows("public")

    def dlt_merge(self, program: str) -> None:
        """Merge the clean file with dlt into a schema of its own.

        Its documented way is its own reader of CSV files; Arrow batches skip dlt's look at the records.
        """
        self.connection.execute(
            "DROP SCHEMA IF EXISTS dlt_bench CASCADE; DROP SCHEMA IF EXISTS dlt_bench_staging CASCADE"
        )
        shutil.rmtree(f"{self.clean_file}.dlt", ignore_errors=True)
        self._python(program)
        self._expect_rows("dlt_bench")
        self.connection.execute(
            "DROP SCHEMA dlt_bench CASCADE; DROP SCHEMA IF EXISTS dlt_bench_staging CASCADE"
        )

    def pandas_to_sql(self) -> None:
        """Load the clean file with pandas, as text into a table without keys."""
        self.connection.execute("DROP SCHEMA IF EXISTS pandas_bench CASCADE; CREATE SCHEMA pandas_bench")
        self._python(_PANDAS)
        self._expect_rows("pandas_bench")
        self.connection.execute("DROP SCHEMA pandas_bench CASCADE")

    def _python(self, program: str) -> None:
        script = self.scratch / "peer.py"
        script.write_text(program)
        subprocess.run(
            [PYTHON or sys.executable, str(script), str(self.clean_file), self.table, self._url()],
            check=True,
            env=os.environ | {"RUNTIME__DLTHUB_TELEMETRY": "false", "RUNTIME__LOG_LEVEL": "ERROR"},
        )

    def _url(self) -> str:
        s = self.settings
        return f"postgresql://{s.user}:{s.password}@{s.host}:{s.port}/{s.name}"

    def _expect_rows(self, schema: str) -> None:
        """Make sure that the peer did load the records: some report errors and go on."""
        table = sql.Identifier(schema, self.table)
        row = self.connection.execute(sql.SQL("SELECT count(*) FROM {}").format(table)).fetchone()
        with self.clean_file.open("rb") as file:
            least = sum(block.count(b"\n") for block in iter(lambda: file.read(BLOCK), b"")) // 2
        if not row or row[0] < least:
            msg = f"{schema}.{self.table} has {row[0] if row else 0} rows after the load, expected at least {least}"
            raise RuntimeError(msg)

    def _copy(self, command: sql.SQL | sql.Composed, path: Path) -> None:
        with path.open("rb") as file, self.connection.cursor().copy(command) as copy:
            while block := file.read(BLOCK):
                copy.write(block)

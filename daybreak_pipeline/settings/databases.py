"""Databases: which one to use, how to log in to it, and how its roles do."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from daybreak_pipeline.settings import variables


@dataclass(frozen=True)
class DatabaseSettings:
    """One PostgreSQL database and how to log in to it.

    ``sslrootcert`` is the file with the certificates that the server's is checked against; empty for libpq's own
    default, ``~/.postgresql/root.crt``.
    """

    host: str
    port: int
    name: str
    user: str
    password: str
    sslmode: str = "prefer"
    sslrootcert: str = ""

    @property
    def is_local(self) -> bool:
        """Whether the server is on this machine, judging by its name: a socket or a loopback address."""
        return self.host.startswith(("/", "@", "127.")) or self.host in {"localhost", "::1"}

    def conninfo(self, **overrides: str | int) -> str:
        """Return a libpq connection string; keyword arguments are further libpq parameters."""
        # The installation reads settings before there is a driver.
        from psycopg.conninfo import make_conninfo

        parameters: dict[str, str | int] = {
            "host": self.host,
            "port": self.port,
            "dbname": self.name,
            "user": self.user,
            "password": self.password,
            "sslmode": self.sslmode,
            "application_name": "daybreak",
            "connect_timeout": 10,
        }
        if self.sslrootcert:
            parameters["sslrootcert"] = self.sslrootcert
        return make_conninfo("", **(parameters | overrides))

    def libpq_environment(self) -> dict[str, str]:
        """Return libpq's own variables for this database, for psql and the like."""
        return {
            "PGHOST": self.host,
            "PGPORT": str(self.port),
            "PGDATABASE": self.name,
            "PGUSER": self.user,
            "PGPASSWORD": self.password,
            "PGSSLMODE": self.sslmode,
            **({"PGSSLROOTCERT": self.sslrootcert} if self.sslrootcert else {}),
        }

    def environment(self) -> dict[str, str]:
        """Return the ``DB_*`` variables that describe this database (for child processes)."""
        return {
            variables.DB_HOST.name: self.host,
            variables.DB_PORT.name: str(self.port),
            variables.DB_NAME.name: self.name,
            variables.DB_USER.name: self.user,
            variables.DB_PASSWORD.name: self.password,
            variables.DB_SSLMODE.name: self.sslmode,
            variables.DB_SSLROOTCERT.name: self.sslrootcert,
        }

    def __repr__(self) -> str:
        """Describe the database without the password."""
        return f"DatabaseSettings({self.user}@{self.host}:{self.port}/{self.name})"


def given_database() -> DatabaseSettings | None:
    """Return the server that ``DB_HOST`` names, or None when the embedded one is to be used.

    Raises:
        UsageError: a ``DB_*`` variable cannot be used.
    """
    host = variables.DB_HOST.given()
    if host is None:
        return None
    root = variables.DB_SSLROOTCERT.given()
    # A root certificate is named in order to be used, and only the verify modes use it.
    sslmode = variables.DB_SSLMODE.given() or ("verify-full" if root else "prefer")
    return DatabaseSettings(
        host=host,
        port=variables.DB_PORT.value(),
        name=variables.DB_NAME.value(),
        user=variables.DB_USER.value(),
        password=variables.DB_PASSWORD.given() or "",
        sslmode=sslmode,
        sslrootcert=root or variables.PGSSLROOTCERT.given() or "",
    )


@dataclass(frozen=True)
class RoleLogin:
    """What the environment says about a database role: its password, and how many connections it may have."""

    password: str = field(repr=False)
    connections: int | None


def role_login(role: str) -> RoleLogin:
    """Return password and connection limit of a role; empty and None where the environment has none.

    Raises:
        UsageError: the limit is not a number of connections.
    """
    if role not in variables.ROLE_PASSWORDS:
        return RoleLogin("", None)  # a role that nobody logs in as
    return RoleLogin(
        variables.ROLE_PASSWORDS[role].given() or "", variables.ROLE_CONNECTION_LIMITS[role].given()
    )


def watched_pooler(tables: DatabaseSettings) -> DatabaseSettings | None:
    """Return where the PgBouncer listens that is watched, by the login of the tables; None where there is none.

    Raises:
        UsageError: a variable cannot be used.
    """
    host = variables.POOLER_HOST.given()
    return replace(tables, host=host, port=variables.POOLER_PORT.value()) if host else None


def dagster_database(tables: DatabaseSettings) -> DatabaseSettings:
    """Return where Dagster keeps its own records, by the login of the tables: ``DAYBREAK_DAGSTER_HOST`` and so on.

    Raises:
        UsageError: a variable cannot be used.
    """
    return replace(
        tables,
        host=variables.DAGSTER_HOST.given() or tables.host,
        port=variables.DAGSTER_PORT.given() or tables.port,
        name=variables.DAGSTER_DB.value(),
    )

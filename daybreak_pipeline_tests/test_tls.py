"""TLS to a real server with a generated certificate: what is let through, what is refused, and how it is told.

The certificate is for the host name ``localhost`` alone, so that ``127.0.0.1`` is the same server under a wrong name.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import psycopg
import pytest

from daybreak_pipeline import database, settings
from daybreak_pipeline.embedded_postgres import data_directory
from daybreak_pipeline.embedded_postgres import server as embedded_server
from daybreak_pipeline.orchestration import instance
from daybreak_pipeline.settings import PROJECT_ROOT, DatabaseSettings
from daybreak_pipeline_tests.cli.test_main import environment_of, one_line
from daybreak_pipeline_tests.commands import DAYBREAK, Done, daybreak
from daybreak_pipeline_tests.homes import server_home

SAMPLE = PROJECT_ROOT / "data" / "sample"

pytestmark = pytest.mark.skipif(not shutil.which("openssl"), reason="certificates are made with openssl")


@dataclass(frozen=True)
class Authority:
    """A certificate authority: its own certificate, and how it signs a server's."""

    directory: Path
    name: str

    @property
    def certificate(self) -> Path:
        return self.directory / f"{self.name}.crt"

    def make(self) -> Authority:
        openssl(
            self.directory,
            *(
                "req",
                "-x509",
                "-newkey",
                "ec",
                "-pkeyopt",
                "ec_paramgen_curve:prime256v1",
                "-nodes",
                "-days",
                "2",
            ),
            *("-subj", f"/CN={self.name}", "-keyout", f"{self.name}.key", "-out", f"{self.name}.crt"),
        )
        return self

    def sign(self, host: str) -> tuple[Path, Path]:
        """Return key and certificate of a server."""
        openssl(
            self.directory,
            *("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"),
            *("-subj", f"/CN={host}", "-keyout", "server.key", "-out", "server.csr"),
        )
        (self.directory / "names").write_text(f"subjectAltName=DNS:{host}\n")
        openssl(
            self.directory,
            *("x509", "-req", "-in", "server.csr", "-CA", f"{self.name}.crt", "-CAkey", f"{self.name}.key"),
            *("-CAcreateserial", "-days", "2", "-extfile", "names", "-out", "server.crt"),
        )
        return self.directory / "server.key", self.directory / "server.crt"


def openssl(directory: Path, *arguments: str) -> None:
    subprocess.run(["openssl", *arguments], cwd=directory, check=True, capture_output=True)


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"), "authority").make()


@pytest.fixture(scope="module")
def other_authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("other"), "other").make()


@pytest.fixture(scope="module")
def secured(authority: Authority) -> Iterator[DatabaseSettings]:
    """A server that lets nobody in over the network without TLS, named as its certificate names it."""
    with server_home() as home, embedded_server.serve(home) as given:
        data = data_directory.existing_data(home)
        assert data
        account = data_directory.account_for(home)
        for source in authority.sign("localhost"):
            target = data / source.name
            shutil.copyfile(source, target)
            target.chmod(0o600)
            data_directory.give_to(account, target)
        with psycopg.connect(given.conninfo(), autocommit=True) as administrator:
            administrator.execute("ALTER SYSTEM SET ssl = on")
            administrator.execute("SELECT pg_reload_conf()")
        rules = data / "pg_hba.conf"
        open_to_all = rules.read_text()
        with psycopg.connect(given.conninfo(), autocommit=True) as administrator:
            rules.write_text(f"hostnossl all all all reject\n{open_to_all}")
            administrator.execute("SELECT pg_reload_conf()")
        try:
            yield replace(
                given, host="localhost", sslmode="verify-full", sslrootcert=str(authority.certificate)
            )
        finally:
            rules.write_text(open_to_all)
            with psycopg.connect(replace(given, sslmode="require").conninfo()) as administrator:
                administrator.execute("SELECT pg_reload_conf()")


def run(given: DatabaseSettings, home: Path, *arguments: str | Path, **more: str) -> Done:
    return daybreak(environment_of(given, home) | more, *arguments)


@pytest.mark.slow
def test_everything_works_over_verified_tls(secured: DatabaseSettings, tmp_path: Path) -> None:
    """The server refuses whoever comes without TLS: Dagster's own storage, migrations, roles, imports, psql."""
    done = run(secured, tmp_path, "import", "--data-dir", SAMPLE)
    assert (done.returncode, "warning" in done.stderr) == (0, False), done.stderr
    doctor = run(secured, tmp_path, "doctor")
    assert "ok      tls: on" in doctor.stdout
    assert doctor.returncode == 0, doctor.stdout
    assert run(secured, tmp_path, "check", "--json").returncode == 0
    assert run(secured, tmp_path, "roles", "apply").returncode == 0
    shown = run(secured, tmp_path, "psql", "-Atc", "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()")
    assert shown.stdout == "t\n"
    child = "SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()"
    ran = run(secured, tmp_path, "run", "--", DAYBREAK, "psql", "-Atc", child)
    assert ran.stdout == "t\n"


def test_dagsters_storage_verifies_the_server(secured: DatabaseSettings, other_authority: Authority) -> None:
    """Through the driver that dagster-postgres uses, which is another one than ours."""
    import sqlalchemy

    storage = replace(secured, name="dagster")
    with sqlalchemy.create_engine(instance.storage_url(storage)).connect() as connection:
        assert connection.exec_driver_sql("SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()").scalar()
    for wrong in (
        replace(storage, sslrootcert=str(other_authority.certificate)),
        replace(storage, host="127.0.0.1"),
    ):
        with pytest.raises(
            sqlalchemy.exc.OperationalError, match=r"certificate verify failed|does not match host name"
        ):
            sqlalchemy.create_engine(instance.storage_url(wrong)).connect()


def test_libpqs_own_variable_names_the_certificate_too(
    secured: DatabaseSettings, authority: Authority, tmp_path: Path
) -> None:
    given = replace(secured, sslrootcert="")
    done = run(given, tmp_path, "migrate", "status", PGSSLROOTCERT=str(authority.certificate))
    assert done.returncode == 0, done.stderr


def test_a_certificate_that_is_named_is_used_also_without_a_mode(
    secured: DatabaseSettings, other_authority: Authority, tmp_path: Path
) -> None:
    given = replace(secured, sslrootcert=str(other_authority.certificate))
    line = one_line(run(given, tmp_path, "import", "--data-dir", SAMPLE, DB_SSLMODE=""))
    assert "signed it" in line


REFUSED = {
    "another authority": ({"DB_SSLROOTCERT": "{other}"}, "no authority in .*other.crt signed it"),
    "another host name": ({"DB_HOST": "127.0.0.1"}, r"for another host name than 127\.0\.0\.1: set DB_HOST"),
    "no certificate": (
        {"DB_SSLROOTCERT": "/nowhere/ca.crt"},
        r"/nowhere/ca\.crt does not exist: set DB_SSLROOTCERT",
    ),
    "a file that is none": ({"DB_SSLROOTCERT": "{key}"}, r"server\.key holds no certificate"),
    "no TLS at all": ({"DB_SSLMODE": "disable"}, "does not let user daybreak in: set DB_SSLMODE=verify-full"),
    "an unknown mode": ({"DB_SSLMODE": "verify_full"}, "DB_SSLMODE is not one of disable, .*verify-full"),
}


@pytest.mark.parametrize(
    "command", [("import",), ("migrate", "up"), ("check",), ("roles", "apply")], ids=" ".join
)
@pytest.mark.parametrize("case", REFUSED)
def test_what_is_not_right_is_refused_in_one_line(  # noqa: PLR0913, PLR0917 - fixtures and cases
    secured: DatabaseSettings,
    authority: Authority,
    other_authority: Authority,
    tmp_path: Path,
    case: str,
    command: tuple[str, ...],
) -> None:
    wrong, message = REFUSED[case]
    places = {"other": other_authority.certificate, "key": authority.directory / "server.key"}
    line = one_line(
        run(secured, tmp_path, *command, **{name: value.format(**places) for name, value in wrong.items()})
    )
    assert re.search(message, line), line


def test_a_server_without_tls_is_refused(
    server: DatabaseSettings, authority: Authority, tmp_path: Path
) -> None:
    given = replace(server, sslmode="verify-full", sslrootcert=str(authority.certificate))
    line = one_line(run(given, tmp_path, "import", "--data-dir", SAMPLE))
    assert "DB_SSLMODE=verify-full asks for it and the server has none" in line


def test_the_embedded_server_needs_no_tls(server: DatabaseSettings) -> None:
    assert (server.host, server.sslmode) == ("127.0.0.1", "disable")
    with database.connect(server) as connection:
        assert connection.execute("SHOW listen_addresses").fetchone() == ("127.0.0.1",)


def test_a_relative_certificate_is_found_from_everywhere(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("DB_HOST", "db.example.org")
    monkeypatch.setenv("DB_SSLROOTCERT", "ca.crt")
    monkeypatch.chdir(tmp_path)
    given = settings.given_database()
    assert given
    assert given.sslrootcert == str(tmp_path / "ca.crt")
    assert given.sslmode == "verify-full"
    assert f"sslrootcert={tmp_path / 'ca.crt'}" in given.conninfo()


@pytest.mark.parametrize("host", ["db.example.org", "10.0.0.7"])
def test_a_server_elsewhere_is_not_local(host: str) -> None:
    assert not DatabaseSettings(host, 5432, "x", "x", "x").is_local


@pytest.mark.parametrize("host", ["/var/run/postgresql", "localhost", "127.0.0.1", "::1"])
def test_a_server_on_this_machine_is_local(host: str) -> None:
    assert DatabaseSettings(host, 5432, "x", "x", "x").is_local

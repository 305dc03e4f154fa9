"""Where a run of the web UI may import from, whatever its configuration asks for; a command's run goes where it was sent."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import dagster as dg
import psycopg
import pytest

from daybreak_pipeline.errors import UsageError
from daybreak_pipeline.locations import locate
from daybreak_pipeline.orchestration import instance, run_requests, runs
from daybreak_pipeline.orchestration.assets.files import OBSERVE_OP
from daybreak_pipeline.orchestration.build import build_defs
from daybreak_pipeline.orchestration.export_directories import ExportDirectories
from daybreak_pipeline.orchestration.installation import Installation
from daybreak_pipeline.settings import DatabaseSettings
from daybreak_pipeline_tests.cli.test_up import one_file_export
from daybreak_pipeline_tests.conftest import KEY

OUTSIDE = "export_dir is outside the directories that this installation imports from"
READS = {"open", "os.listdir", "os.scandir"}
"""What Python reports to audit hooks when something is read (PEP 578)."""


@pytest.fixture
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The export ``own``, two more roots, and ``outside``; links from inside to everywhere."""
    for name in ("own/below", "root/below", "second root", "outside", "own-too", "root-too"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "own" / "out").symlink_to(tmp_path / "outside")
    (tmp_path / "own" / "circle").symlink_to(tmp_path / "own" / "circle")
    (tmp_path / "outside" / "in").symlink_to(tmp_path / "root" / "below")
    (tmp_path / "linked root").symlink_to(tmp_path / "root")
    monkeypatch.setenv("DAYBREAK_EXPORT_DIR", str(tmp_path / "own"))
    monkeypatch.setenv("DAYBREAK_EXPORT_ROOTS", f"{tmp_path}/linked root::{tmp_path}/second root/")
    monkeypatch.chdir(tmp_path / "own")
    return tmp_path


def test_directories_and_prefixes_of_a_storage_are_never_in_each_other(
    places: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DAYBREAK_EXPORT_ROOTS", f"{places}/root:s3://a-bucket/older")
    own = ExportDirectories(lambda: locate("s3://a-bucket/day"))
    assert own.chosen(str(places / "root" / "below")) == places / "root" / "below"
    assert own.chosen("s3://a-bucket/older/2025") == locate("s3://a-bucket/older/2025")
    for outside in (str(places / "outside"), "s3://a-bucket/old"):
        with pytest.raises(UsageError, match=OUTSIDE):
            own.chosen(outside)


@pytest.mark.parametrize(
    ("asked", "chosen"),
    [
        ("", "own"),
        ("{}/own", "own"),
        ("{}/own/", "own"),
        ("{}/own/below", "own/below"),
        ("{}/own/not there", "own/not there"),
        ("{}/own/../own", "own"),
        ("below", "own/below"),
        ("{}/root", "root"),
        ("{}/linked root/below", "root/below"),
        ("{}/second root", "second root"),
        ("{}/outside/in", "root/below"),
    ],
)
def test_what_the_operator_has_given_is_chosen(places: Path, asked: str, chosen: str) -> None:
    assert ExportDirectories().chosen(asked.format(places)) == places / chosen


@pytest.mark.parametrize(
    "asked",
    [
        "/",
        "/etc",
        "{}",
        "{}/outside",
        "{}/not there",
        "{}/own-too",
        "{}/root-too",
        "{}/own/..",
        "{}/own/../outside",
        "{}/own/out",
        "{}/own/out/in/../..",
        "{}/own/circle/../../outside",
        "../outside",
        "..",
        "~",
        "~nobody-of-this-name/own",
        "{}/own\0/../outside",
        "{}/own:{}/outside",
        "{}/OWN",
        "{}/own/" + "x" * 5000 + "/../../outside",
    ],
)
def test_nothing_else_is_and_whether_it_exists_is_not_told(places: Path, asked: str) -> None:
    with pytest.raises(UsageError, match=OUTSIDE) as caught:
        ExportDirectories().chosen(asked.replace("{}", str(places)))
    assert str(places) not in str(caught.value)


def test_without_roots_the_export_is_all_there_is(places: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DAYBREAK_EXPORT_ROOTS")
    with pytest.raises(UsageError, match=OUTSIDE):
        ExportDirectories().chosen(str(places / "root"))


# --- In runs ---------------------------------------------------------------------------------------------

_watched: list[tuple[Path, list[str]]] = []


def _notice(event: str, arguments: tuple[object, ...]) -> None:
    for directory, seen in _watched:
        if event in READS and str(directory) in str(arguments[0]):
            seen.append(f"{event} {arguments[0]}")


@contextmanager
def reads_of(directory: Path) -> Iterator[list[str]]:
    """Yield what is read below a directory meanwhile."""
    if not _watched:
        sys.addaudithook(_notice)  # stays until Python ends
    seen: list[str] = []
    _watched.append((directory, seen))
    yield seen
    _watched[-1] = (Path("/nowhere at all"), [])


@pytest.fixture
def given(migrated: DatabaseSettings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> DatabaseSettings:
    """A given server, as a run of the web UI finds it, and an export of its own."""
    for name, value in migrated.environment().items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("ENCRYPTION_KEY", KEY)
    monkeypatch.setenv("DAYBREAK_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("DAYBREAK_EXPORT_DIR", str(one_file_export(tmp_path / "own")))
    return migrated


def launched(directory: Path, *, observe: bool = True, replay: bool = False) -> dg.ExecuteInProcessResult:
    """Run ``import_all`` for one table as the web UI does when somebody names a directory in the launchpad."""
    configuration = run_requests.configuration(directory, ["documents"], replay=replay)
    selection = run_requests.selection(["documents"])
    if not observe:
        del configuration["ops"][OBSERVE_OP]
        selection = [dg.AssetKey("documents")]
    with dg.DagsterInstance.ephemeral() as dagster:
        return (
            build_defs()
            .resolve_job_def("import_all")
            .execute_in_process(
                instance=dagster,
                run_config=configuration,
                asset_selection=selection,
                tags=run_requests.tags(run_requests.COMMAND_LINE, directory),  # a tag is no authority
                raise_on_error=False,
            )
        )


def imports(db: DatabaseSettings) -> list[tuple[str, ...]]:
    with psycopg.connect(db.conninfo()) as connection:
        return connection.execute("SELECT table_name, status FROM ingest.imports").fetchall()


@pytest.mark.parametrize(
    ("observe", "replay", "failed"),
    [(True, False, "observe_export"), (False, False, "documents"), (False, True, "documents")],
)
def test_a_run_of_the_web_ui_fails_with_one_line_before_it_reads_anything_outside(
    given: DatabaseSettings, tmp_path: Path, observe: bool, replay: bool, failed: str
) -> None:
    outside = one_file_export(tmp_path / "outside")
    with reads_of(outside) as seen:
        done = launched(outside, observe=observe, replay=replay)
    reasons = runs._reasons(done)
    assert set(reasons) == {failed}
    assert reasons[failed].startswith(OUTSIDE)
    assert "\n" not in reasons[failed]
    assert seen == []
    assert imports(given) == []


def test_a_run_of_the_web_ui_reads_below_a_root(
    given: DatabaseSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DAYBREAK_EXPORT_ROOTS", str(tmp_path / "archive"))
    (tmp_path / "archive").mkdir()
    with reads_of(tmp_path / "archive") as seen:
        done = launched(one_file_export(tmp_path / "archive" / "2026"))
    assert done.success
    assert any("documents.csv" in one for one in seen)
    assert imports(given) == [("documents", "imported")]


def test_a_command_reads_where_it_was_told_to(given: DatabaseSettings, tmp_path: Path) -> None:
    installation = Installation(given, KEY, export_dir=Path("/nowhere"), dagster_home=Path("/nowhere"))
    chosen = replace(installation, export_dir=one_file_export(tmp_path / "elsewhere"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(instance, "opened", lambda _installation: dg.DagsterInstance.ephemeral())
        outcome = runs.run_import(chosen, only=["documents"])
    assert outcome.tables["documents"].status == "imported"

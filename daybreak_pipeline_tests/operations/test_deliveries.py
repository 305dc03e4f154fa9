"""What was delivered and not loaded: by content, wherever the last import came from, and without reading more than needed."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from daybreak_pipeline.importer.find import Source
from daybreak_pipeline.operations import deliveries
from daybreak_pipeline.operations.deliveries import Deliveries
from daybreak_pipeline_tests.exports import Export, record


def look(export: Export, directory: Path | None = None) -> Deliveries:
    export.connection.commit()
    return deliveries.look(export.connection, directory)


def documents(export: Export, label: str = "one") -> Path:
    return export.write("documents", record("documents", label=label))


def test_a_file_waits_until_its_content_is_loaded(export: Export) -> None:
    documents(export)
    waiting = look(export, export.directory).waiting
    assert list(waiting) == ["documents"]
    assert (waiting["documents"].file, waiting["documents"].reason) == ("documents.csv", "")
    export.load("documents")
    assert look(export).waiting == {}
    assert look(export).there == {"documents"}


def test_another_content_of_the_same_size_waits_and_one_that_was_loaded_before_does_not(
    export: Export,
) -> None:
    for label in ("one", "two"):
        documents(export, label)
        export.load("documents")
    documents(export, "six")
    assert list(look(export).waiting) == ["documents"]
    documents(export, "one")
    os.utime(export.directory / "documents.csv", (1, 1))
    assert look(export).waiting == {}


def test_a_large_file_is_read_whole_only_if_it_was_written_to_since(
    export: Export, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deliveries, "BLOCK", 8)  # so that the beginning of a file is not all of it
    documents(export)
    export.load("documents")
    read: list[Source] = []

    def sha256(source: Source) -> str:
        read.append(source)
        return "another"

    monkeypatch.setattr(Source, "sha256", sha256)
    assert list(look(export).waiting) == ["documents"]
    assert len(read) == 1
    export.connection.execute(
        "UPDATE ingest.imports SET started_at = now() + interval '1 day', finished_at = now() + interval '1 day'"
    )
    assert look(export).waiting == {}
    assert len(read) == 1


def test_a_file_that_cannot_be_read_says_why(export: Export) -> None:
    (export.directory / "documents.csv.gz").write_bytes(b"this is not gzip")
    assert "it is damaged" in look(export, export.directory).waiting["documents"].reason


def test_without_a_setting_the_last_import_says_where_files_come_from(export: Export, tmp_path: Path) -> None:
    assert look(export) == Deliveries()  # nobody knows yet
    documents(export)
    export.load("documents")
    documents(export, "two")
    assert look(export).directory == export.directory
    assert list(look(export).waiting) == ["documents"]
    export.directory.rename(tmp_path / "on another machine")
    assert look(export) == Deliveries()


def test_the_setting_comes_first_and_must_lead_to_an_export(
    export: Export, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    documents(export)
    export.load("documents")
    monkeypatch.setenv("DAYBREAK_EXPORT_DIR", str(tmp_path / "elsewhere"))
    assert "there is no directory" in look(export).problem
    (tmp_path / "elsewhere").mkdir()
    assert "holds no file of an export" in look(export).problem
    (tmp_path / "elsewhere" / "kinships.csv").write_text("id\n", encoding="utf-8")
    assert list(look(export).waiting) == ["kinships"]


def test_a_file_that_was_left_out_is_named_unless_it_is_older_or_the_same(export: Export) -> None:
    path = documents(export)
    (export.directory / "documents_2024-01-01.csv").write_bytes(path.read_bytes())
    (export.directory / "documents (1).csv").write_bytes(path.read_bytes())
    (export.directory / "notes.txt").write_text("nothing of ours", encoding="utf-8")
    (export.directory / "docments.csv").write_bytes(path.read_bytes())
    assert look(export, export.directory).unread == {
        "documents": ("docments.csv belongs to no table and was not read; it resembles documents",)
    }

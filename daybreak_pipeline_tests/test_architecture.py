"""The folders: what each may import, and that each says what belongs in it (docs/architecture.md)."""

from __future__ import annotations

import ast
from functools import cache
from itertools import pairwise
from pathlib import Path

import pytest

import daybreak_pipeline
from daybreak_pipeline.tables import DELETED_FLAG, OPERATION, SYNCED_AT, TRANSPORT_COLUMNS

PACKAGE = Path(daybreak_pipeline.__file__).parent
FROM_THE_BOTTOM = (
    "errors",
    "runbooks",
    "wording",
    "timetable",
    "tables",
    "locations",
    "settings",
    "generator",
    "embedded_postgres",
    "supervision",
    "database",
    "failures",
    "schema",
    "privacy",
    "pooler",
    "importer",
    "documentation",
    "checks",
    "backups",
    "operations",
    "monitoring",
    "report",
    "maintenance",
    "orchestration",
    "definitions",
    "cli",
)
"""Modules and folders at the package's top; each imports only what is before it."""
KNOW_DAGSTER = ("orchestration", "definitions", "cli")
FILES = sorted(PACKAGE.rglob("*.py"))
MAY_TOUCH_THE_ENVIRONMENT = {
    "settings/kinds.py": "reads every setting",
    "settings/processes.py": "makes the environment of children, and sets what libraries read in this process",
    "embedded_postgres/bootstrap.py": "runs before the package is installed, with nothing but Python",
}
"""All else asks ``settings``."""
ENVIRONMENT = {"environ", "environb", "getenv", "getenvb", "putenv", "unsetenv"}
"""How the module ``os`` gives access to the environment."""


@cache
def imported(path: Path) -> set[str]:
    """Return every module that a file imports anywhere, also inside functions and for type checking."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def place(path: Path) -> str:
    """Return the module or folder at the package's top that a file is, or is in."""
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def path_in_package(path: Path) -> str:
    return str(path.relative_to(PACKAGE))


def test_every_folder_has_its_place_in_the_order() -> None:
    assert {place(path) for path in FILES} == {*FROM_THE_BOTTOM, "__init__"}


@pytest.mark.parametrize("path", FILES, ids=path_in_package)
def test_no_module_imports_one_above_it(path: Path) -> None:
    if place(path) == "__init__":
        return
    below = FROM_THE_BOTTOM[: FROM_THE_BOTTOM.index(place(path)) + 1]
    used = {module.split(".")[1] for module in imported(path) if module.startswith("daybreak_pipeline.")}
    assert used - set(below) == set()


@pytest.mark.parametrize("path", FILES, ids=path_in_package)
def test_only_the_shell_knows_dagster(path: Path) -> None:
    if place(path) not in KNOW_DAGSTER:
        assert {module for module in imported(path) if module.split(".")[0].startswith("dagster")} == set()


def touches_the_environment(source: str) -> bool:
    """Return whether a module reads or writes the environment, under whatever name it knows ``os``."""
    return any(
        (isinstance(node, ast.Attribute) and node.attr in ENVIRONMENT)
        or (
            isinstance(node, ast.ImportFrom)
            and node.module == "os"
            and any(alias.name in ENVIRONMENT | {"*"} for alias in node.names)
        )
        for node in ast.walk(ast.parse(source))
    )


def test_settings_alone_touch_the_environment() -> None:
    found = {path_in_package(path) for path in FILES if touches_the_environment(path.read_text("utf-8"))}
    assert found == set(MAY_TOUCH_THE_ENVIRONMENT)


@pytest.mark.parametrize(
    ("source", "touches"),
    [
        ("import os\nos.environ['A']", True),
        ("import os as system\nsystem.getenv('A')", True),
        ("def late():\n    from os import environ as surroundings", True),
        ("import os\nos.putenv('A', 'b')", True),
        ("import os\nos.getpid()", False),
        ("'os.environ'", False),
    ],
)
def test_every_way_to_the_environment_is_seen(source: str, touches: bool) -> None:
    assert touches_the_environment(source) is touches


def test_the_top_of_the_package_is_short() -> None:
    assert len(list(PACKAGE.glob("*.py"))) <= 8


@pytest.mark.parametrize(
    "folder", sorted(path.parent for path in PACKAGE.rglob("__init__.py")), ids=path_in_package
)
def test_every_folder_says_what_belongs_in_it(folder: Path) -> None:
    said = ast.get_docstring(ast.parse((folder / "__init__.py").read_text(encoding="utf-8")))
    assert said is not None
    assert len(said) > 60


def test_the_architecture_page_has_the_order() -> None:
    page = (PACKAGE.parent / "docs" / "architecture.md").read_text(encoding="utf-8")
    places = [page.index(f"| `{part}`") for part in reversed(FROM_THE_BOTTOM)]
    assert all(first < second for first, second in pairwise(places))


def test_a_name_of_a_module_means_one_thing() -> None:
    """Groups of commands are called as what they are about; a check and its rows may share a name with the import's."""
    shared = {"tables", "sources", "definitions", "catalog"}
    names = [path.stem for path in FILES if path.stem in shared]
    assert len(names) == len(set(names))


@pytest.mark.parametrize("path", FILES, ids=path_in_package)
def test_columns_of_the_transport_are_named_in_one_place(path: Path) -> None:
    if place(path) in {"tables", "generator"}:  # the one place, and who writes exports as the transport does
        return
    tree = ast.parse(path.read_text(encoding="utf-8"))
    texts = {
        node.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    }
    named = {SYNCED_AT, DELETED_FLAG, OPERATION, *TRANSPORT_COLUMNS}
    assert texts & named == set()


IMPORTED_LATE = {
    "cli/common.py": 1,  # psycopg takes as long to import as all the rest of --help
    "importer/parts.py": 1,  # Arrow takes 100 MB, which CSV does not need
    "importer/staging.py": 1,  # as above
    "database/__init__.py": 1,  # a given server needs nothing of the embedded one
    "settings/databases.py": 1,  # the installation reads settings before there is a driver
    "locations/objects.py": 1,  # an extra package, which an export on this machine does not need
    "report/numbers.py": 1,  # pandas takes half a second, which only a frame costs
    "report/plots.py": 1,  # matplotlib takes a third of a second, which only a report costs
    "orchestration/instance.py": 1,  # preparing the instance needs no Dagster
}
"""Imports inside functions, by file, each with its reason."""


@pytest.mark.parametrize("path", FILES, ids=path_in_package)
def test_modules_are_imported_at_the_top(path: Path) -> None:
    functions = [
        node
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))
    ]
    late = {
        (node.lineno, ast.unparse(node))
        for function in functions
        for node in ast.walk(function)
        if isinstance(node, (ast.Import, ast.ImportFrom))
    }
    assert len(late) == IMPORTED_LATE.get(path_in_package(path), 0), late


@pytest.mark.parametrize("path", sorted((PACKAGE / "importer").glob("*.py")), ids=path_in_package)
def test_the_importer_sends_statements_only_where_they_can_be_seen(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    sent = [
        node.lineno
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr in {"execute", "executemany"}
    ]
    if path.name == "statements.py":
        assert len(sent) == 1
    else:
        assert sent == []


def test_what_scripts_outside_the_project_import_is_where_it_was() -> None:
    from daybreak_pipeline import database, settings
    from daybreak_pipeline.checks.rules import examine
    from daybreak_pipeline.definitions import build_defs, defs
    from daybreak_pipeline.importer import catalog
    from daybreak_pipeline.importer.run import import_table

    assert all((database.connect, settings.home, examine, build_defs, defs, catalog.read, import_table))

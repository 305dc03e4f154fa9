"""An import from an object storage beside the same from a directory, by turns in one run. Prints Markdown.

``python -m daybreak_pipeline_tests.benchmarks.storage``. Not a test: nothing fails when it is slow. The storage is moto on this
machine: it shares the cores with the import, and has no network between.
"""

from __future__ import annotations

import http.client
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from typing import Any

import click
import obstore
from obstore.store import S3Store

from daybreak_pipeline.locations import locate
from daybreak_pipeline.tables import TABLES
from daybreak_pipeline_tests.benchmarks.__main__ import _bench
from daybreak_pipeline_tests.benchmarks.cases import generate
from daybreak_pipeline_tests.benchmarks.growth import import_apart

_TABLE = "questionnaires"
_BUCKET = "exports-of-benchmarks"
_LOGIN = {
    "AWS_ACCESS_KEY_ID": "who",
    "AWS_SECRET_ACCESS_KEY": "a secret of benchmarks",
    "AWS_REGION": "us-east-1",
    "AWS_ALLOW_HTTP": "true",
}


@click.command()
@click.option(
    "--records", default=500_000, show_default=True, help="Questionnaires; 500,000 are some 200 MB."
)
@click.option("--runs", default=3, show_default=True, help="Runs of each; medians are printed.")
def main(records: int, runs: int) -> None:
    """Measure and print."""
    taken: dict[str, list[tuple[float, int]]] = {"directory": [], "storage": []}
    with _bench(records) as bench, _storage() as endpoint:
        directory = bench.scratch / "export"
        generate(directory, records, [_TABLE])
        name = f"{TABLES[_TABLE].file_stems[0]}.csv"
        login = _LOGIN | {"AWS_ENDPOINT_URL": endpoint}
        configuration: Any = {key.lower(): value for key, value in login.items()}
        store = S3Store(_BUCKET, config=configuration)
        obstore.put(store, f"day/{name}", directory / name)
        size = (directory / name).stat().st_size
        for _ in range(runs):
            for place in (directory, locate(f"s3://{_BUCKET}/day")):
                bench.clear(_TABLE)
                kind = "directory" if place == directory else "storage"
                taken[kind].append(import_apart(bench.settings, _TABLE, place, **login))
                click.echo(f"  {kind}: {taken[kind][-1][0]:.2f} s", err=True)
    click.echo(
        f"{size / 1e6:,.0f} MB, {records:,} questionnaires\n\n| from | seconds | peak memory |\n|---|---|---|"
    )
    medians = {kind: statistics.median(seconds for seconds, _ in runs) for kind, runs in taken.items()}
    for kind, done in taken.items():
        click.echo(f"| {kind} | {medians[kind]:.2f} | {max(peak for _, peak in done) / 1e6:,.0f} MB |")
    click.echo(f"\nstorage / directory: {medians['storage'] / medians['directory']:.2f} (at most 1.3)")


@contextmanager
def _storage() -> Iterator[str]:
    """Run a service with an empty bucket in a process of its own; yield its address."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            with (
                suppress(ConnectionError),
                closing(http.client.HTTPConnection("127.0.0.1", port)) as connection,
            ):
                connection.request("PUT", f"/{_BUCKET}")
                connection.getresponse().read()
                break
            time.sleep(0.2)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.kill()
        process.wait()


if __name__ == "__main__":
    main()

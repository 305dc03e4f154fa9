"""Where a run may import from: only the directories that the operator allowed, whatever its configuration asks for."""

from __future__ import annotations

from collections.abc import Callable

from daybreak_pipeline import settings
from daybreak_pipeline.errors import UsageError
from daybreak_pipeline.locations import Location, locate

_OUTSIDE = (
    "export_dir is outside the directories that this installation imports from: leave it empty, or have the operator add it to "
    "DAYBREAK_EXPORT_ROOTS"
)


class ExportDirectories:
    """The export of an installation, and what else ``DAYBREAK_EXPORT_ROOTS`` lets runs import from.

    A command's run uses the export given to the command. Links are resolved before paths are compared.
    """

    def __init__(self, export_dir: Callable[[], Location] = settings.export_dir) -> None:
        """Take the function that returns the installation's export."""
        self._export_dir = export_dir

    def chosen(self, configured: str) -> Location:
        """Return the directory that a run's configuration asks for, or else the installation's export.

        Raises:
            UsageError: the operator did not allow it. The message does not reveal whether it exists.
        """
        own = self._export_dir()
        if not configured or configured == str(own):
            return own
        try:
            asked = locate(configured).resolve()
            allowed = [root.resolve() for root in (own, *settings.export_roots())]
        except (
            OSError,
            RuntimeError,
            ValueError,
        ):  # circular links, ~name of an unknown user, a character that no path may have
            raise UsageError(_OUTSIDE) from None
        # A path of this machine cannot be compared with a place of a storage.
        if not any(isinstance(asked, type(root)) and asked.is_relative_to(root) for root in allowed):
            raise UsageError(_OUTSIDE)
        return asked

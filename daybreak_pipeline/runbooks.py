"""The runbooks: which page of docs/runbooks helps with what. Messages, alerts and checks name a page through this."""

from enum import Enum


class Runbook(Enum):
    """A page in docs/runbooks, by the situation it is for."""

    FIRST_INSTALLATION = "first-installation"
    IMPORT_FAILS = "import-fails"
    UNDO_AN_IMPORT = "undo-an-import"
    RESTORE_TO_A_TIME = "restore-to-a-time"
    ONE_TABLE_BACK = "one-table-back"
    DISASTER_RECOVERY = "disaster-recovery"
    BACKUPS_FAIL = "backups-fail"
    LOST_KEY = "lost-key"
    LOST_PASSWORD = "lost-password"  # noqa: S105 - the name of a page
    ROTATE_KEYS_AND_PASSWORDS = "rotate-keys-and-passwords"
    KEY_ESCROW = "key-escrow"
    NEW_ENUM_VALUE = "new-enum-value"
    NEW_COLUMN = "new-column"
    DISK_FULL = "disk-full"
    SERVER_GONE = "server-gone"
    SLOW_OR_STUCK = "slow-or-stuck"
    SCHEMA_CHANGES = "schema-changes"
    SOMEBODY_LEAVES = "somebody-leaves"
    BREACH = "breach"

    @property
    def page(self) -> str:
        """The path of the page from the project's root."""
        return f"docs/runbooks/{self.value}.md"

    @property
    def see(self) -> str:
        """What a message ends with, e.g. "see docs/runbooks/disk-full.md"."""
        return f"see {self.page}"

    @classmethod
    def is_named_in(cls, text: str) -> bool:
        """Return whether a text names any page."""
        return any(one.page in text for one in cls)

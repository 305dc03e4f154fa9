"""What the environment says: where state lives, where exports are, which server to use. The one place that reads it.

``variables`` declares every variable once, ``kinds`` reads them, ``page`` makes docs/settings.md from them; callers
ask this package itself: ``settings.home()``. Nothing here opens a file or a connection, or waits for the driver.
"""

from __future__ import annotations

from daybreak_pipeline.settings.databases import (
    DatabaseSettings,
    RoleLogin,
    dagster_database,
    given_database,
    pooler,
    role_login,
)
from daybreak_pipeline.settings.notifications import MailSettings, NotifierSettings, notifier
from daybreak_pipeline.settings.processes import account, child_environment, own_environment
from daybreak_pipeline.settings.umask import close_files, files_for, users_umask
from daybreak_pipeline.settings.values import (
    audit_months,
    debug,
    encryption_key,
    environment,
    executor,
    export_dir,
    export_roots,
    given_dagster_home,
    has_display,
    home,
    lock_seconds,
    max_cell,
    monitor_minutes,
    new_encryption_key,
    sensor_seconds,
    server_programs,
    settle_seconds,
    staging_tablespace,
)
from daybreak_pipeline.settings.variables import (
    AUDIT_MONTHS,
    DAGSTER_DATABASE,
    DEFAULT_DATABASE,
    DEFAULT_PORT,
    DEFAULT_USER,
    DEFAULT_WEB_URL,
    ENVIRONMENTS,
    MOST_CONNECTIONS,
    PROJECT_ROOT,
    SAMPLE,
    SSL_MODES,
    role_variable,
)
from daybreak_pipeline.settings.web import WebSettings, web, web_url

__all__ = [
    "AUDIT_MONTHS",
    "DAGSTER_DATABASE",
    "DEFAULT_DATABASE",
    "DEFAULT_PORT",
    "DEFAULT_USER",
    "DEFAULT_WEB_URL",
    "ENVIRONMENTS",
    "MOST_CONNECTIONS",
    "PROJECT_ROOT",
    "SAMPLE",
    "SSL_MODES",
    "DatabaseSettings",
    "MailSettings",
    "NotifierSettings",
    "RoleLogin",
    "WebSettings",
    "account",
    "audit_months",
    "child_environment",
    "close_files",
    "dagster_database",
    "debug",
    "encryption_key",
    "environment",
    "executor",
    "export_dir",
    "export_roots",
    "files_for",
    "given_dagster_home",
    "given_database",
    "has_display",
    "home",
    "lock_seconds",
    "max_cell",
    "monitor_minutes",
    "new_encryption_key",
    "notifier",
    "own_environment",
    "pooler",
    "role_login",
    "role_variable",
    "sensor_seconds",
    "server_programs",
    "settle_seconds",
    "staging_tablespace",
    "users_umask",
    "web",
    "web_url",
]

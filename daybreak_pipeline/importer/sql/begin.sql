-- Triggers that touch what clients write stand aside for this very transaction.
SELECT set_config('daybreak.import_xid', pg_current_xact_id()::text, true);
-- Tables and functions without a schema are public's, or pgcrypto's, which may be in a schema of its own.
SELECT set_config('search_path', 'public, ' || extnamespace::regnamespace, true) FROM pg_extension WHERE extname = 'pgcrypto';
-- Rows that an application has locked, and tables that this one refers to, are not waited for for ever.
SET LOCAL lock_timeout = {lock_timeout};
-- Whole tables are read and written: memory for one statement at a time, and every core for what can be shared.
SET LOCAL work_mem = '256MB';
SET LOCAL maintenance_work_mem = '512MB';
SET LOCAL parallel_setup_cost = 0;
SET LOCAL parallel_tuple_cost = 0;
SET LOCAL jit = off;
-- A time without a zone is UTC, whatever the session or the server says.
SET LOCAL timezone = 'UTC';
SET LOCAL datestyle = 'ISO, MDY'

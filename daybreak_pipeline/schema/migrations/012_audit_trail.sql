-- Who changed which row, when, from where, and which columns (the plan, 4.2 "Implement audit logging for data
-- changes"). The old values are kept sealed, so that history can be told by whoever holds the key and by nobody
-- else; the new ones are in the row, or in the next line about it. See docs/adr/0006-audit-trail.md.

CREATE SCHEMA audit;
COMMENT ON SCHEMA audit IS 'The audit trail: who changed which row. Append-only; nobody needs a right here to be recorded.';

CREATE FUNCTION audit.acting_role() RETURNS TEXT LANGUAGE sql STABLE AS $$
    SELECT coalesce(nullif(current_setting('role'), 'none'), session_user::text)
$$;
COMMENT ON FUNCTION audit.acting_role() IS
    'The role that the session acts as: the one it logged in as, or has SET ROLE to. Inside a SECURITY DEFINER function current_user would be the function''s owner.';

CREATE TABLE audit.changes (
    id BIGINT GENERATED ALWAYS AS IDENTITY,
    changed_at TIMESTAMPTZ NOT NULL DEFAULT clock_timestamp(),
    transaction_id XID8 NOT NULL DEFAULT pg_current_xact_id(),
    session_role TEXT NOT NULL DEFAULT session_user,
    acting_role TEXT NOT NULL DEFAULT audit.acting_role(),
    client_address INET DEFAULT inet_client_addr(),
    application_name TEXT NOT NULL DEFAULT current_setting('application_name'),
    table_name TEXT NOT NULL,
    action TEXT NOT NULL,
    row_id TEXT,
    changed_columns TEXT[],
    before_encrypted BYTEA,
    import_id BIGINT,
    rows_inserted BIGINT,
    rows_updated BIGINT,
    rows_deleted BIGINT,
    PRIMARY KEY (changed_at, id),
    CONSTRAINT changes_action CHECK (action IN ('INSERT', 'UPDATE', 'DELETE', 'TRUNCATE', 'IMPORT', 'RETENTION')),
    CONSTRAINT changes_of_a_row_name_it CHECK ((action IN ('INSERT', 'UPDATE', 'DELETE')) = (row_id IS NOT NULL)),
    CONSTRAINT changes_of_an_import_name_it CHECK ((action = 'IMPORT') = (import_id IS NOT NULL))
) PARTITION BY RANGE (changed_at);
CREATE INDEX changes_of_row ON audit.changes (table_name, row_id, changed_at);
COMMENT ON TABLE audit.changes IS
    'One line for each row that a client changed, and one for each import, TRUNCATE and retention. Append-only, partitioned by month.';
COMMENT ON COLUMN audit.changes.id IS 'Orders the lines about one row. Numbers of transactions that were rolled back are missing.';
COMMENT ON COLUMN audit.changes.changed_at IS 'When the statement ended, by the server''s clock.';
COMMENT ON COLUMN audit.changes.transaction_id IS 'Lines with the same number were committed together.';
COMMENT ON COLUMN audit.changes.session_role IS 'The role that the session logged in as.';
COMMENT ON COLUMN audit.changes.acting_role IS 'The role that it acted as (SET ROLE); mostly the same.';
COMMENT ON COLUMN audit.changes.client_address IS
    'Where the session came from: NULL on the server''s own socket, the pooler''s address behind a pooler.';
COMMENT ON COLUMN audit.changes.application_name IS 'What the client calls itself: a claim, no proof.';
COMMENT ON COLUMN audit.changes.table_name IS 'The changed table in schema public; the dropped partition for RETENTION.';
COMMENT ON COLUMN audit.changes.action IS
    'INSERT, UPDATE or DELETE of one row; TRUNCATE of a table; IMPORT of an export into it; RETENTION: old lines of this trail were dropped.';
COMMENT ON COLUMN audit.changes.row_id IS 'The row''s id. A changed id is a DELETE of the old and an INSERT of the new one.';
COMMENT ON COLUMN audit.changes.changed_columns IS
    'Which columns an UPDATE changed, without technical ones and updated_at; a sealed column goes by its plain name where the session''s key could open it.';
COMMENT ON COLUMN audit.changes.before_encrypted IS
    'Sealed JSON of the old values: of the changed columns and updated_at, or of the whole deleted row. NULL for INSERT, and where the session had no key.';
COMMENT ON COLUMN audit.changes.import_id IS 'ingest.imports.id of the import; its rows carry it in _import_id.';
COMMENT ON COLUMN audit.changes.rows_inserted IS 'How many rows an IMPORT inserted; NULL otherwise.';
COMMENT ON COLUMN audit.changes.rows_updated IS 'How many rows an IMPORT updated; NULL otherwise.';
COMMENT ON COLUMN audit.changes.rows_deleted IS 'How many rows a TRUNCATE or RETENTION took away; NULL otherwise.';
COMMENT ON INDEX audit.changes_of_row IS 'Finds the history of one row.';

-- Append-only, for the owner too.

CREATE FUNCTION audit.refuse_change() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    probe RECORD;
BEGIN
    -- One door: a rotation of the key seals the old values anew, and can touch nothing else. The setting holds the
    -- transaction's id, so that one left behind in a pooled session opens nothing.
    IF TG_OP = 'UPDATE' AND current_setting('daybreak.rotation_xid', true) = pg_current_xact_id()::text THEN
        probe := NEW;
        probe.before_encrypted := OLD.before_encrypted;
        IF probe IS NOT DISTINCT FROM OLD AND (NEW.before_encrypted IS NULL) = (OLD.before_encrypted IS NULL) THEN
            RETURN NEW;
        END IF;
    END IF;
    RAISE EXCEPTION 'the audit trail is append-only: % refused', TG_OP
        USING ERRCODE = 'insufficient_privilege',
              HINT = 'Old lines go by whole months, and on the record: SELECT audit.retain(months).';
END $$;
COMMENT ON FUNCTION audit.refuse_change() IS
    'Refuses UPDATE, DELETE and TRUNCATE of the audit trail, but for a key rotation''s own transaction (daybreak.rotation_xid holds its id) that replaces before_encrypted and nothing else.';

CREATE TRIGGER append_only BEFORE UPDATE OR DELETE ON audit.changes
    FOR EACH ROW EXECUTE FUNCTION audit.refuse_change();
CREATE TRIGGER append_only_truncate BEFORE TRUNCATE ON audit.changes
    FOR EACH STATEMENT EXECUTE FUNCTION audit.refuse_change();
ALTER TABLE audit.changes ENABLE ALWAYS TRIGGER append_only;
ALTER TABLE audit.changes ENABLE ALWAYS TRIGGER append_only_truncate;

-- Partitions.

CREATE VIEW audit.partitions AS
SELECT i.inhrelid::regclass AS partition, bounds.range[1]::timestamptz AS starts, bounds.range[2]::timestamptz AS ends
FROM pg_inherits i
JOIN pg_class c ON c.oid = i.inhrelid,
LATERAL regexp_match(pg_get_expr(c.relpartbound, c.oid), $$FROM \('([^']+)'\) TO \('([^']+)'\)$$) AS bounds (range)
WHERE i.inhparent = 'audit.changes'::regclass AND bounds.range IS NOT NULL;
COMMENT ON VIEW audit.partitions IS 'The partitions of audit.changes and their times, without the default partition, which takes what no other does.';

CREATE FUNCTION audit.add_partition(name TEXT, bounds TEXT) RETURNS VOID
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    -- Made first and attached then: CREATE … PARTITION OF would wait for everybody who is writing, and hold up the rest.
    EXECUTE format('CREATE TABLE audit.%I (LIKE audit.changes INCLUDING DEFAULTS INCLUDING CONSTRAINTS '
                   'INCLUDING COMMENTS)', name);
    EXECUTE format('ALTER TABLE audit.changes ATTACH PARTITION audit.%I %s', name, bounds);
    EXECUTE format('COMMENT ON TABLE audit.%I IS %L', name, 'Lines of the audit trail, ' || bounds || '.');
    EXECUTE format('CREATE TRIGGER append_only_truncate BEFORE TRUNCATE ON audit.%I '
                   'FOR EACH STATEMENT EXECUTE FUNCTION audit.refuse_change()', name);
    EXECUTE format('ALTER TABLE audit.%I ENABLE ALWAYS TRIGGER append_only_truncate', name);
END $$;
COMMENT ON FUNCTION audit.add_partition(TEXT, TEXT) IS 'Adds a partition with its guards: that of the rows is inherited as it is, that of TRUNCATE is not.';

CREATE FUNCTION audit.ensure_partitions(months_ahead INTEGER DEFAULT 3) RETURNS INTEGER
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET timezone = 'UTC' SET lock_timeout = '2s' AS $$
DECLARE
    this_month TIMESTAMPTZ := date_trunc('month', clock_timestamp());
    month TIMESTAMPTZ;
    first TIMESTAMPTZ;
    last TIMESTAMPTZ;
    name TEXT;
    made INTEGER := 0;
BEGIN
    -- Before any look at a table: who has looked and waits then would keep out the one who is at work.
    PERFORM pg_advisory_xact_lock(hashtext('daybreak.audit'));

    -- Lines that came when their month had no partition yet: the default partition becomes that of their months.
    SELECT date_trunc('month', min(d.changed_at)), date_trunc('month', max(d.changed_at)) + interval '1 month'
    INTO first, last FROM audit.changes_default d;
    IF first IS NOT NULL AND NOT EXISTS (SELECT FROM audit.partitions p WHERE p.starts < last AND p.ends > first) THEN
        name := 'changes_' || to_char(first, 'YYYY_MM');
        IF last > first + interval '1 month' THEN
            name := name || '_to_' || to_char(last - interval '1 month', 'YYYY_MM');
        END IF;
        ALTER TABLE audit.changes DETACH PARTITION audit.changes_default;
        EXECUTE format('ALTER TABLE audit.changes_default RENAME TO %I', name);
        EXECUTE format('ALTER INDEX audit.changes_default_pkey RENAME TO %I', name || '_pkey');
        EXECUTE format('ALTER INDEX audit.changes_default_table_name_row_id_changed_at_idx RENAME TO %I',
                       name || '_table_name_row_id_changed_at_idx');
        EXECUTE format('ALTER TABLE audit.changes ATTACH PARTITION audit.%I FOR VALUES FROM (%L) TO (%L)', name, first, last);
        EXECUTE format('COMMENT ON TABLE audit.%I IS %L', name, format('Lines of the audit trail, FOR VALUES FROM (%L) TO (%L).', first, last));
        PERFORM audit.add_partition('changes_default', 'DEFAULT');
        made := 1;
    END IF;

    FOR ahead IN 0 .. months_ahead LOOP
        month := this_month + make_interval(months => ahead);
        name := 'changes_' || to_char(month, 'YYYY_MM');
        -- Where lines of a month had to stay in the default partition, or a partition was detached, it stays so.
        CONTINUE WHEN EXISTS (SELECT FROM audit.partitions p WHERE p.starts <= month AND p.ends > month)
            OR EXISTS (SELECT FROM audit.changes_default d
                       WHERE d.changed_at >= month AND d.changed_at < month + interval '1 month')
            OR to_regclass(format('audit.%I', name)) IS NOT NULL;
        PERFORM audit.add_partition(name, format('FOR VALUES FROM (%L) TO (%L)', month, month + interval '1 month'));
        made := made + 1;
    END LOOP;
    RETURN made;
END $$;
COMMENT ON FUNCTION audit.ensure_partitions(INTEGER) IS
    'Makes the partitions of this month and the next ones, and returns how many were missing. Lines found in the default partition get one of their own, made of it; those whose time another partition overlaps stay there, and nothing is lost.';

SELECT audit.add_partition('changes_default', 'DEFAULT');
SELECT audit.ensure_partitions();

CREATE FUNCTION audit.retain(months INTEGER) RETURNS TABLE (dropped TEXT, lines BIGINT)
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET timezone = 'UTC' SET lock_timeout = '2s' AS $$
DECLARE
    old RECORD;
BEGIN
    IF months IS NULL OR months < 1 THEN
        RAISE EXCEPTION 'the audit trail is kept for a month at least' USING ERRCODE = 'invalid_parameter_value';
    END IF;
    PERFORM audit.ensure_partitions();
    FOR old IN
        SELECT p.partition, c.relname::text AS name FROM audit.partitions p JOIN pg_class c ON c.oid = p.partition
        WHERE p.ends <= clock_timestamp() - make_interval(months => months) ORDER BY p.ends
    LOOP
        EXECUTE format('SELECT count(*) FROM %s', old.partition) INTO lines;
        EXECUTE format('DROP TABLE %s', old.partition);
        dropped := old.name;
        INSERT INTO audit.changes (table_name, action, rows_deleted) VALUES ('audit.' || dropped, 'RETENTION', lines);
        RETURN NEXT;
    END LOOP;
END $$;
COMMENT ON FUNCTION audit.retain(INTEGER) IS
    'Drops the partitions whose lines are all older than so many months, and records each in the trail.';

-- Recording.

CREATE FUNCTION audit.stands_aside() RETURNS BOOLEAN LANGUAGE sql STABLE AS $$
    SELECT coalesce(
        pg_current_xact_id_if_assigned()::text
            IN (current_setting('daybreak.import_xid', true), current_setting('daybreak.rotation_xid', true))
        AND has_table_privilege(audit.acting_role(), 'audit.changes', 'INSERT'), false)
$$;
COMMENT ON FUNCTION audit.stands_aside() IS
    'Whether this transaction is an import''s or a key rotation''s, which write lines of their own. Only a role that may write lines can say so of itself: anybody can set a setting.';

CREATE FUNCTION audit.differences(before JSONB, after JSONB, seal_key BYTEA)
RETURNS TABLE (changed_columns TEXT[], old_values JSONB) LANGUAGE sql STABLE AS $$
    SELECT array_agg(DISTINCT named.name) FILTER (WHERE named.name <> 'updated_at'),
           -- Of a sealed column and its plain one, which is NULL, the value counts.
           jsonb_object_agg(named.name, named.old_value ORDER BY named.old_value = 'null' DESC)
    FROM (
        SELECT CASE WHEN before -> opened.plain = 'null' AND coalesce(after -> opened.plain, 'null') = 'null'
                     AND (opened.old_text IS NOT NULL OR opened.old_value = 'null' AND opened.new_text IS NOT NULL)
                    THEN opened.plain ELSE opened.key END AS name,
               opened.old_value
        FROM (
            SELECT d.key, d.plain, d.old_text, d.new_text,
                   coalesce(d.old_text, d.value) AS old_value, coalesce(d.new_text, after -> d.key) AS new_value
            FROM (
                SELECT e.key, e.value, s.plain,
                       CASE WHEN s.plain IS NOT NULL THEN to_jsonb(privacy.unseal((e.value #>> '{}')::bytea, seal_key)) END AS old_text,
                       CASE WHEN s.plain IS NOT NULL THEN to_jsonb(privacy.unseal((after ->> e.key)::bytea, seal_key)) END AS new_text
                FROM jsonb_each(before) e,
                LATERAL (SELECT CASE WHEN e.key LIKE '%\_encrypted' THEN left(e.key, -10) END AS plain) s
                WHERE e.value IS DISTINCT FROM after -> e.key
                  AND e.key NOT IN ('name_tokens', '_source_hash', '_import_id', '_record_number')
                OFFSET 0 -- or each value would be opened again wherever it is named
            ) d
        ) opened
        -- The same value sealed again is no change, and one that its plain column tells as well is told once.
        WHERE opened.old_value IS DISTINCT FROM opened.new_value
          AND (opened.plain IS NULL OR opened.old_value IS DISTINCT FROM before -> opened.plain
               OR opened.new_value IS DISTINCT FROM after -> opened.plain)
    ) named
$$;
COMMENT ON FUNCTION audit.differences(JSONB, JSONB, BYTEA) IS
    'What an UPDATE changed of a row, given as JSON, and the values before; with no row after, all of a deleted row. Sealed values are opened, so that the one seal around all is the only one that a key rotation has to renew.';

CREATE FUNCTION audit.record_change() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
SET search_path = pg_catalog, pg_temp SET timezone = 'UTC' SET datestyle = 'ISO' SET bytea_output = 'hex' SET jit = off AS $$
DECLARE
    seal_key BYTEA;
    lost BIGINT;
BEGIN
    IF audit.stands_aside() THEN
        RETURN NULL;
    END IF;
    seal_key := privacy.key('seal'); -- refuses a session with another key, whatever it changes
    IF TG_OP = 'INSERT' THEN
        INSERT INTO audit.changes (table_name, action, row_id)
        SELECT TG_TABLE_NAME, 'INSERT', n.id::text FROM new_rows n;
        RETURN NULL;
    ELSIF TG_OP = 'TRUNCATE' THEN
        EXECUTE format('SELECT count(*) FROM %s', TG_RELID::regclass) INTO lost;
        INSERT INTO audit.changes (table_name, action, rows_deleted) VALUES (TG_TABLE_NAME, 'TRUNCATE', lost);
        RETURN NULL;
    END IF;
    IF TG_OP = 'DELETE' THEN
        INSERT INTO audit.changes (table_name, action, row_id, before_encrypted)
        SELECT TG_TABLE_NAME, 'DELETE', o.row_id, privacy.seal(d.old_values::text, seal_key)
        FROM (SELECT r.id::text AS row_id, to_jsonb(r) AS before FROM old_rows r OFFSET 0) o,
        LATERAL audit.differences(o.before, NULL, seal_key) d;
    ELSE
        -- OFFSET 0 keeps each row's JSON from being made again for each of its columns.
        INSERT INTO audit.changes (table_name, action, row_id, changed_columns, before_encrypted)
        SELECT TG_TABLE_NAME,
               CASE WHEN pair.before IS NULL THEN 'INSERT' WHEN pair.after IS NULL THEN 'DELETE' ELSE 'UPDATE' END,
               pair.row_id,
               CASE WHEN pair.after IS NOT NULL THEN d.changed_columns END,
               privacy.seal(d.old_values::text, seal_key)
        FROM (SELECT coalesce(n.id, o.id)::text AS row_id, to_jsonb(o) AS before, to_jsonb(n) AS after
              FROM old_rows o FULL JOIN new_rows n ON n.id = o.id OFFSET 0) pair,
        LATERAL audit.differences(pair.before, pair.after, seal_key) d
        WHERE pair.before IS NULL OR d.changed_columns IS NOT NULL;
    END IF;
    RETURN NULL;
END $$;
COMMENT ON FUNCTION audit.record_change() IS
    'Writes a line for each row that a statement changed, all in one statement. Runs as its owner, so that no client needs a right on schema audit.';

CREATE FUNCTION audit.watch(target REGCLASS) RETURNS VOID
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    kind RECORD;
BEGIN
    FOR kind IN
        SELECT * FROM (VALUES
            ('audit_insert', 'AFTER INSERT', 'REFERENCING NEW TABLE AS new_rows'),
            ('audit_update', 'AFTER UPDATE', 'REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows'),
            ('audit_delete', 'AFTER DELETE', 'REFERENCING OLD TABLE AS old_rows'),
            ('audit_truncate', 'BEFORE TRUNCATE', '')) AS v (name, event, rows)
    LOOP
        EXECUTE format('CREATE TRIGGER %I %s ON %s %s FOR EACH STATEMENT EXECUTE FUNCTION audit.record_change()',
                       kind.name, kind.event, target, kind.rows);
        EXECUTE format('COMMENT ON TRIGGER %I ON %s IS %L', kind.name, target, 'Writes the audit trail.');
        -- Also for sessions that have switched triggers off with session_replication_role.
        EXECUTE format('ALTER TABLE %s ENABLE ALWAYS TRIGGER %I', target, kind.name);
    END LOOP;
END $$;
COMMENT ON FUNCTION audit.watch(REGCLASS) IS
    'Has every change of a table recorded. A migration that adds a table calls it.';

DO $$
DECLARE
    target REGCLASS;
BEGIN
    FOR target IN
        SELECT c.oid::regclass FROM pg_class c
        WHERE c.relnamespace = 'public'::regnamespace AND c.relkind = 'r' ORDER BY c.relname
    LOOP
        PERFORM audit.watch(target);
    END LOOP;
END $$;

-- A client could else attach record_change to a table of its own and write lines that never happened.
REVOKE ALL ON ALL FUNCTIONS IN SCHEMA audit FROM PUBLIC;

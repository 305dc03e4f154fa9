-- privacy.protect and privacy.release lose nothing. A protected column that was renamed, or its sealed twin, was taken for one that is
-- not there: release dropped the values, and protect forgot the table's other columns, which then took plain text. Values that had
-- come in plain while the guards were gone were lost by release, and stayed in the planner's statistics after protect.

CREATE FUNCTION privacy.lost_columns(target REGCLASS) RETURNS TEXT[] LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT ARRAY(
        SELECT n.name FROM unnest(p.sealed) WITH ORDINALITY AS s (name, place), LATERAL (VALUES (s.name), (s.name || '_encrypted')) AS n (name)
        WHERE NOT EXISTS (SELECT FROM pg_attribute a WHERE a.attrelid = target AND a.attname = n.name AND NOT a.attisdropped)
        ORDER BY s.place, n.name)
    FROM privacy.protected_tables p
    WHERE p.table_name = (SELECT relname FROM pg_class WHERE oid = target)
      -- A table that was dropped and made again has nothing of it.
      AND (EXISTS (SELECT FROM pg_attribute a JOIN unnest(p.sealed) s ON a.attname = s || '_encrypted'
                   WHERE a.attrelid = target AND NOT a.attisdropped)
           OR EXISTS (SELECT FROM pg_constraint c WHERE c.conrelid = target AND c.conname = 'personal_columns_are_sealed')
           OR EXISTS (SELECT FROM pg_trigger t WHERE t.tgrelid = target AND t.tgname LIKE 'seal\_personal\_data\_on\_%'))
$$;
COMMENT ON FUNCTION privacy.lost_columns(REGCLASS) IS
    'Columns of a protected table, and sealed twins of them, that somebody has renamed or dropped. NULL for a table that was made again since.';
REVOKE ALL ON FUNCTION privacy.lost_columns(REGCLASS) FROM PUBLIC;

CREATE OR REPLACE FUNCTION privacy.refuse_table(target REGCLASS) RETURNS void LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    found RECORD;
    reason TEXT;
BEGIN
    SELECT c.*, pg_get_userbyid(c.relowner) AS owner_name, n.nspname,
           (SELECT pg_get_userbyid(s.nspowner) FROM pg_namespace s WHERE s.nspname = 'ingest') AS owner_of_all,
           ARRAY(SELECT a.attname::text FROM pg_index i JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = ANY (i.indkey)
                 WHERE i.indrelid = c.oid AND i.indisprimary) AS key,
           EXISTS (SELECT FROM privacy.protected_tables p WHERE p.table_name = c.relname) AS is_protected
    INTO found FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = target;
    reason := CASE
        WHEN found IS NULL THEN 'it is not there'
        WHEN found.nspname <> 'public' THEN
            'it is not in schema public, and roles, the audit trail and the views for analysts know the tables of that one only'
        WHEN found.relkind = 'p' OR found.relispartition THEN
            'it is partitioned, or a partition of another table: its parts could be written past what protects the whole'
        WHEN found.relkind <> 'r' THEN 'it is no table, but a view or the like: protect the table behind it'
        WHEN EXISTS (SELECT FROM pg_inherits i WHERE target IN (i.inhrelid, i.inhparent)) THEN
            'it inherits from another table, or another one from it'
        WHEN found.owner_name <> found.owner_of_all THEN
            format('it belongs to %I, and must belong to %I as the others do', found.owner_name, found.owner_of_all)
        -- What is made here belongs to who makes it, and roles.sql grants what belongs to the tables' owner.
        WHEN found.owner_name <> current_user THEN format('it belongs to %1$I: do this as that role (SET ROLE %1$I)', found.owner_name)
        WHEN found.key <> ARRAY['id'] THEN
            'it has no primary key of the one column id, by which the audit trail, the view and a rotation of the key know a row'
        WHEN (SELECT count(*) > 0 FROM privacy.rotations WHERE finished_at IS NULL) THEN
            'the encryption key is being rotated: run daybreak keys rotate, which goes on to the end, and then this again'
        WHEN found.is_protected AND privacy.lost_columns(target) <> '{}' THEN
            format('it has no column %s any more, which belongs to what is protected: give it that name again, and release it before it is renamed or dropped',
                   array_to_string(privacy.lost_columns(target), ', '))
        WHEN NOT found.is_protected AND (
                found.relrowsecurity AND NOT EXISTS (SELECT FROM pg_policy WHERE polrelid = target AND polname = 'all_rows')
                OR EXISTS (SELECT FROM pg_policy WHERE polrelid = target AND polname NOT IN ('all_rows', 'hide_soft_deleted'))) THEN
            'it has row-level security of its own, which could hide rows from a rotation of the key'
        WHEN NOT found.is_protected AND (
                to_regclass(format('app.%I', found.relname)) IS NOT NULL
                OR EXISTS (SELECT FROM pg_type WHERE typnamespace = 'app'::regnamespace AND typname = found.relname)) THEN
            format('schema app has something else by the name %I, which its view would have', found.relname)
        WHEN NOT found.is_protected AND EXISTS (
                SELECT FROM pg_proc p WHERE p.pronamespace IN ('app'::regnamespace, 'privacy'::regnamespace)
                AND (p.pronamespace::regnamespace::text, p.proname, p.pronargs) IN (
                    ('privacy', privacy.object_name('seal_', found.relname), 0),
                    ('privacy', privacy.object_name('index_names_of_', found.relname), 0),
                    ('app', privacy.object_name('update_', found.relname), 0),
                    ('app', privacy.object_name('search_', found.relname), 2))) THEN
            'a function has the name that one of its functions would have'
        END;
    IF reason IS NOT NULL THEN
        RAISE EXCEPTION 'table % cannot be protected or released: %', coalesce(found.relname, target::text), reason;
    END IF;
END $$;

CREATE OR REPLACE FUNCTION privacy.seal_strays(target REGCLASS) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET datestyle = 'ISO' AS $$
DECLARE
    relation CONSTANT TEXT := (SELECT relname FROM pg_class WHERE oid = target);
    outer_xid CONSTANT TEXT := coalesce(current_setting('daybreak.import_xid', true), '');
    plain TEXT;
    changes TEXT;
    sealed BIGINT;
BEGIN
    SELECT string_agg(format('%I', s), ', '),
           string_agg(format('%2$I = CASE WHEN %1$I IS NULL THEN %2$I ELSE privacy.seal(%1$I::text, privacy.required_key(''seal''), '
                             'privacy.tag(%3$L, %2$L)) END, %1$I = NULL', s, s || '_encrypted', 'public.' || relation), ', ')
    INTO plain, changes
    FROM privacy.protected_tables p, unnest(p.sealed) s WHERE p.table_name = relation AND s <> ALL (p.kept_plain);
    -- Nobody's record changes here, so updated_at stays: see update_updated_at_column().
    PERFORM set_config('daybreak.import_xid', pg_current_xact_id()::text, true);
    EXECUTE format('UPDATE %s SET %s WHERE num_nonnulls(%s) > 0', target, changes, plain);
    GET DIAGNOSTICS sealed = ROW_COUNT;
    IF sealed > 0 THEN
        PERFORM privacy.rebuild_name_tokens();
        EXECUTE format('ANALYZE %s', target); -- the planner's statistics show values to everybody who may read the column
        RAISE NOTICE '% rows of % had plain personal values; they are sealed now', sealed, relation
            USING HINT = 'Old versions of these rows have them until VACUUM.';
    END IF;
    PERFORM set_config('daybreak.import_xid', outer_xid, true);
END $$;

CREATE OR REPLACE FUNCTION privacy.release(target REGCLASS, columns TEXT[] DEFAULT NULL) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET datestyle = 'ISO' AS $$
DECLARE
    relation CONSTANT TEXT := (SELECT relname FROM pg_class WHERE oid = target);
    known privacy.protected_tables;
    released TEXT[];
    remaining TEXT[];
    one TEXT;
BEGIN
    PERFORM privacy.refuse_table(target);
    EXECUTE format('LOCK TABLE %s IN ACCESS EXCLUSIVE MODE', target);
    SELECT * INTO known FROM privacy.protected_tables WHERE table_name = relation;
    IF known.table_name IS NULL THEN
        RAISE EXCEPTION 'table % is not protected', relation;
    ELSIF columns IS NULL AND known.is_imported THEN
        RAISE EXCEPTION 'exports fill table %: name the columns that are to be released', relation;
    END IF;
    -- What came in plain meanwhile is the newest there is, and is put back with the others.
    PERFORM privacy.seal_strays(target);
    released := CASE WHEN columns IS NULL THEN known.sealed ELSE ARRAY(SELECT DISTINCT c FROM unnest(columns) c) END;
    FOREACH one IN ARRAY released LOOP
        IF one IS NULL OR one <> ALL (known.sealed) THEN
            RAISE EXCEPTION 'column % of table % is not protected', coalesce(one, 'NULL'), relation;
        ELSIF one = ANY (known.kept_plain) THEN
            RAISE EXCEPTION 'column % of table % is stored in plain as well: there is nothing to release', one, relation;
        END IF;
        PERFORM privacy.refuse_to_lose(target, one);
    END LOOP;
    remaining := ARRAY(SELECT s FROM unnest(known.sealed) s WHERE s <> ALL (released));

    PERFORM privacy.drop_guards(relation);
    UPDATE privacy.protected_tables p SET sealed = remaining, searched = ARRAY(SELECT s FROM unnest(p.searched) s WHERE s <> ALL (released))
    WHERE p.table_name = relation RETURNING p.* INTO known;
    PERFORM privacy.open_columns(target, released);
    IF remaining <> '{}' THEN
        PERFORM privacy.make_guards(relation);
    ELSE
        PERFORM privacy.take_away(target, known);
    END IF;
    IF released <> '{}' THEN
        EXECUTE format('ALTER TABLE %s %s', target,
                       (SELECT string_agg(format('DROP COLUMN %I', r || '_encrypted'), ', ') FROM unnest(released) r));
    END IF;
    DELETE FROM privacy.sealed_faults f WHERE f.table_name = relation AND f.column_name = ANY (released);
END $$;

-- An UPDATE of a view that set a value to NULL without the key changed nothing, and said that it had.
CREATE OR REPLACE FUNCTION privacy.make_view(target TEXT) RETURNS void LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $make$
DECLARE
    relation CONSTANT REGCLASS := format('public.%I', target);
    writing CONSTANT TEXT := privacy.object_name('update_', target);
    known privacy.protected_tables;
    columns TEXT;
    assignments TEXT;
BEGIN
    SELECT * INTO STRICT known FROM privacy.protected_tables WHERE table_name = target;
    SELECT string_agg(
               CASE WHEN e.name IS NULL THEN format('t.%I', p.attname)
                    WHEN p.atttypid = 'date'::regtype
                    THEN format('privacy.as_date(privacy.unseal(t.%1$I, (SELECT privacy.key(''seal'')), privacy.tag(%2$L, %1$L))) AS %3$I',
                                e.name, 'public.' || target, p.attname)
                    WHEN p.atttypid = 'jsonb'::regtype
                    THEN format('privacy.as_jsonb(privacy.unseal(t.%1$I, (SELECT privacy.key(''seal'')), privacy.tag(%2$L, %1$L))) AS %3$I',
                                e.name, 'public.' || target, p.attname)
                    ELSE format('privacy.unseal(t.%1$I, (SELECT privacy.key(''seal'')), privacy.tag(%2$L, %1$L))::%4$s AS %3$I',
                                e.name, 'public.' || target, p.attname, format_type(p.atttypid, p.atttypmod)) END,
               ', ' ORDER BY p.attnum),
           string_agg(
               CASE WHEN e.name IS NULL
                    -- What has no operator = of its own is compared as text.
                    THEN format('%1$I = CASE WHEN NEW.%1$I%2$s IS DISTINCT FROM OLD.%1$I%2$s THEN NEW.%1$I ELSE t.%1$I END', p.attname,
                                CASE WHEN y.typcategory = 'G' OR y.oid IN ('json'::regtype, 'xml'::regtype) THEN '::text' ELSE '' END)
                    ELSE format('%1$I = CASE WHEN NEW.%1$I IS DISTINCT FROM OLD.%1$I THEN NEW.%1$I END, '
                                '%2$I = CASE WHEN NEW.%1$I IS NULL AND OLD.%1$I IS NOT NULL THEN NULL ELSE t.%2$I END',
                                p.attname, e.name) END,
               E',\n        ' ORDER BY p.attnum) FILTER (WHERE p.attgenerated = '' AND p.attidentity <> 'a')
    INTO columns, assignments
    FROM pg_attribute p JOIN pg_type y ON y.oid = p.atttypid,
    LATERAL (SELECT CASE WHEN p.attname = ANY (known.sealed) AND p.attname <> ALL (known.kept_plain)
                         THEN p.attname || '_encrypted' END AS name) e
    WHERE p.attrelid = relation AND p.attnum > 0 AND NOT p.attisdropped
      AND NOT (p.attname LIKE '%\_encrypted' AND p.atttypid = 'bytea'::regtype)
      AND p.attname NOT IN ('name_tokens', '_source_hash', '_record_digest', '_import_id', '_record_number', '_source_updated_at',
                            '_edited_at');
    -- The key is a subquery in each column, computed once for a statement and only if the column is asked for, so that the view can
    -- be joined by any index. The condition is always true: it refuses a session with another key, whatever is asked for.
    EXECUTE format('CREATE OR REPLACE VIEW app.%1$I AS SELECT %2$s FROM public.%1$I t '
                   'WHERE (SELECT privacy.key(''seal'')) IS DISTINCT FROM ''''', target, columns);
    EXECUTE format('CREATE OR REPLACE FUNCTION app.%I() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS %L',
                   writing, format(E'\nBEGIN\n'
                   '    -- Without the key every value looks empty, so that emptying one would look like leaving it.\n'
                   '    IF coalesce(current_setting(''daybreak.encryption_key'', true), '''') = '''' THEN\n'
                   '        PERFORM privacy.required_key(''seal'');\n'
                   '    END IF;\n'
                   '    UPDATE public.%1$I t SET\n        %2$s\n    WHERE t.id = OLD.id;\n'
                                   '    RETURN CASE WHEN FOUND THEN NEW END;\nEND ', target, assignments));
    EXECUTE format('CREATE OR REPLACE TRIGGER write_to_table INSTEAD OF UPDATE ON app.%I FOR EACH ROW EXECUTE FUNCTION app.%I()',
                   target, writing);
    IF NOT known.is_imported THEN
        EXECUTE format('COMMENT ON VIEW app.%I IS %L', target,
                       'The table with its personal columns, which need the key and are NULL without.');
    END IF;
    EXECUTE format('COMMENT ON FUNCTION app.%I() IS %L', writing,
                   'Writes what an UPDATE of the view changes into the table; a personal value set to NULL is erased there.');
    EXECUTE format('COMMENT ON TRIGGER write_to_table ON app.%I IS %L', target, 'Makes the view one that can be updated.');
END $make$;

DO $$
DECLARE
    guard CONSTANT TEXT := E'    -- Without the key every value looks empty, so that emptying one would look like leaving it.\n    IF coalesce(current_setting(''daybreak.encryption_key'', true), '''') = '''' THEN\n        PERFORM privacy.required_key(''seal'');\n    END IF;\n';
    writing REGPROCEDURE;
BEGIN
    FOR writing IN
        SELECT p.oid FROM privacy.protected_tables t JOIN pg_proc p ON p.proname = privacy.object_name('update_', t.table_name)
        WHERE p.pronamespace = 'app'::regnamespace AND p.pronargs = 0
    LOOP
        EXECUTE replace(pg_get_functiondef(writing), E'\nBEGIN\n    UPDATE', E'\nBEGIN\n' || guard || '    UPDATE');
    END LOOP;
END $$;

-- A database that nothing was imported into took any key after the one that protect had sealed its rows with.
CREATE OR REPLACE FUNCTION privacy.seal_columns(target REGCLASS, fresh TEXT[]) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET datestyle = 'ISO' AS $$
DECLARE
    relation CONSTANT TEXT := (SELECT relname FROM pg_class WHERE oid = target);
    searched CONSTANT TEXT[] := (SELECT p.searched FROM privacy.protected_tables p WHERE p.table_name = relation);
    has_values BOOLEAN;
    one TEXT;
BEGIN
    EXECUTE format('SELECT EXISTS (SELECT FROM %s WHERE num_nonnulls(%s) > 0)', target,
                   (SELECT string_agg(format('%I', f), ', ') FROM unnest(fresh) f)) INTO has_values;
    IF has_values THEN
        PERFORM privacy.required_key('seal');
        -- As an import does: the first key that seals is the database's, and every other one is refused from then on.
        INSERT INTO privacy.key_check (check_value) VALUES (privacy.required_key('check')) ON CONFLICT DO NOTHING;
    END IF;
    EXECUTE format('ALTER TABLE %s %s', target,
                   (SELECT string_agg(format('ADD COLUMN %I BYTEA', f || '_encrypted'), ', ') FROM unnest(fresh) f));
    FOREACH one IN ARRAY fresh LOOP
        EXECUTE format('COMMENT ON COLUMN %s.%I IS %L', target, one || '_encrypted', format('Sealed %s (pgcrypto, AES-256).', one));
    END LOOP;
    -- By writing the table again: no trigger of its own fires, and neither old versions of rows nor the planner's
    -- statistics keep a plain value.
    EXECUTE format('ALTER TABLE %s %s', target, (
        SELECT string_agg(format(
                   'ALTER COLUMN %2$I TYPE bytea USING CASE WHEN %1$I IS NOT NULL THEN privacy.seal(%1$I::text, '
                   'privacy.required_key(''seal''), privacy.tag(%3$L, %2$L)) END, ALTER COLUMN %1$I TYPE %4$s USING NULL',
                   a.attname, a.attname || '_encrypted', 'public.' || relation, privacy.column_type(target, a.attname)), ', ')
        FROM pg_attribute a WHERE a.attrelid = target AND a.attname = ANY (fresh)));
    IF fresh && searched THEN
        IF NOT EXISTS (SELECT FROM pg_attribute WHERE attrelid = target AND attname = 'name_tokens' AND NOT attisdropped) THEN
            EXECUTE format('ALTER TABLE %s ADD COLUMN name_tokens BYTEA[]', target);
            EXECUTE format('COMMENT ON COLUMN %s.name_tokens IS %L', target,
                           'Blind index: keyed hashes of the words of the searched columns and of how these begin.');
            EXECUTE format('CREATE INDEX ON %s USING gin (name_tokens) WITH (gin_pending_list_limit = 256)', target);
        END IF;
        PERFORM privacy.index_rows(target);
    END IF;
END $$;

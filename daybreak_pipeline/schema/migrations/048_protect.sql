-- privacy.protect gives a table of an application what the plan's tables with personal columns have: sealed twins, the
-- triggers and the CHECK that keep personal values from being stored in plain, a reading view, search, the audit trail,
-- row-level security. privacy.release takes it back. Grants are for privacy/roles.sql, as they are for every table.

-- What is refused is said in one sentence that names table and column, so that a migration can tell it as it is.
CREATE FUNCTION privacy.refuse_table(target REGCLASS) RETURNS void LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
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
COMMENT ON FUNCTION privacy.refuse_table(REGCLASS) IS 'Refuses a table that privacy.protect cannot protect, and says why.';

CREATE FUNCTION privacy.refuse_column(target REGCLASS, wanted TEXT, is_searched BOOLEAN) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    relation CONSTANT TEXT := (SELECT relname FROM pg_class WHERE oid = target);
    found RECORD;
    reason TEXT;
BEGIN
    SELECT a.* INTO found FROM pg_attribute a
    WHERE a.attrelid = target AND a.attname = wanted AND a.attnum > 0 AND NOT a.attisdropped;
    IF found IS NULL THEN
        RAISE EXCEPTION 'table % has no column %', relation, coalesce(quote_literal(wanted), 'NULL') USING ERRCODE = 'undefined_column';
    END IF;
    reason := CASE
        WHEN found.attgenerated <> '' THEN 'it is generated from other columns: protect those'
        WHEN found.atttypid NOT IN ('text'::regtype, 'varchar'::regtype, 'date'::regtype, 'jsonb'::regtype) THEN
            format('it is of type %s, and what is sealed is text, varchar, date or jsonb', format_type(found.atttypid, found.atttypmod))
        WHEN is_searched AND found.atttypid NOT IN ('text'::regtype, 'varchar'::regtype) THEN 'only text and varchar can be searched'
        WHEN octet_length(wanted) > 53 THEN
            format('its name has %s bytes, and %s_encrypted can have 63 at most', octet_length(wanted), left(wanted, 8) || '…')
        WHEN EXISTS (SELECT FROM pg_attribute t WHERE t.attrelid = target AND t.attname = wanted || '_encrypted' AND NOT t.attisdropped) THEN
            format('the table has a column %I already, which its sealed values would go into', wanted || '_encrypted')
        WHEN found.attnotnull THEN
            'it is NOT NULL, and a sealed column is empty in plain and where a person was erased: ALTER TABLE … ALTER COLUMN … DROP NOT NULL first'
        WHEN found.atthasdef THEN 'it has a default, which no personal value has: ALTER TABLE … ALTER COLUMN … DROP DEFAULT first'
        ELSE (
            -- Keys, indexes, CHECKs, statistics, views, policies, triggers: all would see NULL, and some keep plain values.
            SELECT format('%s uses it and would find NULL in every row: drop that first, and read the view of schema app instead',
                          string_agg(DISTINCT pg_describe_object(d.classid, d.objid, d.objsubid), ', '))
            FROM pg_depend d LEFT JOIN pg_rewrite w ON d.classid = 'pg_rewrite'::regclass AND w.oid = d.objid
                LEFT JOIN pg_class v ON v.oid = w.ev_class
            WHERE d.refclassid = 'pg_class'::regclass AND d.refobjid = target AND d.refobjsubid = found.attnum
              AND (v.oid IS NULL OR v.oid NOT IN (SELECT c.oid FROM pg_class c WHERE c.relname = relation AND c.relkind = 'v'
                                                  AND c.relnamespace IN ('app'::regnamespace, 'reporting'::regnamespace)))
            HAVING count(*) > 0)
        END;
    IF reason IS NOT NULL THEN
        RAISE EXCEPTION 'column % of table % cannot be protected: %', wanted, relation, reason;
    END IF;
END $$;
COMMENT ON FUNCTION privacy.refuse_column(REGCLASS, TEXT, BOOLEAN) IS 'Refuses a column that privacy.protect cannot protect, and says why.';

CREATE FUNCTION privacy.drop_guards(target TEXT) RETURNS void LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp
SET client_min_messages = warning AS $$
BEGIN
    EXECUTE format('DROP TRIGGER IF EXISTS seal_personal_data_on_insert ON public.%I', target);
    EXECUTE format('DROP TRIGGER IF EXISTS seal_personal_data_on_update ON public.%I', target);
    EXECUTE format('DROP TRIGGER IF EXISTS index_names_on_update ON public.%I', target);
    EXECUTE format('ALTER TABLE public.%I DROP CONSTRAINT IF EXISTS personal_columns_are_sealed', target);
    EXECUTE format('DROP VIEW IF EXISTS reporting.%I', target);
    -- Other views are made of those of the plan's tables, and none of these shows a column that is not protected yet.
    IF NOT EXISTS (SELECT FROM privacy.protected_tables WHERE table_name = target AND is_imported) THEN
        EXECUTE format('DROP FUNCTION IF EXISTS app.%I(TEXT, INTEGER)', privacy.object_name('search_', target));
        EXECUTE format('DROP VIEW IF EXISTS app.%I', target);
    END IF;
END $$;
COMMENT ON FUNCTION privacy.drop_guards(TEXT) IS
    'Drops what stands in the way of changing the columns of a protected table. What calls it makes it again, in the same transaction.';

CREATE FUNCTION privacy.protect(target REGCLASS, columns TEXT[] DEFAULT '{}', search TEXT[] DEFAULT '{}') RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET datestyle = 'ISO' AS $$
DECLARE
    relation CONSTANT TEXT := (SELECT relname FROM pg_class WHERE oid = target);
    wanted CONSTANT TEXT[] := ARRAY(SELECT u.name FROM unnest(columns) WITH ORDINALITY AS u (name, place)
                                    GROUP BY u.name ORDER BY min(u.place));
    sought CONSTANT TEXT[] := ARRAY(SELECT DISTINCT c FROM unnest(search) c);
    known privacy.protected_tables;
    fresh TEXT[] := '{}';
    one TEXT;
BEGIN
    PERFORM privacy.refuse_table(target);
    EXECUTE format('LOCK TABLE %s IN ACCESS EXCLUSIVE MODE', target);
    -- One that was dropped and made again is another.
    DELETE FROM privacy.protected_tables p WHERE p.table_name = relation AND EXISTS (
        SELECT FROM unnest(p.sealed) s
        WHERE NOT EXISTS (SELECT FROM pg_attribute a WHERE a.attrelid = target AND a.attname = s || '_encrypted' AND NOT a.attisdropped));
    SELECT * INTO known FROM privacy.protected_tables WHERE table_name = relation;
    FOREACH one IN ARRAY sought LOOP
        IF one IS NULL OR one <> ALL (wanted) THEN
            RAISE EXCEPTION 'column % of table % is to be searched, and is not among the columns to protect', coalesce(one, 'NULL'), relation;
        END IF;
    END LOOP;
    FOREACH one IN ARRAY wanted LOOP
        IF one = ANY (known.sealed) THEN
            IF (one = ANY (sought)) <> (one = ANY (known.searched)) THEN
                RAISE EXCEPTION 'column % of table % is protected already, % search: release it first (privacy.release)', one, relation,
                    CASE WHEN one = ANY (sought) THEN 'without' ELSE 'with' END;
            END IF;
        ELSE
            PERFORM privacy.refuse_column(target, one, one = ANY (sought));
            fresh := fresh || one;
        END IF;
    END LOOP;
    IF known.table_name IS NULL AND fresh = '{}' THEN
        RAISE EXCEPTION 'table % has no protected column yet: name one', relation;
    ELSIF sought <> '{}' AND EXISTS (SELECT FROM pg_attribute
                                     WHERE attrelid = target AND attname = '_source_hash' AND NOT attisdropped) THEN
        RAISE EXCEPTION 'columns of table % cannot be searched: exports fill it, and search_people knows which names it finds', relation;
    ELSIF sought <> '{}' AND coalesce(known.searched, '{}') = '{}' AND EXISTS (
            SELECT FROM pg_attribute WHERE attrelid = target AND attname = 'name_tokens' AND NOT attisdropped) THEN
        RAISE EXCEPTION 'columns of table % cannot be searched: it has a column name_tokens, which the blind index would be', relation;
    END IF;

    PERFORM privacy.drop_guards(relation);
    INSERT INTO privacy.protected_tables AS p (table_name, sealed, searched, is_imported, added)
    VALUES (relation, fresh, ARRAY(SELECT f FROM unnest(fresh) f WHERE f = ANY (sought)),
            EXISTS (SELECT FROM pg_attribute WHERE attrelid = target AND attname = '_source_hash' AND NOT attisdropped),
            privacy.add_what_tables_have(target))
    ON CONFLICT (table_name) DO UPDATE
    SET sealed = p.sealed || EXCLUDED.sealed, searched = p.searched || EXCLUDED.searched, added = p.added || EXCLUDED.added;
    IF fresh <> '{}' THEN
        PERFORM privacy.seal_columns(target, fresh);
    END IF;
    PERFORM privacy.seal_strays(target);
    PERFORM privacy.make_guards(relation);
END $$;
COMMENT ON FUNCTION privacy.protect(REGCLASS, TEXT[], TEXT[]) IS
    'Protects personal columns of a table, and seals the values that are there, which takes the key. Called again it protects '
    'further columns; without columns it makes triggers, CHECK, view and functions again.';

CREATE FUNCTION privacy.add_what_tables_have(target REGCLASS) RETURNS TEXT[]
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    added TEXT[] := '{}';
BEGIN
    IF NOT (SELECT relrowsecurity FROM pg_class WHERE oid = target) THEN
        EXECUTE format('ALTER TABLE %s ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY', target);
        EXECUTE format('CREATE POLICY all_rows ON %s USING (true) WITH CHECK (true)', target);
        EXECUTE format('COMMENT ON POLICY all_rows ON %s IS %L', target,
                       'Who has the privilege reads and writes every row, unless a restrictive policy hides it.');
        added := added || 'row security'::text;
    END IF;
    IF NOT EXISTS (SELECT FROM pg_trigger WHERE tgrelid = target AND tgname = 'audit_insert') THEN
        PERFORM audit.watch(target);
        added := added || 'audit trail'::text;
    END IF;
    RETURN added;
END $$;
COMMENT ON FUNCTION privacy.add_what_tables_have(REGCLASS) IS
    'Gives a table row-level security and the audit trail, where it has none; returns what was added.';

CREATE FUNCTION privacy.seal_columns(target REGCLASS, fresh TEXT[]) RETURNS void
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
COMMENT ON FUNCTION privacy.seal_columns(REGCLASS, TEXT[]) IS
    'Adds the sealed twins of columns and seals the values that are there, in sets; with their blind index where they are searched.';

CREATE FUNCTION privacy.seal_strays(target REGCLASS) RETURNS void
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
        RAISE NOTICE '% rows of % had plain personal values; they are sealed now', sealed, relation;
    END IF;
    PERFORM set_config('daybreak.import_xid', outer_xid, true);
END $$;
COMMENT ON FUNCTION privacy.seal_strays(REGCLASS) IS
    'Seals plain values in columns that were protected before: somebody had dropped the guards of the table.';

CREATE FUNCTION privacy.column_type(target REGCLASS, column_name TEXT) RETURNS TEXT
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT format_type(a.atttypid, a.atttypmod)
           || CASE WHEN l.oid IS NULL THEN '' ELSE format(' COLLATE %I.%I', n.nspname, l.collname) END
    FROM pg_attribute a LEFT JOIN pg_collation l ON l.oid = a.attcollation AND l.collname <> 'default'
        LEFT JOIN pg_namespace n ON n.oid = l.collnamespace
    WHERE a.attrelid = target AND a.attname = column_name
$$;
COMMENT ON FUNCTION privacy.column_type(REGCLASS, TEXT) IS 'A column''s type as SQL, with length and collation.';

CREATE FUNCTION privacy.index_rows(target REGCLASS) RETURNS void LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    relation CONSTANT TEXT := (SELECT relname FROM pg_class WHERE oid = target);
BEGIN
    EXECUTE format('ALTER TABLE %s ALTER COLUMN name_tokens TYPE bytea[] USING CASE WHEN num_nonnulls(%s) > 0 THEN '
                   'privacy.name_tokens(%s, privacy.required_key(''search'')) END', target,
                   (SELECT string_agg(format('%I', s || '_encrypted'), ', ')
                    FROM privacy.protected_tables p, unnest(p.searched) s WHERE p.table_name = relation),
                   privacy.names_of(relation, format('%I', relation), 'privacy.required_key(''seal'')'));
END $$;
COMMENT ON FUNCTION privacy.index_rows(REGCLASS) IS
    'Makes the blind index of all rows of a protected table, whose triggers are not there meanwhile.';

CREATE FUNCTION privacy.release(target REGCLASS, columns TEXT[] DEFAULT NULL) RETURNS void
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
COMMENT ON FUNCTION privacy.release(REGCLASS, TEXT[]) IS
    'The rollback of privacy.protect: puts the values of these columns, or of all, back in plain, which takes the key, and takes away what protected them. Nothing is changed where a value does not open.';

CREATE FUNCTION privacy.refuse_to_lose(target REGCLASS, released TEXT) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET datestyle = 'ISO' AS $$
DECLARE
    relation CONSTANT TEXT := (SELECT relname FROM pg_class WHERE oid = target);
    stored BIGINT;
    closed BIGINT;
    kind TEXT;
    longest INTEGER;
BEGIN
    EXECUTE format('SELECT count(%I) FROM %s', released || '_encrypted', target) INTO stored;
    IF stored = 0 THEN
        RETURN;
    ELSIF privacy.key('seal') IS NULL THEN -- refuses another key than the database's
        RAISE EXCEPTION 'this session has no encryption key, so the % values of column % of table % cannot be opened; nothing was changed',
            stored, released, relation
            USING ERRCODE = 'invalid_authorization_specification',
                  HINT = 'SELECT set_config(''daybreak.encryption_key'', $1, true), with the key as a bound parameter.';
    END IF;
    SELECT format_type(atttypid, NULL), CASE WHEN atttypid = 'varchar'::regtype AND atttypmod > 0 THEN atttypmod - 4 END
    INTO kind, longest FROM pg_attribute WHERE attrelid = target AND attname = released;
    EXECUTE format('SELECT count(privacy.sealed_fault(t.%1$I, %2$L, %3$L::integer, held.key, privacy.tag(%4$L, %1$L))) '
                   'FROM %5$s t, (SELECT privacy.required_key(''seal'') AS key) held',
                   released || '_encrypted', kind, longest, 'public.' || relation, target) INTO closed;
    IF closed > 0 THEN
        RAISE EXCEPTION '% of % values of column % of table % do not open, were sealed for another column or do not fit, and would be lost; nothing was changed',
            closed, stored, released, relation;
    END IF;
END $$;
COMMENT ON FUNCTION privacy.refuse_to_lose(REGCLASS, TEXT) IS
    'Refuses to release a column of which a value cannot be put back in plain with the session''s key.';

CREATE FUNCTION privacy.open_columns(target REGCLASS, released TEXT[]) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET datestyle = 'ISO' AS $$
DECLARE
    relation CONSTANT TEXT := (SELECT relname FROM pg_class WHERE oid = target);
    still_searched CONSTANT BOOLEAN := (SELECT p.searched <> '{}' FROM privacy.protected_tables p WHERE p.table_name = relation);
    changes CONSTANT TEXT := (
        SELECT string_agg(format(
                   'ALTER COLUMN %1$I TYPE %2$s USING CASE WHEN %3$I IS NOT NULL THEN %4$s(privacy.unseal(%3$I, '
                   'privacy.required_key(''seal''), privacy.tag(%5$L, %3$L)))::%6$s END', a.attname, privacy.column_type(target, a.attname),
                   a.attname || '_encrypted',
                   CASE a.atttypid WHEN 'date'::regtype THEN 'privacy.as_date' WHEN 'jsonb'::regtype THEN 'privacy.as_jsonb' ELSE '' END,
                   'public.' || relation, format_type(a.atttypid, a.atttypmod)), ', ')
        FROM pg_attribute a WHERE a.attrelid = target AND a.attname = ANY (released));
BEGIN
    IF changes IS NOT NULL THEN
        EXECUTE format('ALTER TABLE %s %s', target, changes);
    END IF;
    IF still_searched THEN
        PERFORM privacy.index_rows(target);
    ELSIF NOT (SELECT p.is_imported FROM privacy.protected_tables p WHERE p.table_name = relation) THEN
        EXECUTE format('ALTER TABLE %s DROP COLUMN IF EXISTS name_tokens', target);
    END IF;
END $$;
COMMENT ON FUNCTION privacy.open_columns(REGCLASS, TEXT[]) IS
    'Puts the values of columns back in plain, in sets, and has the blind index follow.';

CREATE FUNCTION privacy.take_away(target REGCLASS, known privacy.protected_tables) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp SET client_min_messages = warning AS $$
DECLARE
    name TEXT;
BEGIN
    IF 'audit trail' = ANY (known.added) THEN
        FOREACH name IN ARRAY ARRAY['audit_insert', 'audit_update', 'audit_delete', 'audit_truncate'] LOOP
            EXECUTE format('DROP TRIGGER IF EXISTS %I ON %s', name, target);
        END LOOP;
    END IF;
    IF 'row security' = ANY (known.added) THEN
        EXECUTE format('DROP POLICY IF EXISTS all_rows ON %s', target);
        EXECUTE format('DROP POLICY IF EXISTS hide_soft_deleted ON %s', target);
        EXECUTE format('ALTER TABLE %s DISABLE ROW LEVEL SECURITY, NO FORCE ROW LEVEL SECURITY', target);
        IF to_regrole('daybreak_reporting') IS NOT NULL THEN
            EXECUTE format('REVOKE ALL ON %s FROM daybreak_reporting', target);
        END IF;
    END IF;
    EXECUTE format('DROP FUNCTION privacy.%I()', privacy.object_name('seal_', known.table_name));
    EXECUTE format('DROP FUNCTION app.%I()', privacy.object_name('update_', known.table_name));
    EXECUTE format('DROP FUNCTION IF EXISTS privacy.%I()', privacy.object_name('index_names_of_', known.table_name));
    DELETE FROM privacy.protected_tables p WHERE p.table_name = known.table_name;
    DELETE FROM privacy.sealed_looks l WHERE l.table_name = known.table_name;
    DELETE FROM ingest.check_results r WHERE r.table_name = known.table_name; -- nothing checks it any more
END $$;
COMMENT ON FUNCTION privacy.take_away(REGCLASS, privacy.protected_tables) IS
    'Takes away from a table without protected columns what privacy.protect gave it.';

-- Only the tables' owner can use them, whoever calls them; nobody else needs to.
DO $$
DECLARE
    function REGPROCEDURE;
BEGIN
    FOR function IN
        SELECT p.oid FROM pg_proc p WHERE p.pronamespace = 'privacy'::regnamespace AND p.proname IN (
            'refuse_table', 'refuse_column', 'refuse_to_lose', 'drop_guards', 'protect', 'release', 'add_what_tables_have',
            'seal_columns', 'seal_strays', 'column_type', 'index_rows', 'open_columns', 'take_away')
    LOOP
        EXECUTE format('REVOKE ALL ON FUNCTION %s FROM PUBLIC', function);
    END LOOP;
END $$;

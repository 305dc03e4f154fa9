-- Which tables have personal columns, and what protects them, in one place: a registry, and functions that make a table's
-- triggers, CHECK and views from it. Migrations made them table by table before. The plan's three tables get theirs
-- from here now, and so do those that a team adds (privacy.protect). See docs/adr/0020.

CREATE TABLE privacy.protected_tables (
    table_name TEXT PRIMARY KEY,
    sealed TEXT[] NOT NULL,
    searched TEXT[] NOT NULL DEFAULT '{}',
    kept_plain TEXT[] NOT NULL DEFAULT '{}',
    is_imported BOOLEAN NOT NULL DEFAULT false,
    added TEXT[] NOT NULL DEFAULT '{}',
    renewed_at TIMESTAMPTZ NOT NULL DEFAULT clock_timestamp(),
    CONSTRAINT protected_tables_search_what_is_sealed CHECK (sealed @> searched AND sealed @> kept_plain)
);
COMMENT ON TABLE privacy.protected_tables IS
    'The tables with personal columns; privacy.protect and privacy.release write it. What goes over all of them reads it.';
COMMENT ON COLUMN privacy.protected_tables.table_name IS 'The table in schema public.';
COMMENT ON COLUMN privacy.protected_tables.sealed IS 'Columns whose values are stored in NAME_encrypted.';
COMMENT ON COLUMN privacy.protected_tables.searched IS 'Those of them whose words are in the blind index, name_tokens.';
COMMENT ON COLUMN privacy.protected_tables.kept_plain IS 'Those of them that are stored in plain as well.';
COMMENT ON COLUMN privacy.protected_tables.is_imported IS 'Whether exports fill the table; else it is an application''s.';
COMMENT ON COLUMN privacy.protected_tables.added IS
    'What privacy.protect gave the table that privacy.release takes away again: audit trail, row security.';
COMMENT ON COLUMN privacy.protected_tables.renewed_at IS 'When its triggers and views were last made: grants are older or newer.';

CREATE FUNCTION privacy.object_name(prefix TEXT, table_name TEXT) RETURNS TEXT LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT CASE WHEN octet_length(prefix || table_name) <= 63 THEN prefix || table_name
                ELSE (SELECT left(prefix || table_name, max(n)) FROM generate_series(1, 54) n
                      WHERE octet_length(left(prefix || table_name, n)) <= 54) || '_' || left(md5(table_name), 8) END
$$;
COMMENT ON FUNCTION privacy.object_name(TEXT, TEXT) IS
    'The name of what belongs to a table, such as seal_clinicians. One that PostgreSQL would cut off at 63 bytes ends with a hash.';

CREATE FUNCTION privacy.names_of(target TEXT, row_name TEXT, key_name TEXT) RETURNS TEXT
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp AS $$
    SELECT 'concat_ws('' ''' || string_agg(format(', privacy.unseal(%3$s.%1$I, %4$s, privacy.tag(%2$L, %1$L))',
                                                  s.name || '_encrypted', 'public.' || target, row_name, key_name),
                                           '' ORDER BY s.place) || ')'
    FROM privacy.protected_tables p, unnest(p.searched) WITH ORDINALITY AS s (name, place)
    WHERE p.table_name = target
$$;
COMMENT ON FUNCTION privacy.names_of(TEXT, TEXT, TEXT) IS
    'SQL for what the blind index of a row is made of: the texts of its searched columns. NULL where there is none.';

-- Values from outside are names of tables and columns only, and all of them are quoted, in the bodies of functions too.
CREATE FUNCTION privacy.make_sealing(target TEXT) RETURNS void LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $make$
DECLARE
    sealing CONSTANT TEXT := privacy.object_name('seal_', target);
    names CONSTANT TEXT := privacy.names_of(target, 'NEW', 'names');
    known privacy.protected_tables;
    plain TEXT;
    any_plain TEXT;
    kept TEXT;
    body TEXT;
BEGIN
    SELECT * INTO STRICT known FROM privacy.protected_tables WHERE table_name = target;
    SELECT string_agg(format(E'    NEW.%1$I := privacy.seal(NEW.%2$I, key, privacy.tag(%3$L, %1$L));\n',
                             a.attname || '_encrypted', a.attname, 'public.' || target), '' ORDER BY a.attnum)
               FILTER (WHERE a.attname = ANY (known.kept_plain)),
           string_agg(format(
               E'    IF NEW.%1$I IS NOT NULL THEN\n'
               '        NEW.%2$I := privacy.seal(NEW.%1$I::text, key, privacy.tag(%3$L, %2$L));\n'
               '        NEW.%1$I := NULL;\n'
               '    END IF;\n', a.attname, a.attname || '_encrypted', 'public.' || target), '' ORDER BY a.attnum)
               FILTER (WHERE a.attname <> ALL (known.kept_plain)),
           string_agg(format('%I', a.attname), ', ' ORDER BY a.attnum) FILTER (WHERE a.attname <> ALL (known.kept_plain)),
           string_agg(format('NEW.%I IS NOT NULL', a.attname), ' OR ' ORDER BY a.attnum)
               FILTER (WHERE a.attname <> ALL (known.kept_plain))
    INTO kept, body, plain, any_plain
    FROM pg_attribute a
    WHERE a.attrelid = format('public.%I', target)::regclass AND NOT a.attisdropped AND a.attname = ANY (known.sealed);
    body := concat(kept, body);
    IF names IS NOT NULL THEN
        body := body || E'    names := privacy.key(''seal'');\n    NEW.name_tokens := privacy.name_tokens('
            || names || E', privacy.required_key(''search''));\n';
    END IF;
    body := E'\nDECLARE\n    key BYTEA;\n    names BYTEA;\nBEGIN\n'
        '    -- The importer writes ciphertext itself. What it writes in plain the table refuses.\n'
        '    IF current_setting(''daybreak.import_xid'', true) = pg_current_xact_id()::text\n'
        '       AND has_table_privilege(TG_RELID, ''TRIGGER WITH GRANT OPTION'') THEN\n'
        '        RETURN NEW;\n    END IF;\n'
        '    key := privacy.required_key(''seal'');\n' || body || E'    RETURN NEW;\nEND ';
    EXECUTE format('CREATE OR REPLACE FUNCTION privacy.%I() RETURNS trigger LANGUAGE plpgsql '
                   'SET search_path = public, pg_temp SET datestyle = ''ISO'' AS %L', sealing, body);
    EXECUTE format('COMMENT ON FUNCTION privacy.%I() IS %L', sealing,
                   'Seals the personal values that a client writes, and refuses them when the session has no key.');
    EXECUTE format('CREATE OR REPLACE TRIGGER seal_personal_data_on_insert BEFORE INSERT ON public.%I FOR EACH ROW WHEN (%s) '
                   'EXECUTE FUNCTION privacy.%I()', target,
                   any_plain || coalesce((SELECT string_agg(format(' OR NEW.%I IS NOT NULL', k), '') FROM unnest(known.kept_plain) k), ''),
                   sealing);
    EXECUTE format('CREATE OR REPLACE TRIGGER seal_personal_data_on_update BEFORE UPDATE ON public.%I FOR EACH ROW WHEN (%s) '
                   'EXECUTE FUNCTION privacy.%I()', target,
                   any_plain || coalesce((SELECT string_agg(format(' OR NEW.%1$I IS DISTINCT FROM OLD.%1$I', k), '')
                                          FROM unnest(known.kept_plain) k), ''),
                   sealing);
    IF NOT EXISTS (SELECT FROM pg_constraint WHERE conrelid = format('public.%I', target)::regclass
                                               AND conname = 'personal_columns_are_sealed' AND convalidated) THEN
        EXECUTE format('ALTER TABLE public.%I ADD CONSTRAINT personal_columns_are_sealed CHECK (num_nonnulls(%s) = 0)', target, plain);
        EXECUTE format('COMMENT ON CONSTRAINT personal_columns_are_sealed ON public.%I IS %L', target,
                       'No personal value is ever stored in plain, whoever writes it: triggers seal what clients write.');
    END IF;
END $make$;
COMMENT ON FUNCTION privacy.make_sealing(TEXT) IS
    'Makes the triggers that seal what clients write into a protected table, and the CHECK that keeps its plain columns NULL.';

CREATE FUNCTION privacy.make_view(target TEXT) RETURNS void LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $make$
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
                   writing, format(E'\nBEGIN\n    UPDATE public.%1$I t SET\n        %2$s\n    WHERE t.id = OLD.id;\n'
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
COMMENT ON FUNCTION privacy.make_view(TEXT) IS
    'Makes the view of schema app in which a protected table is read and updated, with the key.';

CREATE FUNCTION privacy.make_name_index(target TEXT) RETURNS void LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $make$
DECLARE
    indexing CONSTANT TEXT := privacy.object_name('index_names_of_', target);
    names CONSTANT TEXT := privacy.names_of(target, 'NEW', 'key');
    is_new TEXT;
    was TEXT;
    changed TEXT;
BEGIN
    IF names IS NULL THEN
        RETURN;
    END IF;
    SELECT string_agg(format('NEW.%I', s.name || '_encrypted'), ', ' ORDER BY s.place),
           string_agg(format('OLD.%I', s.name || '_encrypted'), ', ' ORDER BY s.place),
           string_agg(format('NEW.%1$I IS DISTINCT FROM OLD.%1$I OR ', s.name || '_encrypted'), '' ORDER BY s.place)
    INTO is_new, was, changed
    FROM privacy.protected_tables p, unnest(p.searched) WITH ORDINALITY AS s (name, place) WHERE p.table_name = target;
    EXECUTE format('CREATE OR REPLACE FUNCTION privacy.%I() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS %L',
        indexing, format(
        E'\nDECLARE\n    key BYTEA;\nBEGIN\n'
        '    IF current_setting(''daybreak.import_xid'', true) = pg_current_xact_id()::text\n'
        '       AND has_table_privilege(TG_RELID, ''TRIGGER WITH GRANT OPTION'') THEN\n'
        '        RETURN NEW;\n'
        '    ELSIF num_nonnulls(%1$s) = 0 THEN\n'
        '        NEW.name_tokens := NULL; -- takes no key\n'
        '        RETURN NEW;\n'
        '    ELSIF ROW(%1$s) IS NOT DISTINCT FROM ROW(%2$s) THEN\n'
        '        IF NOT has_table_privilege(TG_RELID, ''TRIGGER WITH GRANT OPTION'') THEN\n'
        '            NEW.name_tokens := OLD.name_tokens; -- what somebody is found by follows from the names\n'
        '        END IF;\n'
        '        RETURN NEW;\n'
        '    END IF;\n'
        '    key := privacy.required_key(''seal'');\n'
        '    NEW.name_tokens := privacy.name_tokens(%3$s, privacy.required_key(''search''));\n'
        '    RETURN NEW;\nEND ', is_new, was, names));
    EXECUTE format('COMMENT ON FUNCTION privacy.%I() IS %L', indexing,
                   'Makes the blind index of a row whose sealed names somebody has written or cleared; needs the key unless none is left.');
    -- By its name before the trigger that seals, which makes the index of names that came in plain.
    EXECUTE format('CREATE OR REPLACE TRIGGER index_names_on_update BEFORE UPDATE ON public.%1$I FOR EACH ROW WHEN '
                   '(%2$sNEW.name_tokens IS DISTINCT FROM OLD.name_tokens) EXECUTE FUNCTION privacy.%3$I()',
                   target, changed, indexing);
    EXECUTE format('COMMENT ON TRIGGER index_names_on_update ON public.%I IS %L', target,
                   'Has the blind index follow the names where their ciphertext is written.');
END $make$;
COMMENT ON FUNCTION privacy.make_name_index(TEXT) IS
    'Makes the trigger by which the blind index of a protected table follows its names.';

CREATE FUNCTION privacy.rows_called(target TEXT, query TEXT, max_rows INTEGER) RETURNS TABLE (row_id TEXT)
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp SET enable_seqscan = off AS $$
DECLARE
    keys CONSTANT BYTEA[] := privacy.search_keys();
    reading CONSTANT TEXT := 'app.' || privacy.object_name('search_', target);
    relation CONSTANT REGCLASS := format('public.%I', target);
    whole TEXT[];
    beginnings TEXT[];
    key BYTEA;
    more TEXT[];
    found TEXT[] := '{}';
BEGIN
    IF keys = '{}' THEN
        RAISE EXCEPTION 'this session has no encryption key, so % cannot be searched', target
            USING ERRCODE = 'invalid_authorization_specification',
                  HINT = 'SELECT set_config(''daybreak.encryption_key'', $1, true), with the key as a bound parameter.';
    ELSIF max_rows IS NULL OR max_rows NOT BETWEEN 1 AND 1000 THEN
        RAISE EXCEPTION 'max_rows is not from 1 to 1000' USING ERRCODE = 'invalid_parameter_value';
    END IF;
    SELECT coalesce(array_agg(word) FILTER (WHERE NOT begins), '{}'), coalesce(array_agg(word) FILTER (WHERE begins), '{}')
    INTO whole, beginnings FROM privacy.query_words(query);
    IF EXISTS (SELECT FROM unnest(beginnings) word WHERE length(word) < 3) THEN
        RAISE EXCEPTION 'a beginning of a name has fewer than three letters before the *'
            USING ERRCODE = 'invalid_parameter_value', HINT = 'Write three letters or more, or the whole word without *.';
    END IF;
    -- While a key is rotated, rows are indexed under the new one or still under the old one.
    FOREACH key IN ARRAY keys LOOP
        CONTINUE WHEN whole || beginnings = '{}' OR cardinality(found) >= max_rows;
        EXECUTE format('SELECT array_agg(f.id::text) FROM (SELECT t.id FROM public.%1$I t '
                       'WHERE t.name_tokens @> $1 AND %2$s AND privacy.is_called(%3$s, $2, $3) AND t.id::text <> ALL ($6) '
                       'ORDER BY t.id LIMIT $5) f', target, coalesce(reporting.live_rows(relation), 'true'), privacy.names_of(target, 't', '$4'))
        INTO more
        USING ARRAY(SELECT privacy.name_token(word || '.', key) FROM unnest(whole) word)
                  || ARRAY(SELECT privacy.name_token(left(word, 6), key) FROM unnest(beginnings) word),
              whole, beginnings, privacy.key('seal'), max_rows - cardinality(found), found;
        found := found || coalesce(more, '{}');
    END LOOP;
    -- As audit.record_reads does for search_people, whose searches are of people and not of one table.
    IF NOT current_setting('transaction_read_only')::boolean THEN
        INSERT INTO audit.changes (table_name, action, reading, launched_by, rows_read, before_encrypted)
        VALUES (target, 'READ', reading, left(nullif(current_setting('daybreak.person', true), ''), 200),
                cardinality(found), privacy.seal(jsonb_build_object('query', query)::text, privacy.key('seal'),
                                                 privacy.tag('audit.changes', 'before_encrypted')));
    END IF;
    PERFORM audit.record_reads(reading, array_fill(target, ARRAY[cardinality(found)]), found);
    RETURN QUERY SELECT unnest(found);
END $$;
COMMENT ON FUNCTION privacy.rows_called(TEXT, TEXT, INTEGER) IS
    'The ids of rows of a protected table with every word of a query in their searched columns; writes them into the audit trail.';

CREATE FUNCTION privacy.make_guards(target TEXT) RETURNS void LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $make$
DECLARE
    searching CONSTANT TEXT := privacy.object_name('search_', target);
    id_type CONSTANT TEXT := (SELECT format_type(atttypid, atttypmod) FROM pg_attribute
                              WHERE attrelid = format('public.%I', target)::regclass AND attname = 'id');
BEGIN
    PERFORM privacy.make_sealing(target), privacy.make_view(target), privacy.make_name_index(target);
    IF EXISTS (SELECT FROM privacy.protected_tables WHERE table_name = target AND searched <> '{}' AND NOT is_imported) THEN
        EXECUTE format('CREATE OR REPLACE FUNCTION app.%1$I(query TEXT, max_rows INTEGER DEFAULT 50) RETURNS SETOF app.%2$I '
                       'LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS %3$L', searching, target,
                       format(E'\n    SELECT v.* FROM app.%1$I v\n'
                              '    WHERE v.id = ANY (ARRAY(SELECT row_id::%2$s FROM privacy.rows_called(%3$L, $1, $2)))\n'
                              '    ORDER BY v.id\n', target, id_type, target));
        EXECUTE format('REVOKE ALL ON FUNCTION app.%I(TEXT, INTEGER) FROM PUBLIC', searching);
        EXECUTE format('COMMENT ON FUNCTION app.%I(TEXT, INTEGER) IS %L', searching,
                       'Rows with every word of the query in their searched columns, whatever accents, case and order; mar* finds '
                       'beginnings of three letters or more. Needs the key, and each row found is in the audit trail.');
    END IF;
    UPDATE privacy.protected_tables SET renewed_at = clock_timestamp() WHERE table_name = target;
END $make$;
COMMENT ON FUNCTION privacy.make_guards(TEXT) IS 'Makes all triggers, the CHECK, the view and the functions of a protected table.';

INSERT INTO privacy.protected_tables (table_name, sealed, searched, kept_plain, is_imported)
SELECT person.name, ARRAY['email', 'phone', 'first_name', 'preferred_name', 'middle_name', 'last_name', 'birthdate', 'address'],
       ARRAY['first_name', 'preferred_name', 'middle_name', 'last_name'], ARRAY['email'], true
FROM (VALUES ('patients_and_guardians'), ('clinicians')) AS person (name)
UNION ALL
SELECT 'insurance_coverages',
       ARRAY['plan_holder_first_name', 'plan_holder_last_name', 'plan_holder_dob', 'plan_holder_state', 'plan_holder_city',
             'plan_holder_street_address', 'plan_holder_zip_code'], '{}', '{}', true;

SELECT privacy.make_guards(table_name) FROM privacy.protected_tables ORDER BY table_name;
DROP FUNCTION privacy.index_names();

CREATE OR REPLACE FUNCTION privacy.rebuild_name_tokens() RETURNS BIGINT LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
DECLARE
    target RECORD;
    rebuilt BIGINT := 0;
    changed BIGINT;
    outer_xid TEXT := current_setting('daybreak.import_xid', true);
BEGIN
    IF EXISTS (SELECT FROM privacy.key_check WHERE check_value <> privacy.required_key('check')) THEN
        RAISE EXCEPTION 'the names are sealed with another key than this session''s'
            USING ERRCODE = 'invalid_authorization_specification', HINT = 'Set ENCRYPTION_KEY to the key of this database.';
    END IF;
    -- Nobody's record changes here, so updated_at stays: see update_updated_at_column().
    PERFORM set_config('daybreak.import_xid', pg_current_xact_id()::text, true);
    FOR target IN
        SELECT p.table_name, privacy.names_of(p.table_name, 'r', 'k.seal') AS names,
               (SELECT string_agg(format('r.%I', s || '_encrypted'), ', ') FROM unnest(p.searched) s) AS twins
        FROM privacy.protected_tables p WHERE p.searched <> '{}' ORDER BY p.table_name
    LOOP
        EXECUTE format(
            'UPDATE public.%1$I t SET name_tokens = n.tokens FROM ('
            '    SELECT r.id, privacy.name_tokens(%2$s, k.search) AS tokens'
            '    FROM public.%1$I r, (SELECT privacy.required_key(''seal'') AS seal, privacy.required_key(''search'') AS search) k'
            '    WHERE num_nonnulls(%3$s) > 0'
            ') n WHERE n.id = t.id AND t.name_tokens IS DISTINCT FROM n.tokens', target.table_name, target.names, target.twins);
        GET DIAGNOSTICS changed = ROW_COUNT;
        rebuilt := rebuilt + changed;
    END LOOP;
    PERFORM set_config('daybreak.import_xid', coalesce(outer_xid, ''), true);
    RETURN rebuilt;
END $$;

-- A column is personal where its own table seals it, or where it has the name of one that the plan seals. A name that only
-- some table of an application seals (notes, name) says nothing of other tables.
DO $$
DECLARE
    listed TEXT := pg_get_functiondef('reporting.columns()'::regprocedure);
BEGIN
    IF position(E'AND twin.attname = a.attname || ''_encrypted'')' IN listed) = 0 THEN
        RAISE EXCEPTION 'reporting.columns() lists columns in another way than this migration knows';
    END IF;
    EXECUTE replace(listed, E'AND twin.attname = a.attname || ''_encrypted'')',
                    E'AND twin.attname = a.attname || ''_encrypted''\n'
                    '            AND (owner.oid = c.oid OR EXISTS (SELECT FROM pg_attribute hash WHERE hash.attrelid = owner.oid\n'
                    '                                              AND hash.attname = ''_source_hash'')))');
END $$;

-- Only the tables' owner can use them, whoever calls them; nobody else needs to.
DO $$
DECLARE
    function REGPROCEDURE;
BEGIN
    FOR function IN
        SELECT p.oid FROM pg_proc p WHERE p.pronamespace = 'privacy'::regnamespace AND p.proname IN (
            'object_name', 'names_of', 'make_sealing', 'make_view', 'make_name_index', 'make_guards', 'rows_called')
    LOOP
        EXECUTE format('REVOKE ALL ON FUNCTION %s FROM PUBLIC', function);
    END LOOP;
END $$;

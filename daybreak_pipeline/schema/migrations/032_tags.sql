-- A sealed value belongs to its column. Its text begins with a tag, eight characters that are made from the names of table
-- and column, so that the ciphertext of a name that somebody copies into another name's column shows as NULL, as one does
-- that does not open. Values that were sealed before have no tag and are read as they are, until a rotation of the key or
-- daybreak keys bind gives them one.

CREATE FUNCTION privacy.tag(relation TEXT, column_name TEXT) RETURNS TEXT LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT E'\x01' || left(encode(sha256(convert_to(relation || '.' || column_name, 'UTF8')), 'hex'), 6) || E'\x02'
$$;
COMMENT ON FUNCTION privacy.tag(TEXT, TEXT) IS
    'What the texts of a sealed column begin with: privacy.tag(''public.clinicians'', ''phone_encrypted''). Control characters, so that no text looks like it.';

CREATE FUNCTION privacy.tagged(plain TEXT, tag TEXT) RETURNS TEXT LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE AS $$
BEGIN
    RETURN CASE WHEN substr(plain, 1, 1) = E'\x01' AND substr(plain, 8, 1) = E'\x02' THEN plain ELSE tag || plain END;
END $$;
COMMENT ON FUNCTION privacy.tagged(TEXT, TEXT) IS 'An unsealed text with its tag: the one it has, or else this one.';

CREATE FUNCTION privacy.untag(plain TEXT, tag TEXT) RETURNS TEXT LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE AS $$
BEGIN
    IF starts_with(plain, tag) THEN
        RETURN substr(plain, 9);
    ELSIF substr(plain, 1, 1) = E'\x01' AND substr(plain, 8, 1) = E'\x02' THEN
        RETURN CASE WHEN tag IS NULL THEN substr(plain, 9) END;
    END IF;
    RETURN plain;
END $$;
COMMENT ON FUNCTION privacy.untag(TEXT, TEXT) IS
    'An unsealed text without its tag; NULL where it has another than this one. Whatever it has, where this one is NULL.';

CREATE FUNCTION privacy.seal(value TEXT, key BYTEA, tag TEXT) RETURNS BYTEA LANGUAGE sql VOLATILE PARALLEL SAFE AS $$
    SELECT public.pgp_sym_encrypt(tag || value, encode(substr(key, 1, 32), 'hex'),
                                  'cipher-algo=aes256, s2k-mode=1, s2k-digest-algo=sha256, compress-algo=0')
$$;
COMMENT ON FUNCTION privacy.seal(TEXT, BYTEA, TEXT) IS
    'Encrypt one value of the column that has this tag, with AES-256 under the first of one or two keys (32 bytes each); NULL stays NULL.';
COMMENT ON FUNCTION privacy.seal(TEXT, BYTEA) IS
    'Encrypt one text that belongs to no column, with AES-256 under the first of one or two keys (32 bytes each); NULL stays NULL.';

-- As privacy.unseal was. Not PARALLEL SAFE: an EXCEPTION block in a parallel query is an error before PostgreSQL 17.
CREATE FUNCTION privacy.unseal_tagged(sealed BYTEA, key BYTEA) RETURNS TEXT LANGUAGE plpgsql IMMUTABLE PARALLEL UNSAFE AS $$
BEGIN
    IF sealed IS NULL OR key IS NULL THEN
        RETURN NULL;
    END IF;
    RETURN public.pgp_sym_decrypt(sealed, encode(substr(key, 1, 32), 'hex'));
EXCEPTION WHEN external_routine_invocation_exception OR external_routine_exception OR data_exception THEN
    IF length(key) = 64 THEN
        BEGIN -- in place, not by calling itself: a reader of the views need not be allowed into this schema
            RETURN public.pgp_sym_decrypt(sealed, encode(substr(key, 33), 'hex'));
        EXCEPTION WHEN external_routine_invocation_exception OR external_routine_exception OR data_exception THEN
            RETURN NULL;
        END;
    END IF;
    RETURN NULL; -- one corrupted value must not break a whole view
END $$;
COMMENT ON FUNCTION privacy.unseal_tagged(BYTEA, BYTEA) IS
    'Decrypt one value, with the tag that it has, with the first of one or two keys (32 bytes each) that fits; NULL without '
    'a key, and NULL where the ciphertext is damaged or of another key.';

-- Bound to the functions behind them when they are made, so that a reader of the views need not be allowed into this schema.
CREATE FUNCTION privacy.unseal(sealed BYTEA, key BYTEA, tag TEXT) RETURNS TEXT LANGUAGE sql IMMUTABLE PARALLEL UNSAFE
    RETURN privacy.untag(privacy.unseal_tagged(sealed, key), tag);
COMMENT ON FUNCTION privacy.unseal(BYTEA, BYTEA, TEXT) IS
    'Decrypt one value of the column that has this tag: privacy.unseal_tagged without its tag; NULL where it was sealed for another column.';

CREATE OR REPLACE FUNCTION privacy.unseal(sealed BYTEA, key BYTEA) RETURNS TEXT LANGUAGE sql IMMUTABLE PARALLEL UNSAFE
    RETURN privacy.untag(privacy.unseal_tagged(sealed, key), NULL);
COMMENT ON FUNCTION privacy.unseal(BYTEA, BYTEA) IS
    'Decrypt one value, whatever column it was sealed for: privacy.unseal_tagged without its tag.';

-- What shows values to people.

CREATE OR REPLACE VIEW users AS
WITH held AS MATERIALIZED (SELECT privacy.key('seal') AS key)
SELECT
    p.id, p.role, p.email,
    privacy.unseal(p.phone_encrypted, held.key, privacy.tag('public.patients_and_guardians', 'phone_encrypted'))::varchar(50) AS phone,
    privacy.unseal(p.first_name_encrypted, held.key, privacy.tag('public.patients_and_guardians', 'first_name_encrypted'))::varchar(255) AS first_name,
    privacy.unseal(p.preferred_name_encrypted, held.key, privacy.tag('public.patients_and_guardians', 'preferred_name_encrypted'))::varchar(255) AS preferred_name,
    privacy.unseal(p.middle_name_encrypted, held.key, privacy.tag('public.patients_and_guardians', 'middle_name_encrypted'))::varchar(255) AS middle_name,
    privacy.unseal(p.last_name_encrypted, held.key, privacy.tag('public.patients_and_guardians', 'last_name_encrypted'))::varchar(255) AS last_name,
    p.title, p.preferred_language, p.preferred_pronoun, p.self_gender, p.legal_gender,
    privacy.as_date(privacy.unseal(p.birthdate_encrypted, held.key, privacy.tag('public.patients_and_guardians', 'birthdate_encrypted'))) AS birthdate,
    p.profile_data, p.supervisor_id, p.clinical_associate, p.licenses,
    p.licensed_states, p.care_provider_status, p.system_labels, p.supabase_id,
    p.supabase_metadata, privacy.as_jsonb(privacy.unseal(p.address_encrypted, held.key, privacy.tag('public.patients_and_guardians', 'address_encrypted'))) AS address,
    p.healthie_id, p.openpm_reference_id,
    p.account_status, p.openpm_policyholder_id, p.zendesk_id, p.latest_ticket,
    p.created_at, p.updated_at, p._fivetran_deleted, p._fivetran_synced,
    1 AS user_type
FROM patients_and_guardians p, held
UNION ALL
SELECT
    c.id, 2 AS role, c.email,
    privacy.unseal(c.phone_encrypted, held.key, privacy.tag('public.clinicians', 'phone_encrypted'))::varchar(50),
    privacy.unseal(c.first_name_encrypted, held.key, privacy.tag('public.clinicians', 'first_name_encrypted'))::varchar(255),
    privacy.unseal(c.preferred_name_encrypted, held.key, privacy.tag('public.clinicians', 'preferred_name_encrypted'))::varchar(255),
    NULL::varchar(255) AS middle_name,
    privacy.unseal(c.last_name_encrypted, held.key, privacy.tag('public.clinicians', 'last_name_encrypted'))::varchar(255),
    c.title, c.preferred_language, c.preferred_pronoun, NULL::integer AS self_gender, c.legal_gender,
    privacy.as_date(privacy.unseal(c.birthdate_encrypted, held.key, privacy.tag('public.clinicians', 'birthdate_encrypted'))),
    c.profile_data, c.supervisor_id, c.clinical_associate, c.licenses,
    c.licensed_states, c.care_provider_status, c.system_labels, NULL::uuid AS supabase_id,
    NULL::jsonb AS supabase_metadata, privacy.as_jsonb(privacy.unseal(c.address_encrypted, held.key, privacy.tag('public.clinicians', 'address_encrypted'))),
    c.healthie_id, NULL::varchar(50) AS openpm_reference_id,
    c.account_status, NULL::varchar(50) AS openpm_policyholder_id, NULL::varchar(50) AS zendesk_id,
    NULL::varchar(255) AS latest_ticket,
    c.created_at, c.updated_at, c._fivetran_deleted, c._fivetran_synced,
    2 AS user_type
FROM clinicians c, held;


-- app.<table>: as migration 028 has it, with tags.
DO $$
DECLARE
    target TEXT;
    columns TEXT;
BEGIN
    FOREACH target IN ARRAY ARRAY['patients_and_guardians', 'clinicians', 'insurance_coverages'] LOOP
        SELECT string_agg(
                   CASE WHEN e.attname IS NULL OR p.attname = 'email' THEN format('t.%I', p.attname)
                        WHEN p.atttypid = 'date'::regtype
                        THEN format('privacy.as_date(privacy.unseal(t.%I, held.key, privacy.tag(%L, %L))) AS %I',
                                    e.attname, 'public.' || target, e.attname, p.attname)
                        WHEN p.atttypid = 'jsonb'::regtype
                        THEN format('privacy.as_jsonb(privacy.unseal(t.%I, held.key, privacy.tag(%L, %L))) AS %I',
                                    e.attname, 'public.' || target, e.attname, p.attname)
                        ELSE format('privacy.unseal(t.%I, held.key, privacy.tag(%L, %L))::%s AS %I',
                                    e.attname, 'public.' || target, e.attname, format_type(p.atttypid, p.atttypmod), p.attname) END,
                   ', ' ORDER BY p.attnum)
        INTO columns
        FROM pg_attribute p LEFT JOIN pg_attribute e
            ON e.attrelid = p.attrelid AND e.attname = p.attname || '_encrypted' AND NOT e.attisdropped
        WHERE p.attrelid = ('public.' || target)::regclass AND p.attnum > 0 AND NOT p.attisdropped
          AND p.attname NOT LIKE '%\_encrypted' AND p.attname NOT IN
              ('name_tokens', '_source_hash', '_import_id', '_record_number', '_source_updated_at', '_edited_at');
        EXECUTE format('CREATE OR REPLACE VIEW app.%I AS WITH held AS MATERIALIZED (SELECT privacy.key(''seal'') AS key) '
                       'SELECT %s FROM public.%I t, held', target, columns, target);
    END LOOP;
END $$;


CREATE OR REPLACE FUNCTION privacy.find_people(
    tokens BYTEA[], seen BYTEA[], pattern TEXT, words TEXT[], beginnings TEXT[], decided_by_name BOOLEAN, max_rows INTEGER
) RETURNS TABLE (
    id UUID, user_type INTEGER, email TEXT, first_name TEXT, preferred_name TEXT, middle_name TEXT, last_name TEXT
) LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
SET enable_seqscan = on SET max_parallel_workers_per_gather = 0 AS $$ -- starting workers takes longer than a search
DECLARE
    branch CONSTANT TEXT := '
        (SELECT t.id, %1$s AS user_type, ''public.%2$I'' AS relation, t.email::text AS email, t.first_name_encrypted, t.preferred_name_encrypted,
                t.middle_name_encrypted, t.last_name_encrypted
         FROM public.%2$I t WHERE %3$s AND (t.name_tokens @> $2) IS NOT TRUE AND t._fivetran_deleted IS NOT TRUE %4$s LIMIT $6)';
    condition CONSTANT TEXT := CASE WHEN pattern IS NULL THEN 't.name_tokens @> $1' ELSE 't.email ILIKE $3' END;
    by_name CONSTANT TEXT := CASE WHEN decided_by_name THEN
        'AND privacy.is_called(concat_ws('' '',
            privacy.unseal(t.first_name_encrypted, $8, privacy.tag(''public.%1$I'', ''first_name_encrypted'')),
            privacy.unseal(t.preferred_name_encrypted, $8, privacy.tag(''public.%1$I'', ''preferred_name_encrypted'')),
            privacy.unseal(t.middle_name_encrypted, $8, privacy.tag(''public.%1$I'', ''middle_name_encrypted'')),
            privacy.unseal(t.last_name_encrypted, $8, privacy.tag(''public.%1$I'', ''last_name_encrypted''))), $4, $5)' ELSE '' END;
    -- A name that twenty thousand people have must not cost reading and sorting twenty thousand rows.
    most_candidates CONSTANT INTEGER := CASE WHEN decided_by_name THEN max_rows ELSE 1000 END;
BEGIN
    -- Names always by the index: a LIMIT tempts the planner to read the table until it has seen enough, which is
    -- all of it when the namesakes stand at its end. A piece of everybody's email (@example.org) is better read so.
    PERFORM set_config('enable_seqscan', (pattern IS NOT NULL)::text, true);
    -- Dynamic, so that each search is planned for its own words. Rows are unsealed one by one behind the sort,
    -- until there are enough.
    RETURN QUERY EXECUTE format('
        SELECT f.id, f.user_type, f.email, n.first_name, n.preferred_name, n.middle_name, n.last_name
        FROM (SELECT * FROM (%s UNION ALL %s) candidate ORDER BY id, user_type) f
        CROSS JOIN LATERAL (
            SELECT privacy.unseal(f.first_name_encrypted, $8, privacy.tag(f.relation, ''first_name_encrypted'')) AS first_name,
                   privacy.unseal(f.preferred_name_encrypted, $8, privacy.tag(f.relation, ''preferred_name_encrypted'')) AS preferred_name,
                   privacy.unseal(f.middle_name_encrypted, $8, privacy.tag(f.relation, ''middle_name_encrypted'')) AS middle_name,
                   privacy.unseal(f.last_name_encrypted, $8, privacy.tag(f.relation, ''last_name_encrypted'')) AS last_name
            OFFSET 0
        ) n
        WHERE $3 IS NOT NULL
           OR privacy.is_called(concat_ws('' '', n.first_name, n.preferred_name, n.middle_name, n.last_name), $4, $5)
        ORDER BY f.id, f.user_type LIMIT $7',
        format(branch, 1, 'patients_and_guardians', condition, format(by_name, 'patients_and_guardians')),
        format(branch, 2, 'clinicians', condition, format(by_name, 'clinicians')))
    USING tokens, seen, pattern, words, beginnings, most_candidates, max_rows, privacy.key('seal');
END $$;

-- What seals them, and makes the blind index: a name of another column is none.

DO $$
DECLARE
    target TEXT;
    body TEXT;
BEGIN
    FOREACH target IN ARRAY ARRAY['patients_and_guardians', 'clinicians', 'insurance_coverages'] LOOP
        SELECT string_agg(format(
                   E'    IF NEW.%1$I IS NOT NULL THEN\n'
                   '        NEW.%2$I := privacy.seal(NEW.%1$I::text, key, privacy.tag(%3$L, %2$L));\n'
                   '        NEW.%1$I := NULL;\n'
                   '    END IF;\n', p.attname, e.attname, 'public.' || target), '' ORDER BY p.attnum)
        INTO body
        FROM pg_attribute p JOIN pg_attribute e
            ON e.attrelid = p.attrelid AND e.attname = p.attname || '_encrypted' AND NOT e.attisdropped
        WHERE p.attrelid = ('public.' || target)::regclass AND NOT p.attisdropped AND p.attname <> 'email';
        IF target <> 'insurance_coverages' THEN
            body := format(E'    NEW.email_encrypted := privacy.seal(NEW.email, key, privacy.tag(%L, ''email_encrypted''));\n',
                           'public.' || target) || body ||
                E'    names := privacy.key(''seal'');\n'
                '    NEW.name_tokens := privacy.name_tokens(concat_ws('' '''
                || (SELECT string_agg(format(', privacy.unseal(NEW.%1$I, names, privacy.tag(%2$L, %1$L))', name, 'public.' || target), '' ORDER BY place)
                    FROM unnest(ARRAY['first_name_encrypted', 'preferred_name_encrypted', 'middle_name_encrypted',
                                      'last_name_encrypted']) WITH ORDINALITY AS named (name, place))
                || E'), privacy.required_key(''search''));\n';
        END IF;
        EXECUTE format(
            E'CREATE OR REPLACE FUNCTION privacy.seal_%1$s() RETURNS trigger LANGUAGE plpgsql '
            'SET search_path = public, pg_temp SET datestyle = ''ISO'' AS $body$\n'
            'DECLARE\n    key BYTEA;\n    names BYTEA;\nBEGIN\n'
            '    -- The importer writes ciphertext itself. What it writes in plain the table refuses.\n'
            '    IF current_setting(''daybreak.import_xid'', true) = pg_current_xact_id()::text\n'
            '       AND has_table_privilege(TG_RELID, ''TRIGGER WITH GRANT OPTION'') THEN\n'
            '        RETURN NEW;\n    END IF;\n'
            '    key := privacy.required_key(''seal'');\n%2$s    RETURN NEW;\nEND $body$',
            target, body);
    END LOOP;
END $$;

CREATE OR REPLACE FUNCTION privacy.index_names() RETURNS trigger LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    key BYTEA;
BEGIN
    IF num_nonnulls(NEW.first_name_encrypted, NEW.preferred_name_encrypted, NEW.middle_name_encrypted,
                    NEW.last_name_encrypted) = 0 THEN
        NEW.name_tokens := NULL; -- takes no key
        RETURN NEW;
    END IF;
    key := privacy.required_key('seal');
    NEW.name_tokens := privacy.name_tokens(
        concat_ws(' ',
                  privacy.unseal(NEW.first_name_encrypted, key, privacy.tag('public.' || TG_TABLE_NAME, 'first_name_encrypted')),
                  privacy.unseal(NEW.preferred_name_encrypted, key, privacy.tag('public.' || TG_TABLE_NAME, 'preferred_name_encrypted')),
                  privacy.unseal(NEW.middle_name_encrypted, key, privacy.tag('public.' || TG_TABLE_NAME, 'middle_name_encrypted')),
                  privacy.unseal(NEW.last_name_encrypted, key, privacy.tag('public.' || TG_TABLE_NAME, 'last_name_encrypted'))),
        privacy.required_key('search'));
    RETURN NEW;
END $$;

CREATE OR REPLACE FUNCTION privacy.rebuild_name_tokens() RETURNS BIGINT LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
DECLARE
    target TEXT;
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
    FOREACH target IN ARRAY ARRAY['patients_and_guardians', 'clinicians'] LOOP
        EXECUTE format(
            'UPDATE public.%1$I t SET name_tokens = n.tokens FROM ('
            '    SELECT id, privacy.name_tokens(concat_ws('' '','
            '        privacy.unseal(first_name_encrypted, k.seal, privacy.tag(%2$L, ''first_name_encrypted'')), '
            '        privacy.unseal(preferred_name_encrypted, k.seal, privacy.tag(%2$L, ''preferred_name_encrypted'')), '
            '        privacy.unseal(middle_name_encrypted, k.seal, privacy.tag(%2$L, ''middle_name_encrypted'')), '
            '        privacy.unseal(last_name_encrypted, k.seal, privacy.tag(%2$L, ''last_name_encrypted''))), k.search) AS tokens'
            '    FROM public.%1$I, (SELECT privacy.required_key(''seal'') AS seal, privacy.required_key(''search'') AS search) k'
            '    WHERE num_nonnulls(first_name_encrypted, preferred_name_encrypted, middle_name_encrypted, last_name_encrypted) > 0'
            ') n WHERE n.id = t.id AND t.name_tokens IS DISTINCT FROM n.tokens', target, 'public.' || target);
        GET DIAGNOSTICS changed = ROW_COUNT;
        rebuilt := rebuilt + changed;
    END LOOP;
    PERFORM set_config('daybreak.import_xid', coalesce(outer_xid, ''), true);
    RETURN rebuilt;
END $$;

-- The audit trail.

CREATE FUNCTION audit.differences(relation TEXT, before JSONB, after JSONB, seal_key BYTEA)
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
            SELECT d.key, d.plain, t.old_text, t.new_text, d.old_tagged, d.new_tagged,
                   coalesce(t.old_text, d.value) AS old_value, coalesce(t.new_text, after -> d.key) AS new_value
            FROM (
                SELECT e.key, e.value, s.plain,
                       CASE WHEN s.plain IS NOT NULL THEN privacy.tagged(
                           privacy.unseal_tagged((e.value #>> '{}')::bytea, seal_key), privacy.tag(relation, e.key)) END AS old_tagged,
                       CASE WHEN s.plain IS NOT NULL THEN privacy.tagged(
                           privacy.unseal_tagged((after ->> e.key)::bytea, seal_key), privacy.tag(relation, e.key)) END AS new_tagged
                FROM jsonb_each(before) e,
                LATERAL (SELECT CASE WHEN e.key LIKE '%\_encrypted' THEN left(e.key, -10) END AS plain) s
                WHERE e.value IS DISTINCT FROM after -> e.key
                  AND e.key NOT IN ('name_tokens', '_source_hash', '_import_id', '_record_number',
                                    '_source_updated_at', '_edited_at')
                OFFSET 0 -- or each value would be opened again wherever it is named
            ) d, LATERAL (SELECT to_jsonb(privacy.untag(d.old_tagged, NULL)) AS old_text,
                                 to_jsonb(privacy.untag(d.new_tagged, NULL)) AS new_text) t
        ) opened
        -- The same value sealed again is no change, and one that its plain column tells as well is told once. The same
        -- text out of another column is one: it shows as NULL.
        WHERE (opened.old_value IS DISTINCT FROM opened.new_value OR opened.old_tagged IS DISTINCT FROM opened.new_tagged)
          AND (opened.plain IS NULL OR opened.old_value IS DISTINCT FROM before -> opened.plain
               OR opened.new_value IS DISTINCT FROM after -> opened.plain)
    ) named
$$;
COMMENT ON FUNCTION audit.differences(TEXT, JSONB, JSONB, BYTEA) IS
    'What an UPDATE changed of a row of this table, given as JSON, and the values before; with no row after, all of a deleted row. Sealed values are opened, so that the one seal around all is the only one that a key rotation has to renew.';

CREATE OR REPLACE FUNCTION audit.record_change() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
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
        SELECT TG_TABLE_NAME, 'DELETE', o.row_id, privacy.seal(d.old_values::text, seal_key, privacy.tag('audit.changes', 'before_encrypted'))
        FROM (SELECT r.id::text AS row_id, to_jsonb(r) AS before FROM old_rows r OFFSET 0) o,
        LATERAL audit.differences('public.' || TG_TABLE_NAME, o.before, NULL, seal_key) d;
    ELSE
        -- OFFSET 0 keeps each row's JSON from being made again for each of its columns.
        INSERT INTO audit.changes (table_name, action, row_id, changed_columns, before_encrypted)
        SELECT TG_TABLE_NAME,
               CASE WHEN pair.before IS NULL THEN 'INSERT' WHEN pair.after IS NULL THEN 'DELETE' ELSE 'UPDATE' END,
               pair.row_id,
               CASE WHEN pair.after IS NOT NULL THEN d.changed_columns END,
               privacy.seal(d.old_values::text, seal_key, privacy.tag('audit.changes', 'before_encrypted'))
        FROM (SELECT coalesce(n.id, o.id)::text AS row_id, to_jsonb(o) AS before, to_jsonb(n) AS after
              FROM old_rows o FULL JOIN new_rows n ON n.id = o.id OFFSET 0) pair,
        LATERAL audit.differences('public.' || TG_TABLE_NAME, pair.before, pair.after, seal_key) d
        WHERE pair.before IS NULL OR d.changed_columns IS NOT NULL;
    END IF;
    RETURN NULL;
END $$;
CREATE OR REPLACE FUNCTION audit.record_reads(
    reading TEXT, tables TEXT[], row_ids TEXT[], is_search BOOLEAN DEFAULT false, query TEXT DEFAULT NULL
) RETURNS BOOLEAN LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    person TEXT := left(nullif(current_setting('daybreak.person', true), ''), 200);
BEGIN
    -- A standby, or a session that says so, cannot write. Whoever asks gets the answer, and both ends are told.
    IF current_setting('transaction_read_only')::boolean THEN
        RAISE LOG 'not in the audit trail, since the transaction is read-only: % by %', reading, session_user;
        RAISE WARNING 'this reading (%) is not in the audit trail, since the transaction is read-only', reading;
        RETURN false;
    END IF;
    IF is_search THEN
        INSERT INTO audit.changes (table_name, action, reading, launched_by, rows_read, before_encrypted)
        VALUES ('users', 'READ', reading, person, coalesce(cardinality(row_ids), 0),
                privacy.seal(jsonb_build_object('query', query)::text, privacy.key('seal'),
                             privacy.tag('audit.changes', 'before_encrypted')));
    END IF;
    INSERT INTO audit.changes (table_name, action, row_id, reading, launched_by)
    SELECT DISTINCT r.table_name, 'READ', r.row_id, record_reads.reading, person
    FROM unnest(tables, row_ids) AS r (table_name, row_id);
    RETURN true;
END $$;

-- What notes the values that show as NULL.

CREATE FUNCTION privacy.sealed_fault(sealed BYTEA, kind TEXT, longest INTEGER, key BYTEA, tag TEXT) RETURNS TEXT
LANGUAGE plpgsql STABLE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    tagged TEXT := privacy.unseal_tagged(sealed, key);
    value TEXT := privacy.untag(tagged, tag);
BEGIN
    IF sealed IS NULL THEN
        RETURN NULL;
    ELSIF tagged IS NULL THEN
        RETURN 'does_not_open';
    ELSIF value IS NULL THEN
        RETURN 'of_another_column';
    ELSIF char_length(value) > longest
       OR kind = 'date' AND privacy.as_date(value) IS NULL
       OR kind = 'jsonb' AND privacy.as_jsonb(value) IS NULL
       OR kind = 'object' AND privacy.as_object(value) IS NULL THEN
        RETURN 'does_not_fit';
    END IF;
    RETURN NULL;
END $$;
COMMENT ON FUNCTION privacy.sealed_fault(BYTEA, TEXT, INTEGER, BYTEA, TEXT) IS
    'What is wrong with a sealed value of a column of this type, length and tag: does_not_open, of_another_column, does_not_fit, or NULL for nothing.';
ALTER TABLE privacy.sealed_faults DROP CONSTRAINT sealed_faults_code;
ALTER TABLE privacy.sealed_faults ADD CONSTRAINT sealed_faults_code
    CHECK (code IN ('does_not_open', 'of_another_column', 'does_not_fit'));
COMMENT ON TABLE privacy.sealed_faults IS
    'Sealed values that show as NULL because they do not open, were sealed for another column or do not fit, as the check sealed_values last found them.';

-- Who may call a function may call those that take its place or stand beside it.
DO $$
DECLARE
    pair RECORD;
    grantee REGROLE;
BEGIN
    FOR pair IN
        SELECT new.oid::regprocedure AS function, old.proacl AS acl, old.proowner AS owner
        FROM (VALUES ('audit.differences(jsonb, jsonb, bytea)', 'audit.differences(text, jsonb, jsonb, bytea)'),
                     ('privacy.sealed_fault(bytea, text, integer, bytea)', 'privacy.sealed_fault(bytea, text, integer, bytea, text)'),
                     ('privacy.seal(text, bytea)', 'privacy.seal(text, bytea, text)'),
                     ('privacy.unseal(bytea, bytea)', 'privacy.unseal(bytea, bytea, text)'),
                     ('privacy.unseal(bytea, bytea)', 'privacy.unseal_tagged(bytea, bytea)'),
                     ('privacy.unseal(bytea, bytea)', 'privacy.tag(text, text)'),
                     ('privacy.unseal(bytea, bytea)', 'privacy.untag(text, text)'))
             AS named (old, new)
        JOIN pg_proc old ON old.oid = named.old::regprocedure JOIN pg_proc new ON new.oid = named.new::regprocedure
        WHERE old.proacl IS NOT NULL
    LOOP
        EXECUTE format('REVOKE ALL ON FUNCTION %s FROM PUBLIC', pair.function);
        FOR grantee IN SELECT a.grantee::regrole FROM aclexplode(pair.acl) a WHERE a.grantee NOT IN (0, pair.owner) LOOP
            EXECUTE format('GRANT EXECUTE ON FUNCTION %s TO %s', pair.function, grantee);
        END LOOP;
    END LOOP;
END $$;
DROP FUNCTION audit.differences(JSONB, JSONB, BYTEA);
DROP FUNCTION privacy.sealed_fault(BYTEA, TEXT, INTEGER, BYTEA);

-- What is still to be bound: the tables that hold sealed values now, one by one.
CREATE TABLE privacy.binding_steps (
    relation TEXT PRIMARY KEY,
    position JSONB,
    rows_done BIGINT NOT NULL DEFAULT 0,
    finished_at TIMESTAMPTZ
);
COMMENT ON TABLE privacy.binding_steps IS
    'The tables that held sealed values without a tag when tags came, and how far daybreak keys bind is in each; moved in the transaction that rewrites the rows.';
COMMENT ON COLUMN privacy.binding_steps.relation IS 'The table''s name, with its schema.';
COMMENT ON COLUMN privacy.binding_steps.position IS 'Primary key of the last row that is done.';
COMMENT ON COLUMN privacy.binding_steps.finished_at IS 'When all of its values had their tags; NULL before.';

DO $$
DECLARE
    target RECORD;
    filled BOOLEAN;
BEGIN
    FOR target IN
        SELECT n.nspname, c.relname, string_agg(format('%I', a.attname), ', ') AS columns
        FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid JOIN pg_namespace n ON n.oid = c.relnamespace
        WHERE a.attname LIKE '%\_encrypted' AND a.attnum > 0 AND NOT a.attisdropped
          AND c.relkind IN ('r', 'p') AND NOT c.relispartition
          AND n.nspname IN ('public', 'ingest', 'audit')
        GROUP BY n.nspname, c.relname
    LOOP
        EXECUTE format('SELECT EXISTS (SELECT FROM %I.%I WHERE num_nonnulls(%s) > 0)', target.nspname, target.relname, target.columns)
        INTO filled;
        IF filled THEN
            INSERT INTO privacy.binding_steps (relation) VALUES (format('%s.%s', target.nspname, target.relname));
        END IF;
    END LOOP;
END $$;

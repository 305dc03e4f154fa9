-- Search by name over sealed names, and by a part of an email (the plan, 3.3): search_people. The blind index
-- gets a form that folds every script alike on every server, serves the beginnings of words, and has shorter
-- tokens. docs/adr/0008 says what it costs and what it tells.

CREATE FUNCTION privacy.plain_letters(names TEXT) RETURNS TEXT LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $$
DECLARE
    -- Accents; vowel signs of Hebrew and Arabic, which people write or leave out; apostrophes and the Catalan
    -- middle dot; what nobody sees (joiners, direction marks, variants of a sign).
    ignored CONSTANT TEXT := '['
        '\u0300-\u036f\u0483-\u0489\u1ab0-\u1aff\u1dc0-\u1dff\u20d0-\u20ff\ufe20-\ufe2f'
        '\u0591-\u05bd\u05bf\u05c1\u05c2\u05c4\u05c5\u05c7\u0610-\u061a\u0640\u064b-\u065f\u0670\u06d6-\u06ed'
        '''`\u00b7\u02b0-\u02ff\u05f3\u05f4\u2018-\u201b\u2032'
        '\u00ad\u061c\u180b-\u180f\u200b-\u200f\u202a-\u202e\u2060-\u206f\ufe00-\ufe0f\ufeff\ufff9-\ufffb'
        '\U000e0000-\U000e0fff]+';
    -- Scripts without spaces (Han, kana, hangul): each sign is a word, so that 王秀英 finds 秀英 王.
    sign CONSTANT TEXT := '([\u3005-\u3007\u3041-\u3096\u309d-\u309f\u30a1-\u30fa\u30fc-\u30ff'
        '\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7a3\U00020000-\U0003ffff])';
    -- lower() would do it where the server's locale knows these letters. A dump that is restored on another
    -- server must still find its people there, so nothing here asks the locale.
    capitals CONSTANT TEXT := 'ΑΒΓΔΕΖΗΘΙΚΛΜΝΞΟΠΡΣςΤΥΦΧΨΩАБВГДЕЖЗИЙКЛМНОПРСТУФХЦЧШЩЪЫЬЭЮЯЂЄЅІЈЉЊЋЏҐҒҖҘҚҢҤҪҮҰҲҶҺӘӨ'
        'ԱԲԳԴԵԶԷԸԹԺԻԼԽԾԿՀՁՂՃՄՅՆՇՈՉՊՋՌՍՎՏՐՑՒՓՔՕՖØøÐðĐđŁłĦħıŦŧƁɓƊɗƐɛƆɔŊƏƎ';
    small CONSTANT TEXT := 'αβγδεζηθικλμνξοπρσστυφχψωабвгдежзийклмнопрстуфхцчшщъыьэюяђєѕіјљњћџґғҗҙқңҥҫүұҳҷһәө'
        'աբգդեզէըթժիլխծկհձղճմյնշոչպջռսվտրցւփքօֆooddddllhhittbbddeeooŋəǝ';
    folded TEXT := normalize(replace(names, '´', ''''), NFKD);
BEGIN
    folded := lower(regexp_replace(folded, ignored, '', 'g') COLLATE "C");
    IF octet_length(folded) = length(folded) THEN
        RETURN folded;
    END IF;
    folded := translate(normalize(folded, NFC), capitals, small);
    IF folded ~ '[ßẞæÆœŒþÞ]' THEN
        folded := translate(folded, 'ẞÆŒÞ', 'ßæœþ');
        folded := replace(replace(replace(replace(folded, 'ß', 'ss'), 'æ', 'ae'), 'œ', 'oe'), 'þ', 'th');
    END IF;
    -- Letters of Arabic that keyboards and habits exchange (yeh, kaf, teh marbuta, alef wasla), and hyphens.
    folded := translate(folded, 'یىکةٱ‐‒–—―−־֊', 'ييكها--------');
    RETURN regexp_replace(folded, sign, ' \1 ', 'g');
END $$;
COMMENT ON FUNCTION privacy.plain_letters(TEXT) IS
    'A name without case, accents, apostrophes and invisible characters, the same on every server whatever its locale.';

CREATE FUNCTION privacy.name_words(names TEXT, compounds BOOLEAN) RETURNS TEXT[]
LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $$
DECLARE
    -- White space, control characters and punctuation but the hyphen. Symbols are letters: who has nothing
    -- but an emoji for a name is found by it.
    separators CONSTANT TEXT := '[\u0001-\u002c./:-@[-`{-\u00bf\u00d7\u00f7\u055a-\u055f\u0589\u05c0\u05c3\u05c6'
        '\u060c\u061b\u061f\u06d4\u0964\u0965\u1680\u2000-\u206f\u2e00-\u2e7f\u3000-\u3003\u3008-\u301f\u3030\u30fb]+';
    folded TEXT := lower(names COLLATE "C");
BEGIN
    IF octet_length(folded) <> length(folded) THEN
        folded := privacy.plain_letters(folded);
    END IF;
    IF folded ~ '[^a-z0-9 ]' THEN
        folded := regexp_replace(translate(folded, '''`', ''), separators, ' ', 'g');
        folded := replace(folded, '-', ' ') || CASE WHEN compounds AND folded LIKE '%-%'
                                                    THEN ' ' || replace(folded, '-', '') ELSE '' END;
    END IF;
    RETURN array_remove(string_to_array(folded, ' '), '');
END $$;
COMMENT ON FUNCTION privacy.name_words(TEXT, BOOLEAN) IS
    'The words of a name as search compares them; with compounds, Anne-Marie is also the word annemarie.';

CREATE FUNCTION privacy.name_token(letters TEXT, key BYTEA) RETURNS BYTEA LANGUAGE sql STABLE PARALLEL SAFE AS $$
    SELECT substring(public.hmac(convert_to(letters, 'UTF8'), key, 'sha256') FOR 8)
$$;
COMMENT ON FUNCTION privacy.name_token(TEXT, BYTEA) IS
    'One entry of the blind index: of a whole word (with a full stop, which no word has) or of the beginning of one.';

CREATE OR REPLACE FUNCTION privacy.name_tokens(names TEXT, key BYTEA) RETURNS BYTEA[]
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    -- Sorted, because the order of the words, and which beginnings belong to which word, would tell much.
    SELECT array_agg(DISTINCT privacy.name_token(piece, key))
    FROM unnest(privacy.name_words(names, true)) AS word,
         unnest((ARRAY[word || '.', left(word, 3), left(word, 4), left(word, 5), left(word, 6)])
                [:greatest(least(length(word), 6) - 1, 1)]) AS piece
$$;
COMMENT ON FUNCTION privacy.name_tokens(TEXT, BYTEA) IS
    'Keyed hashes of the words of a name and of their first 3 to 6 letters, without case and accents.';
COMMENT ON COLUMN patients_and_guardians.name_tokens IS
    'Blind index of the names: keyed hashes of their words and of how these begin. See search_people.';
COMMENT ON COLUMN clinicians.name_tokens IS
    'Blind index of the names: keyed hashes of their words and of how these begin. See search_people.';

CREATE FUNCTION privacy.rebuild_name_tokens() RETURNS BIGINT LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
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
            'UPDATE public.%I t SET name_tokens = n.tokens FROM ('
            '    SELECT id, privacy.name_tokens(concat_ws('' '','
            '        privacy.unseal(first_name_encrypted, k.seal), privacy.unseal(preferred_name_encrypted, k.seal),'
            '        privacy.unseal(middle_name_encrypted, k.seal), privacy.unseal(last_name_encrypted, k.seal)), k.search) AS tokens'
            '    FROM public.%I, (SELECT privacy.required_key(''seal'') AS seal, privacy.required_key(''search'') AS search) k'
            '    WHERE num_nonnulls(first_name_encrypted, preferred_name_encrypted, middle_name_encrypted, last_name_encrypted) > 0'
            ') n WHERE n.id = t.id AND t.name_tokens IS DISTINCT FROM n.tokens', target, target);
        GET DIAGNOSTICS changed = ROW_COUNT;
        rebuilt := rebuilt + changed;
    END LOOP;
    PERFORM set_config('daybreak.import_xid', coalesce(outer_xid, ''), true);
    RETURN rebuilt;
END $$;
COMMENT ON FUNCTION privacy.rebuild_name_tokens() IS
    'Makes the blind index of all names again, for when its form has changed. Needs the key; returns how many rows changed.';

-- Rows that are here already have tokens of the old form, which nothing would find any more.
DO $$
BEGIN
    IF EXISTS (SELECT FROM patients_and_guardians WHERE name_tokens IS NOT NULL)
       OR EXISTS (SELECT FROM clinicians WHERE name_tokens IS NOT NULL) THEN
        PERFORM privacy.rebuild_name_tokens();
    END IF;
END $$;

-- New tokens wait in a list that every search reads from end to end: a short one, so that this takes no time.
ALTER INDEX idx_patients_guardians_name_search SET (gin_pending_list_limit = 256);
ALTER INDEX idx_clinicians_name_search SET (gin_pending_list_limit = 256);

CREATE FUNCTION privacy.is_called(names TEXT, words TEXT[], beginnings TEXT[]) RETURNS BOOLEAN
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT own @> words AND NOT EXISTS (
        SELECT FROM unnest(beginnings) AS beginning
        WHERE NOT EXISTS (SELECT FROM unnest(own) AS word WHERE starts_with(word, beginning)))
    FROM privacy.name_words(names, true) AS own
$$;
COMMENT ON FUNCTION privacy.is_called(TEXT, TEXT[], TEXT[]) IS
    'Whether a name has all the words, and for each beginning a word that begins so. What the index only supposes, this knows.';

CREATE FUNCTION privacy.find_people(
    tokens BYTEA[], seen BYTEA[], pattern TEXT, words TEXT[], beginnings TEXT[], decided_by_name BOOLEAN, max_rows INTEGER
) RETURNS TABLE (
    id UUID, user_type INTEGER, email TEXT, first_name TEXT, preferred_name TEXT, middle_name TEXT, last_name TEXT
) LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp
SET enable_seqscan = on SET max_parallel_workers_per_gather = 0 AS $$ -- starting workers takes longer than a search
DECLARE
    branch CONSTANT TEXT := '
        (SELECT t.id, %s AS user_type, t.email::text AS email, t.first_name_encrypted, t.preferred_name_encrypted,
                t.middle_name_encrypted, t.last_name_encrypted
         FROM public.%I t WHERE %s AND (t.name_tokens @> $2) IS NOT TRUE AND t._fivetran_deleted IS NOT TRUE %s LIMIT $6)';
    condition CONSTANT TEXT := CASE WHEN pattern IS NULL THEN 't.name_tokens @> $1' ELSE 't.email ILIKE $3' END;
    by_name CONSTANT TEXT := CASE WHEN decided_by_name THEN
        'AND privacy.is_called(concat_ws('' '', privacy.unseal(t.first_name_encrypted, $8),
            privacy.unseal(t.preferred_name_encrypted, $8), privacy.unseal(t.middle_name_encrypted, $8),
            privacy.unseal(t.last_name_encrypted, $8)), $4, $5)' ELSE '' END;
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
            SELECT privacy.unseal(f.first_name_encrypted, $8) AS first_name,
                   privacy.unseal(f.preferred_name_encrypted, $8) AS preferred_name,
                   privacy.unseal(f.middle_name_encrypted, $8) AS middle_name,
                   privacy.unseal(f.last_name_encrypted, $8) AS last_name
            OFFSET 0
        ) n
        WHERE $3 IS NOT NULL
           OR privacy.is_called(concat_ws('' '', n.first_name, n.preferred_name, n.middle_name, n.last_name), $4, $5)
        ORDER BY f.id, f.user_type LIMIT $7',
        format(branch, 1, 'patients_and_guardians', condition, by_name),
        format(branch, 2, 'clinicians', condition, by_name))
    USING tokens, seen, pattern, words, beginnings, most_candidates, max_rows, privacy.key('seal');
END $$;
COMMENT ON FUNCTION privacy.find_people(BYTEA[], BYTEA[], TEXT, TEXT[], TEXT[], BOOLEAN, INTEGER) IS
    'One step of search_people: people by tokens, or by email where there is a pattern, without those seen before.';

CREATE FUNCTION privacy.query_words(query TEXT) RETURNS TABLE (word TEXT, begins BOOLEAN)
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE AS $$
BEGIN
    RETURN QUERY
        -- A star counts after a letter at the end of a term. A sign that is a word by itself needs none.
        SELECT w.word, right(term, 1) = '*' AND w.place = cardinality(t.words) AND ascii(w.word) < x'3005'::integer
                       AND privacy.name_words(left(right(term, 2), 1), false) <> '{}'
        FROM regexp_split_to_table(query, '[ \t\r\n]+') AS term,
             LATERAL (SELECT privacy.name_words(term, false) AS words) t,
             unnest(t.words) WITH ORDINALITY AS w (word, place);
END $$;
COMMENT ON FUNCTION privacy.query_words(TEXT) IS
    'The words that a query asks for, and whether each may be the mere beginning of one (mar*).';

CREATE FUNCTION privacy.search_keys() RETURNS BYTEA[] LANGUAGE sql STABLE AS $$
    SELECT array_remove(ARRAY[privacy.key('search')], NULL)
$$;
COMMENT ON FUNCTION privacy.search_keys() IS 'The sub-keys that entries of the blind index may be hashed with; none without a key.';

CREATE FUNCTION search_people(query TEXT, max_rows INTEGER DEFAULT 50) RETURNS TABLE (
    id UUID, user_type INTEGER, email TEXT, first_name TEXT, preferred_name TEXT, middle_name TEXT, last_name TEXT
) LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    keys CONSTANT BYTEA[] := privacy.search_keys();
    key BYTEA;
    whole TEXT[];          -- words of the query that a name must have
    beginnings TEXT[];     -- words of the query that a word of the name need only begin with
    exact BYTEA[];
    begun BYTEA[];
    fragment TEXT := btrim(query, E' \t\r\n');
    found BIGINT := 0;
    more BIGINT;
BEGIN
    IF keys = '{}' THEN
        RAISE EXCEPTION 'this session has no encryption key, so people cannot be searched'
            USING ERRCODE = 'invalid_authorization_specification',
                  HINT = 'SELECT set_config(''daybreak.encryption_key'', $1, true), with the key as a bound parameter.';
    ELSIF max_rows IS NULL OR max_rows NOT BETWEEN 1 AND 1000 THEN
        RAISE EXCEPTION 'max_rows is not from 1 to 1000' USING ERRCODE = 'invalid_parameter_value';
    END IF;

    SELECT coalesce(array_agg(word) FILTER (WHERE NOT begins), '{}'), coalesce(array_agg(word) FILTER (WHERE begins), '{}')
    INTO whole, beginnings
    FROM privacy.query_words(query);
    IF EXISTS (SELECT FROM unnest(beginnings) word WHERE length(word) < 3) THEN
        RAISE EXCEPTION 'a beginning of a name has fewer than three letters before the *'
            USING ERRCODE = 'invalid_parameter_value', HINT = 'Write three letters or more, or the whole word without *.';
    END IF;

    FOREACH key IN ARRAY keys LOOP
        CONTINUE WHEN whole || beginnings = '{}' OR found >= max_rows;
        exact := ARRAY(SELECT privacy.name_token(word || '.', key) FROM unnest(whole || beginnings) word);
        RETURN QUERY SELECT * FROM privacy.find_people(
            exact, NULL, NULL, whole || beginnings, '{}', false, (max_rows - found)::integer);
        GET DIAGNOSTICS more = ROW_COUNT;
        found := found + more;

        CONTINUE WHEN beginnings = '{}' OR found >= max_rows;
        begun := ARRAY(SELECT privacy.name_token(word || '.', key) FROM unnest(whole) word)
              || ARRAY(SELECT privacy.name_token(left(word, 6), key) FROM unnest(beginnings) word);
        RETURN QUERY SELECT * FROM privacy.find_people(
            begun, exact, NULL, whole, beginnings,
            EXISTS (SELECT FROM unnest(beginnings) word WHERE length(word) > 6), (max_rows - found)::integer);
        GET DIAGNOSTICS more = ROW_COUNT;
        found := found + more;
    END LOOP;

    -- Three letters or digits in a row, so that the index on emails has something to go by.
    IF fragment LIKE '%@%' AND fragment ~ '[A-Za-z0-9]{3}' AND found < max_rows THEN
        RETURN QUERY SELECT * FROM privacy.find_people(
            NULL, coalesce(begun, exact), '%' || regexp_replace(fragment, '([\\%_])', '\\\1', 'g') || '%',
            NULL, NULL, false, (max_rows - found)::integer);
    END IF;
END $$;
COMMENT ON FUNCTION search_people(TEXT, INTEGER) IS
    'Patients and guardians (user_type 1) and clinicians (2) with every word of the query in their names, whatever '
    'accents, case and order; mar* finds beginnings of three letters or more, and a query with @ also parts of an email. '
    'Whole words first, then by id. Needs the key; rows deleted at the source are left out.';
-- It unseals for whoever may call it.
REVOKE ALL ON FUNCTION search_people(TEXT, INTEGER) FROM PUBLIC;

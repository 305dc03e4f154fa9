-- Takes back 010_people_search. Names that are in the index are hashed again in the old form, which needs the key.

DROP FUNCTION search_people(TEXT, INTEGER);
DROP FUNCTION privacy.search_keys();
DROP FUNCTION privacy.query_words(TEXT);
DROP FUNCTION privacy.find_people(BYTEA[], BYTEA[], TEXT, TEXT[], TEXT[], BOOLEAN, INTEGER);
DROP FUNCTION privacy.is_called(TEXT, TEXT[], TEXT[]);
ALTER INDEX idx_clinicians_name_search RESET (gin_pending_list_limit);
ALTER INDEX idx_patients_guardians_name_search RESET (gin_pending_list_limit);
COMMENT ON COLUMN clinicians.name_tokens IS 'Blind index of the names: keyed hashes of their words.';
COMMENT ON COLUMN patients_and_guardians.name_tokens IS 'Blind index of the names: keyed hashes of their words.';

CREATE OR REPLACE FUNCTION privacy.name_tokens(names TEXT, key BYTEA) RETURNS BYTEA[] LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT array_agg(DISTINCT public.hmac(convert_to(word, 'UTF8'), key, 'sha256'))
    FROM regexp_split_to_table(
        translate(regexp_replace(lower(normalize(names, NFKD)), '[\u0300-\u036f]', '', 'g'), '''’ʼ`´', ''),
        '[-\s‐‑–—.,;:/()"_]+') AS word
    WHERE word <> ''
$$;
COMMENT ON FUNCTION privacy.name_tokens(TEXT, BYTEA) IS
    'Keyed hashes of the words of a name, without case and accents: equal words give equal hashes, nothing else can be read from them.';

DO $$
BEGIN
    IF EXISTS (SELECT FROM patients_and_guardians WHERE name_tokens IS NOT NULL)
       OR EXISTS (SELECT FROM clinicians WHERE name_tokens IS NOT NULL) THEN
        PERFORM privacy.rebuild_name_tokens();
    END IF;
END $$;

DROP FUNCTION privacy.rebuild_name_tokens();
DROP FUNCTION privacy.name_token(TEXT, BYTEA);
DROP FUNCTION privacy.name_words(TEXT, BOOLEAN);
DROP FUNCTION privacy.plain_letters(TEXT);

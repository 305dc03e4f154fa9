-- Takes back 013_key_rotation. The old key's values need its state: not while a rotation is unfinished.

DO $$
BEGIN
    IF EXISTS (SELECT FROM privacy.key_check WHERE previous_sealed IS NOT NULL) THEN
        RAISE EXCEPTION 'a rotation of the encryption key is unfinished: finish it with daybreak keys rotate first';
    END IF;
END $$;

DROP TABLE privacy.damaged_values;
DROP TABLE privacy.rotation_steps;
DROP TABLE privacy.rotations;
DROP FUNCTION privacy.rekey_hash(BYTEA, BYTEA, BYTEA);

CREATE OR REPLACE FUNCTION privacy.unseal(sealed BYTEA, key BYTEA) RETURNS TEXT LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE AS $$
BEGIN
    IF sealed IS NULL OR key IS NULL THEN
        RETURN NULL;
    END IF;
    RETURN public.pgp_sym_decrypt(sealed, encode(key, 'hex'));
EXCEPTION WHEN external_routine_invocation_exception OR external_routine_exception OR data_exception THEN
    RETURN NULL; -- one corrupted value must not break a whole view
END $$;
COMMENT ON FUNCTION privacy.unseal(BYTEA, BYTEA) IS
    'Decrypt one value; NULL without a key, and NULL where the ciphertext is damaged or of another key.';

CREATE OR REPLACE FUNCTION privacy.seal(value TEXT, key BYTEA) RETURNS BYTEA LANGUAGE sql VOLATILE PARALLEL SAFE AS $$
    -- The key is 32 random bytes, so the slow key stretching that protects passphrases buys nothing here.
    SELECT public.pgp_sym_encrypt(value, encode(key, 'hex'),
                                  'cipher-algo=aes256, s2k-mode=1, s2k-digest-algo=sha256, compress-algo=0')
$$;
COMMENT ON FUNCTION privacy.seal(TEXT, BYTEA) IS 'Encrypt one value with AES-256; NULL stays NULL.';

CREATE OR REPLACE FUNCTION privacy.search_keys() RETURNS BYTEA[] LANGUAGE sql STABLE AS $$
    SELECT array_remove(ARRAY[privacy.key('search')], NULL)
$$;
DROP FUNCTION privacy.previous_key(TEXT);

CREATE OR REPLACE FUNCTION privacy.key(purpose TEXT) RETURNS BYTEA LANGUAGE sql STABLE PARALLEL SAFE AS $$
    -- HKDF (RFC 5869) with SHA-256 and one block: extract without salt, expand with the purpose.
    WITH given AS (SELECT nullif(current_setting('daybreak.encryption_key', true), '') AS key)
    SELECT public.hmac(
        convert_to('daybreak/' || purpose, 'UTF8') || '\x01'::bytea,
        public.hmac(
            CASE WHEN given.key ~ '^[0-9a-fA-F]{64}$' THEN decode(given.key, 'hex')
                 ELSE decode(given.key, 'base64') END,
            decode(repeat('00', 32), 'hex'), 'sha256'),
        'sha256')
    FROM given WHERE given.key IS NOT NULL
$$;
COMMENT ON FUNCTION privacy.key(TEXT) IS
    'The session''s sub-key for one purpose, derived from daybreak.encryption_key; NULL when the session has no key.';

COMMENT ON COLUMN privacy.key_check.check_value IS NULL;
ALTER TABLE privacy.key_check DROP COLUMN previous_sealed;
DROP FUNCTION privacy.sub_key(BYTEA, TEXT);
DROP FUNCTION privacy.root_key(TEXT);

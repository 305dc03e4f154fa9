-- Rotation of the encryption key (the plan, 4.2: keys management; ADR 0007). While one is unfinished, the
-- database's key is already the new one, and the key's state holds what the old values still need, sealed
-- under the new key: sessions with the new key read everything, sessions with the old one are refused.
-- The state is versioned like the rows, so that every snapshot finds the keys that its rows need.

CREATE FUNCTION privacy.root_key(given TEXT) RETURNS BYTEA LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT public.hmac(
        CASE WHEN given ~ '^[0-9a-fA-F]{64}$' THEN decode(given, 'hex') ELSE decode(given, 'base64') END,
        decode(repeat('00', 32), 'hex'), 'sha256')
$$;
COMMENT ON FUNCTION privacy.root_key(TEXT) IS
    'HKDF (RFC 5869, SHA-256), extract: what all sub-keys of a key in hex or base64 are derived from.';

CREATE FUNCTION privacy.sub_key(root BYTEA, purpose TEXT) RETURNS BYTEA LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT public.hmac(convert_to('daybreak/' || purpose, 'UTF8') || '\x01'::bytea, root, 'sha256')
$$;
COMMENT ON FUNCTION privacy.sub_key(BYTEA, TEXT) IS 'HKDF, expand with one block: the sub-key for one purpose.';

ALTER TABLE privacy.key_check ADD COLUMN previous_sealed BYTEA;
COMMENT ON COLUMN privacy.key_check.check_value IS 'Sub-key of the key in force; no other sub-key can be told from it.';
COMMENT ON COLUMN privacy.key_check.previous_sealed IS
    'While a rotation is unfinished: what the old sub-keys are derived from, sealed under the new key. Else NULL.';

-- The key's state is read with the owner's rights: who may use the key need not see its state.
CREATE OR REPLACE FUNCTION privacy.key(purpose TEXT) RETURNS BYTEA
    LANGUAGE plpgsql STABLE PARALLEL SAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    given TEXT := nullif(current_setting('daybreak.encryption_key', true), '');
    root BYTEA;
    result BYTEA;
    state privacy.key_check;
BEGIN
    IF given IS NULL THEN
        RETURN NULL;
    END IF;
    root := privacy.root_key(given);
    result := privacy.sub_key(root, purpose);
    SELECT * INTO state FROM privacy.key_check;
    IF state.check_value <> privacy.sub_key(root, 'check') THEN
        RAISE EXCEPTION 'this session''s encryption key is not the one this database uses'
            USING ERRCODE = 'invalid_authorization_specification',
                  HINT = CASE WHEN state.previous_sealed IS NULL
                              THEN 'Use the key that this database was first used with or last rotated to.'
                              ELSE 'The key is being rotated: use the new one.' END;
    END IF;
    IF purpose = 'seal' AND state.previous_sealed IS NOT NULL THEN
        -- Not privacy.unseal: a state that cannot be read must be an error, and this may run in a parallel worker.
        result := result || privacy.sub_key(
            decode(public.pgp_sym_decrypt(state.previous_sealed, encode(result, 'hex')), 'hex'), 'seal');
    END IF;
    RETURN result;
END $$;
COMMENT ON FUNCTION privacy.key(TEXT) IS
    'The session''s sub-key for one purpose, derived from daybreak.encryption_key; NULL when the session has no key, '
    'an error when it has another than this database. For ''seal'' during a rotation the old sub-key follows the new one.';

CREATE FUNCTION privacy.previous_key(purpose TEXT) RETURNS BYTEA
    LANGUAGE plpgsql STABLE PARALLEL SAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    current BYTEA := substr(privacy.key('seal'), 1, 32);
BEGIN
    RETURN (SELECT privacy.sub_key(
                decode(public.pgp_sym_decrypt(previous_sealed, encode(current, 'hex')), 'hex'), purpose)
            FROM privacy.key_check);
END $$;
COMMENT ON FUNCTION privacy.previous_key(TEXT) IS
    'While a rotation is unfinished, the old sub-key for one purpose, for sessions that have the new key; else NULL.';

CREATE OR REPLACE FUNCTION privacy.search_keys() RETURNS BYTEA[] LANGUAGE sql STABLE AS $$
    SELECT array_remove(ARRAY[privacy.key('search'), privacy.previous_key('search')], NULL)
$$;

CREATE OR REPLACE FUNCTION privacy.seal(value TEXT, key BYTEA) RETURNS BYTEA LANGUAGE sql VOLATILE PARALLEL SAFE AS $$
    -- The key is 32 random bytes, so the slow key stretching that protects passphrases buys nothing here.
    SELECT public.pgp_sym_encrypt(value, encode(substr(key, 1, 32), 'hex'),
                                  'cipher-algo=aes256, s2k-mode=1, s2k-digest-algo=sha256, compress-algo=0')
$$;
COMMENT ON FUNCTION privacy.seal(TEXT, BYTEA) IS
    'Encrypt one value with AES-256 under the first of one or two keys (32 bytes each); NULL stays NULL.';

-- Not PARALLEL SAFE, as 007 has it: an EXCEPTION block in a parallel query is an error before PostgreSQL 17.
CREATE OR REPLACE FUNCTION privacy.unseal(sealed BYTEA, key BYTEA) RETURNS TEXT LANGUAGE plpgsql IMMUTABLE PARALLEL UNSAFE AS $$
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
COMMENT ON FUNCTION privacy.unseal(BYTEA, BYTEA) IS
    'Decrypt one value with the first of one or two keys (32 bytes each) that fits; NULL without a key, and NULL where the '
    'ciphertext is damaged or of another key.';

CREATE FUNCTION privacy.rekey_hash(hash BYTEA, old BYTEA, new BYTEA) RETURNS BYTEA LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT CASE WHEN length(hash) > 0 AND length(hash) % 16 = 0
                THEN public.encrypt(public.decrypt(hash, old, 'aes-ecb/pad:none'), new, 'aes-ecb/pad:none')
                ELSE hash END
$$;
COMMENT ON FUNCTION privacy.rekey_hash(BYTEA, BYTEA, BYTEA) IS
    'A keyed hash (a digest permuted by AES-256) under another key; what cannot be one stays as it is.';

CREATE TABLE privacy.rotations (
    id BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    started_at TIMESTAMPTZ NOT NULL DEFAULT now(),
    finished_at TIMESTAMPTZ,
    awaited TEXT[]
);
CREATE UNIQUE INDEX rotations_one_unfinished ON privacy.rotations ((true)) WHERE finished_at IS NULL;
COMMENT ON TABLE privacy.rotations IS 'Every rotation of the encryption key; at most one is unfinished.';
COMMENT ON COLUMN privacy.rotations.awaited IS
    'Virtual ids of the transactions that were open when the new key came into force and may still write with the '
    'old one; NULL before they are known. No row is re-encrypted before they have ended.';

CREATE TABLE privacy.rotation_steps (
    rotation_id BIGINT NOT NULL REFERENCES privacy.rotations,
    phase TEXT NOT NULL,
    relation TEXT NOT NULL,
    position JSONB,
    rows_done BIGINT NOT NULL DEFAULT 0,
    finished_at TIMESTAMPTZ,
    PRIMARY KEY (rotation_id, phase, relation),
    CONSTRAINT rotation_steps_phase CHECK (phase IN ('re-encrypt', 'verify'))
);
COMMENT ON TABLE privacy.rotation_steps IS
    'How far a rotation is in each table; moved in the transaction that rewrites the rows.';
COMMENT ON COLUMN privacy.rotation_steps.position IS 'Primary key of the last row that is done.';

CREATE TABLE privacy.damaged_values (
    rotation_id BIGINT NOT NULL REFERENCES privacy.rotations,
    relation TEXT NOT NULL,
    row_key JSONB NOT NULL,
    column_name TEXT NOT NULL,
    PRIMARY KEY (rotation_id, relation, row_key, column_name)
);
COMMENT ON TABLE privacy.damaged_values IS
    'Sealed values that neither the old key nor the new one opens, as a rotation found and left them.';
COMMENT ON COLUMN privacy.damaged_values.row_key IS 'Primary key of the row, as a JSON array.';

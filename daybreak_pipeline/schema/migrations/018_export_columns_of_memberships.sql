-- A column of an export whose name may be a value (a phone number in place of a header) is kept sealed. Memberships keep
-- unknown columns in profile_data and had no sealed place for those.

ALTER TABLE memberships ADD COLUMN _export_columns_encrypted BYTEA;
COMMENT ON COLUMN memberships._export_columns_encrypted IS
    'Personal columns of the export that the schema does not have, as sealed JSON.';

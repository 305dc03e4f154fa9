-- Holds number 009 on this branch only, so that 010 can be applied: another change brings the real one. Drop this commit.

CREATE SCHEMA reserved_009;
COMMENT ON SCHEMA reserved_009 IS 'Holds a number.';

-- Lets a role log in with the password whose SCRAM verifier the session holds. The caller binds both settings as
-- parameters, so that neither password nor verifier stands in a statement that the server may log.

DO $$
BEGIN
    EXECUTE format('ALTER ROLE %I LOGIN PASSWORD %L',
                   current_setting('daybreak.role'), current_setting('daybreak.password_verifier'));
EXCEPTION WHEN OTHERS THEN -- told anew: the error's context would quote the statement
    RAISE EXCEPTION USING ERRCODE = SQLSTATE, MESSAGE = SQLERRM;
END $$;

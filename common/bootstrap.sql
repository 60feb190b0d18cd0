-- The one step that needs a superuser: roles, their standing, and the extension.
-- `manage.py bootstrap_database` runs this file; in production a database administrator may,
-- connected to the (empty) database that Commonplace will use:
--     psql --set ON_ERROR_STOP=1 --file common/bootstrap.sql "$SUPERUSER_URL"
-- and then sets the passwords with ALTER ROLE … PASSWORD. Safe to repeat.

DO $$
DECLARE
    role_name text;
BEGIN
    FOREACH role_name IN ARRAY ARRAY['owner', 'app', 'operator', 'backup', 'metrics', 'analyst']
    LOOP
        IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = role_name) THEN
            EXECUTE format('CREATE ROLE %I LOGIN', role_name);
        END IF;
    END LOOP;
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'definer') THEN
        CREATE ROLE definer NOLOGIN;
    END IF;
END $$;

ALTER ROLE owner NOSUPERUSER NOCREATEDB NOCREATEROLE NOBYPASSRLS;
ALTER ROLE app NOSUPERUSER NOCREATEDB NOCREATEROLE NOBYPASSRLS;
ALTER ROLE operator NOSUPERUSER NOCREATEDB NOCREATEROLE NOBYPASSRLS;
ALTER ROLE metrics NOSUPERUSER NOCREATEDB NOCREATEROLE NOBYPASSRLS;
ALTER ROLE analyst NOSUPERUSER NOCREATEDB NOCREATEROLE NOBYPASSRLS CONNECTION LIMIT 10;
ALTER ROLE backup NOSUPERUSER NOCREATEDB NOCREATEROLE BYPASSRLS;
ALTER ROLE definer NOSUPERUSER NOCREATEDB NOCREATEROLE NOBYPASSRLS NOLOGIN;

-- A request that the database works on for longer than this is answered with an error.
ALTER ROLE app SET statement_timeout = '30s';
ALTER ROLE operator SET statement_timeout = '60s';
-- Where the limit is lifted, the statement of a process that was killed would go on to its end,
-- with all its locks.
ALTER ROLE app SET client_connection_check_interval = '2s';
ALTER ROLE operator SET client_connection_check_interval = '2s';
ALTER ROLE backup SET default_transaction_read_only = on;

-- A tool for analytics must neither keep the server busy nor hold back its clean-up. It could
-- lift these limits for itself: what it may read is bounded by its grants.
ALTER ROLE analyst SET statement_timeout = '120s';
ALTER ROLE analyst SET idle_in_transaction_session_timeout = '60s';
ALTER ROLE analyst SET default_transaction_read_only = on;

-- The owner hands functions for searching and for the change stream to `definer`, and may drop
-- them again.
GRANT definer TO owner WITH INHERIT TRUE, SET TRUE;
GRANT pg_read_all_data TO backup;
GRANT pg_monitor TO metrics;

DO $$
BEGIN
    EXECUTE format('ALTER DATABASE %I OWNER TO owner', current_database());
    EXECUTE format('REVOKE ALL ON DATABASE %I FROM PUBLIC', current_database());
    EXECUTE format('GRANT CONNECT ON DATABASE %I TO app, operator, backup, metrics, analyst', current_database());
    -- Imports stage into temporary tables.
    EXECUTE format('GRANT TEMPORARY ON DATABASE %I TO app', current_database());
END $$;

REVOKE ALL ON SCHEMA public FROM PUBLIC;
GRANT USAGE ON SCHEMA public TO app, operator, backup, metrics;
GRANT USAGE, CREATE ON SCHEMA public TO owner, definer;

-- Not a trusted extension: an owner could not create it.
CREATE EXTENSION IF NOT EXISTS vector;

-- Any login could otherwise hold the locks that exports, imports and partitions wait for, or keep
-- large objects, which no grant on a table bounds.
DO $$
DECLARE
    function regprocedure;
BEGIN
    FOR function IN
        SELECT oid::regprocedure FROM pg_proc
        WHERE pronamespace = 'pg_catalog'::regnamespace
          AND (proname ~ '^pg_(try_)?advisory_' OR proname ~ '^lo_'
               OR proname IN ('loread', 'lowrite', 'pg_logical_emit_message'))
    LOOP
        EXECUTE format('REVOKE ALL ON FUNCTION %s FROM PUBLIC', function);
        IF function::text ~ 'advisory' THEN
            EXECUTE format('GRANT EXECUTE ON FUNCTION %s TO owner, app, operator', function);
        END IF;
    END LOOP;
END $$;

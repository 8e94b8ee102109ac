-- The gate itself is the library, loaded by shared_preload_libraries; this only shows it.
\echo Use "CREATE EXTENSION regent" to load this file. \quit

CREATE FUNCTION regent_gate(
    OUT epoch bigint,         -- of the last lease seen; null without a lease file
    OUT open boolean,         -- is there a lease now
    OUT remaining_ms bigint,  -- of that lease
    OUT waits bigint,         -- times that a backend began to wait for a lease, since the server's start
    OUT refused bigint,       -- transactions and reads refused with 25006
    OUT severed bigint        -- sessions ended because a durable commit could not be acknowledged
) AS 'MODULE_PATHNAME', 'regent_gate' LANGUAGE C VOLATILE STRICT PARALLEL RESTRICTED;

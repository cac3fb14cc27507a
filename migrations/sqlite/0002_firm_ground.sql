-- The events of a batch, for whoever follows the log.
CREATE INDEX events_pos ON events (pos) WHERE pos IS NOT NULL;

-- What only one node may do at a time. A lease ends at `expires_ms` by the database's clock (zero: it
-- was given back). Whoever takes it next gets a larger `fence`, and what is written under an older
-- one is refused. `holder` is the run of a node, as in `nodes`.
CREATE TABLE leases (
    name TEXT NOT NULL,
    -- Tells apart the shares of work that is divided; zero where it is not.
    partition INTEGER NOT NULL,
    holder INTEGER NOT NULL,
    fence INTEGER NOT NULL,
    expires_ms INTEGER NOT NULL,
    PRIMARY KEY (name, partition)
) STRICT, WITHOUT ROWID;

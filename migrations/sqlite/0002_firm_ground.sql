-- The events of a batch, for whoever follows the log.
CREATE INDEX events_pos ON events (pos) WHERE pos IS NOT NULL;

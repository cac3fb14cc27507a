-- The events of a batch, for whoever follows the log.
CREATE INDEX events_pos ON events (pos) WHERE pos IS NOT NULL;

-- The members that a room without a name is called by: those who came first.
CREATE INDEX memberships_first ON memberships (room_nid, membership, pos, user_id);

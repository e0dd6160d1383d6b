-- Who works on this ledger, and who does what only one may do. Nothing here is part of the story: it is gone when the node is.

-- A node at work. Its leases are as good as its beat.
CREATE TABLE node (
	name  TEXT    NOT NULL PRIMARY KEY CHECK (name <> ''),
	life  TEXT    NOT NULL CHECK (life <> ''), -- random, chosen at each start
	since INTEGER NOT NULL,                    -- since when its beat has not stopped
	until INTEGER NOT NULL,                    -- when its beat runs out; 0: it left, and what it still held is taken back
	ttl   INTEGER NOT NULL CHECK (ttl > 0)
) STRICT, WITHOUT ROWID;

-- A duty that one node does for all.
CREATE TABLE duty (
	name  TEXT    NOT NULL PRIMARY KEY CHECK (name <> ''),
	node  TEXT    NOT NULL CHECK (node <> ''),
	until INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

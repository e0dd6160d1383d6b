-- The ledger. Times are microseconds since 1970 UTC. Every row belongs to an authority: by its own column, or through
-- its message or delivery.

-- The authorities guarded by this installation, strictly apart.
CREATE TABLE authority (
	no   INTEGER PRIMARY KEY,
	name TEXT NOT NULL UNIQUE
) STRICT;

-- One accepted SMTP transaction, or one notice. Never deleted; nothing but the sealing of its sender changes.
CREATE TABLE message (
	no            INTEGER PRIMARY KEY,
	id            TEXT    NOT NULL UNIQUE,
	authority     INTEGER NOT NULL REFERENCES authority (no),
	kind          TEXT    NOT NULL CHECK (kind IN ('mail', 'notice')),
	direction     TEXT    NOT NULL,
	sender        TEXT    NOT NULL,            -- masked; empty is the null reverse-path
	sender_sealed BLOB,                        -- the true address, when the masked one is not the whole truth
	sender_key    TEXT    NOT NULL,            -- domain@local in lower case, for finding
	header_id     TEXT    NOT NULL,            -- masked
	size          INTEGER NOT NULL CHECK (size >= 0),
	client        TEXT    NOT NULL,
	ret           TEXT    NOT NULL,
	envid         TEXT    NOT NULL,
	utf8          INTEGER NOT NULL CHECK (utf8 IN (0, 1)),
	eight_bit     INTEGER NOT NULL CHECK (eight_bit IN (0, 1)),
	tell_sender   INTEGER NOT NULL CHECK (tell_sender IN (0, 1)),
	unit          TEXT    NOT NULL,
	language      TEXT    NOT NULL,
	accepted_at   INTEGER NOT NULL,
	findings      TEXT,                        -- JSON, masked; NULL: none
	repairs       TEXT                         -- JSON, masked; NULL: none
) STRICT;
CREATE INDEX message_header_id ON message (header_id) WHERE header_id <> '';
CREATE INDEX message_sender    ON message (sender_key) WHERE sender_key <> '';
CREATE INDEX message_accepted  ON message (accepted_at);

CREATE TRIGGER message_stays BEFORE DELETE ON message
BEGIN SELECT RAISE(ABORT, 'law 2: a message is never deleted'); END;

-- Sealed bodies. They go when the message's last delivery is final. The number is message * 8 + which, so that no
-- second index is written for the largest rows there are.
CREATE TABLE body (
	no   INTEGER PRIMARY KEY,
	data BLOB NOT NULL
) STRICT;

-- One (message, recipient): the unit of accounting, and the queue.
CREATE TABLE delivery (
	no               INTEGER PRIMARY KEY,
	message          INTEGER NOT NULL REFERENCES message (no),
	n                INTEGER NOT NULL,         -- index among the message's recipients
	notice           INTEGER NOT NULL CHECK (notice IN (0, 1)),
	recipient        TEXT    NOT NULL,         -- masked
	recipient_sealed BLOB,
	recipient_key    TEXT    NOT NULL,         -- domain@local in lower case, for finding
	notify           TEXT    NOT NULL,
	orcpt            TEXT    NOT NULL,
	inside           INTEGER NOT NULL CHECK (inside IN (0, 1)),
	state            TEXT    NOT NULL CHECK (state IN ('queued', 'held', 'returning', 'delivered', 'returned', 'withdrawn')),
	verdict          TEXT    NOT NULL,         -- JSON
	body             INTEGER NOT NULL CHECK (body IN (0, 1)),
	lane             TEXT    NOT NULL,
	owner            TEXT    NOT NULL,
	due              INTEGER,                  -- queued: not before; while leased: the end of the lease
	deadline         INTEGER,
	watch            INTEGER,                  -- when the watch looks next; NULL: never
	attempts         INTEGER NOT NULL CHECK (attempts >= 0),
	node             TEXT    NOT NULL,         -- who holds the lease; empty: nobody
	started          INTEGER,                  -- while leased: when the attempt began, which is its intent
	possibly         INTEGER NOT NULL CHECK (possibly IN (0, 1)),
	told             TEXT    NOT NULL,         -- TellKinds, separated by commas, oldest first
	rung             INTEGER NOT NULL,
	ended_at         INTEGER,
	ended_by         TEXT    NOT NULL,         -- the person who ended it; empty: the guard

	UNIQUE (message, n),
	-- a notice has one delivery
	CHECK (notice = 0 OR n = 0),
	-- law 2: an open delivery has an owner and a deadline, a final one has ended
	CHECK (state NOT IN ('queued', 'held', 'returning') OR (owner <> '' AND deadline IS NOT NULL AND ended_at IS NULL)),
	CHECK (state NOT IN ('delivered', 'returned', 'withdrawn') OR (ended_at IS NOT NULL AND deadline IS NULL AND watch IS NULL AND due IS NULL)),
	-- a queued delivery is due at some time, and has somewhere to go
	CHECK (state <> 'queued' OR (due IS NOT NULL AND lane <> '')),
	-- only queued deliveries are leased
	CHECK (node = '' OR (state = 'queued' AND started IS NOT NULL AND attempts > 0)),
	-- mail is withdrawn by a person; the guard itself may only withdraw a notice that is no longer needed
	CHECK (state <> 'withdrawn' OR notice = 1 OR ended_by <> '')
) STRICT;
-- The queue: by lane and time. Leased rows stand in it at the end of their lease.
CREATE INDEX delivery_queue  ON delivery (lane, due) WHERE state = 'queued';
CREATE INDEX delivery_watch  ON delivery (watch) WHERE watch IS NOT NULL;
CREATE INDEX delivery_find   ON delivery (recipient_key);
-- What did not simply go through, for people who look for it.
CREATE INDEX delivery_rare   ON delivery (state, message) WHERE state IN ('held', 'returning', 'returned', 'withdrawn');
CREATE INDEX delivery_alarms ON delivery (no) WHERE notice = 1 AND state = 'held';

CREATE TRIGGER delivery_stays BEFORE DELETE ON delivery
BEGIN SELECT RAISE(ABORT, 'law 2: a delivery is never deleted'); END;

CREATE TRIGGER delivery_begins_open BEFORE INSERT ON delivery
WHEN NEW.state NOT IN ('queued', 'held', 'returning')
BEGIN SELECT RAISE(ABORT, 'law 2: a delivery begins open'); END;

-- The state machine of ledger/state.go, once more.
CREATE TRIGGER delivery_steps BEFORE UPDATE OF state ON delivery
WHEN NEW.state <> OLD.state AND NOT (
	(OLD.state = 'queued' AND NEW.state IN ('held', 'returning', 'delivered', 'withdrawn')) OR
	(OLD.state = 'held' AND NEW.state IN ('queued', 'returning', 'withdrawn')) OR
	(OLD.state = 'returning' AND NEW.state = 'returned'))
BEGIN SELECT RAISE(ABORT, 'law 2: there is no such step'); END;

CREATE TRIGGER delivery_identity BEFORE UPDATE OF message, n, notice ON delivery
BEGIN SELECT RAISE(ABORT, 'law 2: a delivery stays with its message'); END;

-- Which notice tells of which delivery. Its authority is its message's.
CREATE TABLE link (
	notice INTEGER NOT NULL REFERENCES message (no),
	about  INTEGER NOT NULL REFERENCES delivery (no),
	tells  TEXT    NOT NULL,
	PRIMARY KEY (notice, about)
) STRICT, WITHOUT ROWID;
CREATE INDEX link_about ON link (about);

CREATE TRIGGER link_stays BEFORE DELETE ON link
BEGIN SELECT RAISE(ABORT, 'law 3: what a notice told stays'); END;
CREATE TRIGGER link_same BEFORE UPDATE ON link
BEGIN SELECT RAISE(ABORT, 'law 3: what a notice told stays'); END;

-- Law 3: returned means told.
CREATE TRIGGER delivery_told BEFORE UPDATE OF state ON delivery
WHEN NEW.state = 'returned' AND OLD.state <> 'returned' AND NOT EXISTS (
	SELECT 1 FROM link JOIN delivery AS d ON d.message = link.notice
	WHERE link.about = NEW.no AND link.tells = 'returned'
	AND (d.state = 'delivered' OR (d.state = 'withdrawn' AND d.ended_by <> '')))
BEGIN SELECT RAISE(ABORT, 'law 3: returned only when the notice has arrived'); END;

-- Attempts that ended or were cut off. The intent of one under way is the leased delivery itself.
CREATE TABLE attempt (
	delivery INTEGER NOT NULL REFERENCES delivery (no),
	no       INTEGER NOT NULL CHECK (no > 0),
	node     TEXT    NOT NULL,
	started  INTEGER NOT NULL,
	ended    INTEGER NOT NULL,
	outcome  TEXT    NOT NULL,
	code     INTEGER NOT NULL,
	enhanced TEXT    NOT NULL,
	text     TEXT    NOT NULL,
	contact  INTEGER NOT NULL CHECK (contact IN (0, 1)),
	receipt  BLOB,                             -- JSON; NULL when cut off
	PRIMARY KEY (delivery, no)
) STRICT, WITHOUT ROWID;

CREATE TRIGGER attempt_stays BEFORE DELETE ON attempt
BEGIN SELECT RAISE(ABORT, 'an attempt is never deleted'); END;
CREATE TRIGGER attempt_same BEFORE UPDATE ON attempt
BEGIN SELECT RAISE(ABORT, 'an attempt is never changed'); END;

-- The story. Append-only; numbered without gaps per authority, so that nothing is taken out unseen.
CREATE TABLE event (
	authority INTEGER NOT NULL REFERENCES authority (no),
	seq       INTEGER NOT NULL CHECK (seq > 0),
	message   INTEGER REFERENCES message (no),  -- NULL: concerns the authority
	delivery  INTEGER REFERENCES delivery (no), -- NULL: concerns the message
	at        INTEGER NOT NULL,
	kind      TEXT    NOT NULL CHECK (kind <> ''),
	by        TEXT    NOT NULL,                -- a person; empty: the guard
	detail    TEXT    NOT NULL,                -- masked
	PRIMARY KEY (authority, seq)
) STRICT, WITHOUT ROWID;
CREATE INDEX event_message ON event (message) WHERE message IS NOT NULL;

CREATE TRIGGER event_stays BEFORE DELETE ON event
BEGIN SELECT RAISE(ABORT, 'an event is never deleted'); END;
CREATE TRIGGER event_same BEFORE UPDATE ON event
BEGIN SELECT RAISE(ABORT, 'an event is never changed'); END;

-- The hash chain over the events, a row for every batch that was sealed. It stands apart from the events, so that
-- sealing rewrites none of them.
CREATE TABLE seal (
	authority INTEGER NOT NULL REFERENCES authority (no),
	first     INTEGER NOT NULL,
	last      INTEGER NOT NULL CHECK (last >= first),
	count     INTEGER NOT NULL CHECK (count = last - first + 1),
	hash      BLOB    NOT NULL CHECK (length(hash) = 32), -- SHA-256 of the seal before and of the batch's events
	at        INTEGER NOT NULL,
	PRIMARY KEY (authority, last)
) STRICT, WITHOUT ROWID;

CREATE TRIGGER seal_stays BEFORE DELETE ON seal
BEGIN SELECT RAISE(ABORT, 'a seal is never deleted'); END;
CREATE TRIGGER seal_same BEFORE UPDATE ON seal
BEGIN SELECT RAISE(ABORT, 'a seal is never changed'); END;

-- How many deliveries were accepted ('accepted') and stand in each state, how many events there are ('events') and how many of
-- them are sealed ('sealed'): kept by the transactions that change them, so that the sum costs nothing and nothing is cut off at the
-- end unseen. Verify counts the rows themselves.
CREATE TABLE tally (
	authority INTEGER NOT NULL REFERENCES authority (no),
	what      TEXT    NOT NULL,
	n         INTEGER NOT NULL,
	PRIMARY KEY (authority, what)
) STRICT, WITHOUT ROWID;

-- Small facts of the installation.
CREATE TABLE fact (
	name  TEXT NOT NULL PRIMARY KEY,
	value TEXT NOT NULL
) STRICT, WITHOUT ROWID;

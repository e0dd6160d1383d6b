-- Retention: details go, then rows, each with its proof. Everything that could not be deleted still cannot be, but by Prune, which
-- names in the table pruning what its transaction removes.

ALTER TABLE message ADD COLUMN erased_at INTEGER; -- when what tells of people was taken away; NULL: it is all there

-- What the transaction under way removes; empty between transactions.
CREATE TABLE pruning (
	message INTEGER PRIMARY KEY,
	stage   TEXT    NOT NULL CHECK (stage IN ('details', 'rows'))
) STRICT;

CREATE TRIGGER pruning_final BEFORE INSERT ON pruning
WHEN EXISTS (SELECT 1 FROM delivery AS d WHERE d.message = NEW.message AND d.ended_at IS NULL)
BEGIN SELECT RAISE(ABORT, 'law 2: an open delivery is never pruned'); END;

CREATE TRIGGER pruning_told BEFORE INSERT ON pruning
WHEN EXISTS (SELECT 1 FROM delivery AS d JOIN link AS l ON l.about = d.no JOIN delivery AS n ON n.message = l.notice
	WHERE d.message = NEW.message AND n.ended_at IS NULL)
BEGIN SELECT RAISE(ABORT, 'law 3: what an open notice tells of is never pruned'); END;

DROP TRIGGER message_stays;
CREATE TRIGGER message_stays BEFORE DELETE ON message
WHEN NOT EXISTS (SELECT 1 FROM pruning AS p WHERE p.message = OLD.no AND p.stage = 'rows')
BEGIN SELECT RAISE(ABORT, 'law 2: a message is never deleted but by retention'); END;

DROP TRIGGER delivery_stays;
CREATE TRIGGER delivery_stays BEFORE DELETE ON delivery
WHEN OLD.ended_at IS NULL OR NOT EXISTS (SELECT 1 FROM pruning AS p WHERE p.message = OLD.message AND p.stage = 'rows')
BEGIN SELECT RAISE(ABORT, 'law 2: a delivery is never deleted but by retention'); END;

DROP TRIGGER link_stays;
CREATE TRIGGER link_stays BEFORE DELETE ON link
WHEN NOT EXISTS (SELECT 1 FROM delivery AS d JOIN pruning AS p ON p.message = d.message WHERE d.no = OLD.about AND p.stage = 'rows')
BEGIN SELECT RAISE(ABORT, 'law 3: what a notice told stays as long as its subject'); END;

DROP TRIGGER attempt_stays;
CREATE TRIGGER attempt_stays BEFORE DELETE ON attempt
WHEN NOT EXISTS (SELECT 1 FROM delivery AS d JOIN pruning AS p ON p.message = d.message WHERE d.no = OLD.delivery AND p.stage = 'rows')
BEGIN SELECT RAISE(ABORT, 'an attempt is never deleted but by retention'); END;

DROP TRIGGER attempt_same;
CREATE TRIGGER attempt_same BEFORE UPDATE ON attempt
WHEN NEW.delivery <> OLD.delivery OR NEW.no <> OLD.no OR NEW.node <> OLD.node OR NEW.started <> OLD.started OR NEW.ended <> OLD.ended
	OR NEW.outcome <> OLD.outcome OR NEW.code <> OLD.code OR NEW.enhanced <> OLD.enhanced OR NEW.contact <> OLD.contact
	OR NEW.receipt IS NOT OLD.receipt OR NEW.text <> ''
	OR NOT EXISTS (SELECT 1 FROM delivery AS d JOIN pruning AS p ON p.message = d.message WHERE d.no = OLD.delivery AND p.stage = 'details')
BEGIN SELECT RAISE(ABORT, 'an attempt is never changed but by retention, which takes the words'); END;

-- The events once more, with what is kept of erased words. delivery refers to no row: deleting a delivery would otherwise walk all
-- events, or cost every event an index.
CREATE TABLE event_new (
	authority INTEGER NOT NULL REFERENCES authority (no),
	seq       INTEGER NOT NULL CHECK (seq > 0),
	message   INTEGER REFERENCES message (no), -- NULL: concerns the authority
	delivery  INTEGER,                         -- number of the delivery; NULL: concerns the message
	at        INTEGER NOT NULL,
	kind      TEXT    NOT NULL CHECK (kind <> ''),
	by        TEXT    NOT NULL,                -- a person; empty: the guard
	detail    TEXT    NOT NULL,                -- masked
	words     BLOB    CHECK (words IS NULL OR (length(words) = 32 AND by = '' AND detail = '')), -- SHA-256 of by and detail once they are erased (ledger/chain.go); NULL: they are there
	PRIMARY KEY (authority, seq)
) STRICT, WITHOUT ROWID;
INSERT INTO event_new (authority, seq, message, delivery, at, kind, by, detail)
	SELECT authority, seq, message, delivery, at, kind, by, detail FROM event ORDER BY authority, seq;
DROP TABLE event;
ALTER TABLE event_new RENAME TO event;
CREATE INDEX event_message ON event (message) WHERE message IS NOT NULL;

-- What stays of an event that is gone, until its whole batch is.
CREATE TABLE leaf (
	authority INTEGER NOT NULL REFERENCES authority (no),
	seq       INTEGER NOT NULL,
	hash      BLOB    NOT NULL CHECK (length(hash) = 32),
	PRIMARY KEY (authority, seq)
) STRICT, WITHOUT ROWID;

CREATE TRIGGER event_stays BEFORE DELETE ON event
WHEN NOT EXISTS (SELECT 1 FROM pruning AS p WHERE p.message = OLD.message AND p.stage = 'rows')
	OR NOT EXISTS (SELECT 1 FROM leaf AS l WHERE l.authority = OLD.authority AND l.seq = OLD.seq)
BEGIN SELECT RAISE(ABORT, 'an event is never deleted but by retention, which keeps its hash'); END;

CREATE TRIGGER event_same BEFORE UPDATE ON event
WHEN NEW.authority <> OLD.authority OR NEW.seq <> OLD.seq OR NEW.message IS NOT OLD.message OR NEW.delivery IS NOT OLD.delivery
	OR NEW.at <> OLD.at OR NEW.kind <> OLD.kind OR NEW.words IS NULL OR OLD.words IS NOT NULL
	OR NOT EXISTS (SELECT 1 FROM pruning AS p WHERE p.message = OLD.message AND p.stage = 'details')
BEGIN SELECT RAISE(ABORT, 'an event is never changed but by retention, which takes the words'); END;

-- The chain once more, over the leaves (ledger/chain.go): migrate.go fills it from seal_old, whose hashes are over the events.
ALTER TABLE seal RENAME TO seal_old;
DROP TRIGGER seal_stays;
DROP TRIGGER seal_same;
CREATE TABLE seal (
	authority INTEGER NOT NULL REFERENCES authority (no),
	first     INTEGER NOT NULL,
	last      INTEGER NOT NULL CHECK (last >= first),
	count     INTEGER NOT NULL CHECK (count = last - first + 1),
	hash      BLOB    NOT NULL CHECK (length(hash) = 32),  -- SHA-256 of the seal before and of batch
	batch     BLOB    NOT NULL CHECK (length(batch) = 32), -- SHA-256 of the batch's leaves
	at        INTEGER NOT NULL,
	PRIMARY KEY (authority, last)
) STRICT, WITHOUT ROWID;

CREATE TRIGGER seal_stays BEFORE DELETE ON seal
BEGIN SELECT RAISE(ABORT, 'a seal is never deleted'); END;
CREATE TRIGGER seal_same BEFORE UPDATE ON seal
BEGIN SELECT RAISE(ABORT, 'a seal is never changed'); END;

CREATE TRIGGER leaf_stays BEFORE DELETE ON leaf
WHEN NOT EXISTS (SELECT 1 FROM seal AS s WHERE s.authority = OLD.authority AND s.last >= OLD.seq)
	OR EXISTS (SELECT 1 FROM event AS e WHERE e.authority = OLD.authority
		AND e.seq >= (SELECT s.first FROM seal AS s WHERE s.authority = OLD.authority AND s.last >= OLD.seq ORDER BY s.last LIMIT 1)
		AND e.seq <= (SELECT s.last FROM seal AS s WHERE s.authority = OLD.authority AND s.last >= OLD.seq ORDER BY s.last LIMIT 1))
BEGIN SELECT RAISE(ABORT, 'a leaf stays while its batch holds an event'); END;
CREATE TRIGGER leaf_same BEFORE UPDATE ON leaf
BEGIN SELECT RAISE(ABORT, 'a leaf is never changed'); END;

-- What was removed: a row for every stage and class of a transaction, and an event of the same number that says the same.
CREATE TABLE proof (
	authority INTEGER NOT NULL REFERENCES authority (no),
	seq       INTEGER NOT NULL,                        -- of its event
	at        INTEGER NOT NULL,
	stage     TEXT    NOT NULL CHECK (stage IN ('details', 'rows')),
	class     TEXT    NOT NULL CHECK (class IN ('ordinary', 'confidential', 'sensitive')),
	messages  INTEGER NOT NULL CHECK (messages > 0),
	delivered INTEGER NOT NULL,                        -- deliveries that went, by how they ended
	returned  INTEGER NOT NULL,
	withdrawn INTEGER NOT NULL,
	events    INTEGER NOT NULL,                        -- events that went
	until     INTEGER NOT NULL,                        -- all that was removed was final by then
	ids       BLOB    NOT NULL CHECK (length(ids) = 32), -- SHA-256 over the ids
	PRIMARY KEY (authority, seq)
) STRICT, WITHOUT ROWID;

CREATE TRIGGER proof_stays BEFORE DELETE ON proof
BEGIN SELECT RAISE(ABORT, 'a proof is never deleted'); END;
CREATE TRIGGER proof_same BEFORE UPDATE ON proof
BEGIN SELECT RAISE(ABORT, 'a proof is never changed'); END;

-- How far retention has looked through the messages, in their order, and the few it passed that were not ready.
CREATE TABLE prune_cursor (
	authority INTEGER NOT NULL REFERENCES authority (no),
	stage     TEXT    NOT NULL,
	class     TEXT    NOT NULL,
	message   INTEGER NOT NULL, -- looked at up to this one
	PRIMARY KEY (authority, stage, class)
) STRICT, WITHOUT ROWID;

CREATE TABLE prune_wait (
	authority INTEGER NOT NULL REFERENCES authority (no),
	stage     TEXT    NOT NULL,
	message   INTEGER NOT NULL,
	PRIMARY KEY (authority, stage, message)
) STRICT, WITHOUT ROWID;

-- The ledger. Every row belongs to an authority, by its own column. What is final stands in partitions by month: a message's id
-- begins with its time, so a range of ids is a range of time, and what belongs to a message stands in its month.
--
-- Hot tables have no foreign keys: to authority each insert would lock the one row that all others lock, too, and to message it would
-- look, and lock, in every month. Verify looks instead.

-- The authorities guarded by this installation, strictly apart.
CREATE TABLE authority (
	no   integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
	name text    NOT NULL UNIQUE
);

-- Numbers of deliveries, handed out in blocks: see block in accept.go.
CREATE SEQUENCE delivery_no INCREMENT BY 256;

-- One accepted SMTP transaction, or one notice.
CREATE TABLE message (
	id            text COLLATE "C" NOT NULL PRIMARY KEY,
	authority     integer     NOT NULL,
	kind          text        NOT NULL CHECK (kind IN ('mail', 'notice')),
	direction     text        NOT NULL,
	sender        text        NOT NULL,            -- masked; empty is the null reverse-path
	sender_sealed bytea,                           -- the true address, when the masked one is not the whole truth
	sender_key    text COLLATE "C" NOT NULL,       -- domain@local in lower case, for finding
	header_id     text COLLATE "C" NOT NULL,       -- masked
	size          bigint      NOT NULL CHECK (size >= 0),
	recipients    integer     NOT NULL CHECK (recipients > 0),
	client        text        NOT NULL,
	ret           text        NOT NULL,
	envid         text        NOT NULL,
	utf8          boolean     NOT NULL,
	eight_bit     boolean     NOT NULL,
	tell_sender   boolean     NOT NULL,
	unit          text        NOT NULL,
	language      text        NOT NULL,
	accepted_at   timestamptz NOT NULL,
	findings      text,                            -- JSON, masked; NULL: none
	repairs       text                             -- JSON, masked; NULL: none
) PARTITION BY RANGE (id);
CREATE INDEX message_header_id ON message (header_id) WHERE header_id <> '';
CREATE INDEX message_sender    ON message (sender_key, accepted_at) WHERE sender_key <> '';
CREATE INDEX message_accepted  ON message (accepted_at, id);

-- Sealed bodies. They go when the message's last delivery is final. Sealed bytes do not compress.
CREATE TABLE body (
	message text COLLATE "C" NOT NULL,
	n       smallint NOT NULL CHECK (n IN (0, 1)),
	data    bytea    NOT NULL,
	PRIMARY KEY (message, n)
) WITH (autovacuum_vacuum_scale_factor = 0.05);
ALTER TABLE body ALTER COLUMN data SET STORAGE EXTERNAL;

-- One (message, recipient) that is open: the queue, and what waits for somebody.
CREATE TABLE delivery (
	no               bigint      NOT NULL PRIMARY KEY,
	message          text COLLATE "C" NOT NULL,
	n                integer     NOT NULL,         -- index among the message's recipients
	many             boolean     NOT NULL,         -- the message has other deliveries
	authority        integer     NOT NULL,
	notice           boolean     NOT NULL,
	recipient        text        NOT NULL,         -- masked
	recipient_sealed bytea,
	recipient_key    text COLLATE "C" NOT NULL,    -- domain@local in lower case, for finding
	notify           text        NOT NULL,
	orcpt            text        NOT NULL,
	inside           boolean     NOT NULL,
	state            text        NOT NULL,
	verdict          text        NOT NULL,         -- JSON
	body             smallint    NOT NULL CHECK (body IN (0, 1)),
	lane             text COLLATE "C" NOT NULL,
	owner            text        NOT NULL CHECK (owner <> ''),
	due              timestamptz,                  -- queued: not before; while leased: the end of the lease
	deadline         timestamptz NOT NULL,
	watch            timestamptz,                  -- when the watch looks next; NULL: never
	attempts         integer     NOT NULL CHECK (attempts >= 0),
	node             text        NOT NULL,         -- who holds the lease; empty: nobody
	started          timestamptz,                  -- while leased: when the attempt began, which is its intent
	possibly         boolean     NOT NULL,
	told             text        NOT NULL,         -- TellKinds, separated by commas, oldest first
	rung             integer     NOT NULL,

	UNIQUE (message, n),
	-- a notice has one delivery
	CHECK (NOT notice OR n = 0),
	-- law 2: what stands here is open
	CONSTRAINT delivery_is_open CHECK (state IN ('queued', 'held', 'returning')),
	-- a queued delivery is due at some time, and has somewhere to go
	CHECK (state <> 'queued' OR (due IS NOT NULL AND lane <> '')),
	-- only queued deliveries are leased
	CHECK (node = '' OR (state = 'queued' AND started IS NOT NULL AND attempts > 0))
) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000, autovacuum_analyze_scale_factor = 0, autovacuum_analyze_threshold = 10000);
-- The queue: by lane and time. Leased rows stand in it at the end of their lease.
CREATE INDEX delivery_queue  ON delivery (lane, due) WHERE state = 'queued';
CREATE INDEX delivery_watch  ON delivery (watch) WHERE watch IS NOT NULL;
CREATE INDEX delivery_find   ON delivery (recipient_key);
CREATE INDEX delivery_rare   ON delivery (state, message) WHERE state <> 'queued';
CREATE INDEX delivery_alarms ON delivery (authority) WHERE notice AND state = 'held';

-- One (message, recipient) that has ended.
CREATE TABLE delivery_final (
	no               bigint      NOT NULL,
	message          text COLLATE "C" NOT NULL,
	n                integer     NOT NULL,
	authority        integer     NOT NULL,
	notice           boolean     NOT NULL,
	recipient        text        NOT NULL,
	recipient_sealed bytea,
	recipient_key    text COLLATE "C" NOT NULL,
	notify           text        NOT NULL,
	orcpt            text        NOT NULL,
	inside           boolean     NOT NULL,
	state            text        NOT NULL,
	verdict          text        NOT NULL,
	body             smallint    NOT NULL,
	lane             text        NOT NULL,
	owner            text        NOT NULL,
	attempts         integer     NOT NULL,
	possibly         boolean     NOT NULL,
	told             text        NOT NULL,
	rung             integer     NOT NULL,
	ended_at         timestamptz NOT NULL,
	ended_by         text        NOT NULL,         -- the person who ended it; empty: the guard

	PRIMARY KEY (message, n),
	CONSTRAINT delivery_is_final CHECK (state IN ('delivered', 'returned', 'withdrawn')),
	-- mail is withdrawn by a person; the guard itself may only withdraw a notice that is no longer needed
	CHECK (state <> 'withdrawn' OR notice OR ended_by <> '')
) PARTITION BY RANGE (message);
CREATE INDEX delivery_final_no   ON delivery_final (no);
CREATE INDEX delivery_final_find ON delivery_final (recipient_key);
CREATE INDEX delivery_final_rare ON delivery_final (state, message) WHERE state <> 'delivered';

-- Which notice tells of which delivery, and the message that one belongs to.
CREATE TABLE link (
	notice  text COLLATE "C" NOT NULL,
	about   bigint NOT NULL,
	subject text COLLATE "C" NOT NULL,
	tells   text   NOT NULL,
	PRIMARY KEY (notice, about)
) PARTITION BY RANGE (notice);
CREATE INDEX link_subject ON link (subject, about);

-- Attempts that ended or were cut off. The intent of one under way is the leased delivery itself.
CREATE TABLE attempt (
	message  text COLLATE "C" NOT NULL,
	delivery bigint      NOT NULL,
	no       integer     NOT NULL CHECK (no > 0),
	node     text        NOT NULL,
	started  timestamptz NOT NULL,
	ended    timestamptz NOT NULL,
	outcome  text        NOT NULL,
	code     integer     NOT NULL,
	enhanced text        NOT NULL,
	text     text        NOT NULL,
	contact  boolean     NOT NULL,
	receipt  bytea,                                -- JSON; NULL when cut off
	PRIMARY KEY (message, delivery, no)
) PARTITION BY RANGE (message);

-- The newest of the story: committed, but not yet numbered. No writer waits for another here; Seal moves the events on.
CREATE TABLE event_fresh (
	no        bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
	authority integer     NOT NULL,
	message   text COLLATE "C" NOT NULL,           -- empty: concerns the authority
	delivery  bigint      NOT NULL,                -- 0: concerns the message
	at        timestamptz NOT NULL,
	kind      text        NOT NULL CHECK (kind <> ''),
	by        text        NOT NULL,                -- a person; empty: the guard
	detail    text        NOT NULL                 -- masked
) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000);
CREATE INDEX event_fresh_message ON event_fresh (message);

-- The story. Append-only; numbered without gaps per authority, so that nothing is taken out unseen.
CREATE TABLE event (
	authority integer     NOT NULL,
	seq       bigint      NOT NULL CHECK (seq > 0),
	message   text COLLATE "C" NOT NULL,
	delivery  bigint      NOT NULL,
	at        timestamptz NOT NULL,
	kind      text        NOT NULL CHECK (kind <> ''),
	by        text        NOT NULL,
	detail    text        NOT NULL,
	PRIMARY KEY (authority, seq, message)
) PARTITION BY RANGE (message);
CREATE INDEX event_message ON event (message, seq);

-- The hash chain over the events, a row for every batch that was sealed: see ledger/chain.go.
CREATE TABLE seal (
	authority integer     NOT NULL REFERENCES authority (no),
	first     bigint      NOT NULL,
	last      bigint      NOT NULL CHECK (last >= first),
	batch     bytea       NOT NULL CHECK (length(batch) = 32),
	hash      bytea       NOT NULL CHECK (length(hash) = 32),
	at        timestamptz NOT NULL,
	PRIMARY KEY (authority, last)
);

-- How many deliveries were accepted and stand in each state, how many events there are and how many of them are sealed: kept by the
-- transactions that change them, each connection in a slot of its own so that none waits for another. The sum is over the slots.
-- Verify counts the rows themselves.
CREATE TABLE tally (
	authority integer NOT NULL,
	slot      integer NOT NULL,
	accepted  bigint  NOT NULL,
	queued    bigint  NOT NULL,
	held      bigint  NOT NULL,
	"returning" bigint  NOT NULL,
	delivered bigint  NOT NULL,
	returned  bigint  NOT NULL,
	withdrawn bigint  NOT NULL,
	events    bigint  NOT NULL,
	sealed    bigint  NOT NULL,
	PRIMARY KEY (authority, slot)
) WITH (fillfactor = 25, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 2000);

-- Small facts of the installation.
CREATE TABLE fact (
	name  text NOT NULL PRIMARY KEY,
	value text NOT NULL
);

-- Who works on this ledger, and who does what only one may do. Nothing here is part of the story: it is gone when the node is.
CREATE TABLE node (
	name  text COLLATE "C" NOT NULL PRIMARY KEY CHECK (name <> ''),
	life  text        NOT NULL CHECK (life <> ''), -- random, chosen at each start
	since timestamptz NOT NULL,                    -- since when its beat has not stopped
	until timestamptz NOT NULL,                    -- when its beat runs out; 1970: it left, and what it still held is taken back
	ttl   bigint      NOT NULL CHECK (ttl > 0)     -- microseconds
);

CREATE TABLE duty (
	name  text COLLATE "C" NOT NULL PRIMARY KEY CHECK (name <> ''),
	node  text        NOT NULL CHECK (node <> ''),
	until timestamptz NOT NULL
);

-- The laws.

CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN RAISE EXCEPTION '%', TG_ARGV[0]; END $$;

CREATE TRIGGER message_stays  BEFORE DELETE ON message        FOR EACH ROW EXECUTE FUNCTION refuse('law 2: a message is never deleted');
CREATE TRIGGER final_stays    BEFORE DELETE ON delivery_final FOR EACH ROW EXECUTE FUNCTION refuse('law 2: a delivery is never deleted');
CREATE TRIGGER link_stays     BEFORE DELETE OR UPDATE ON link    FOR EACH ROW EXECUTE FUNCTION refuse('law 3: what a notice told stays');
CREATE TRIGGER attempt_stays  BEFORE DELETE OR UPDATE ON attempt FOR EACH ROW EXECUTE FUNCTION refuse('an attempt is never deleted or changed');
CREATE TRIGGER event_stays    BEFORE DELETE OR UPDATE ON event   FOR EACH ROW EXECUTE FUNCTION refuse('an event is never deleted or changed');
CREATE TRIGGER fresh_same     BEFORE UPDATE ON event_fresh       FOR EACH ROW EXECUTE FUNCTION refuse('an event is never changed');
CREATE TRIGGER seal_stays     BEFORE DELETE OR UPDATE ON seal    FOR EACH ROW EXECUTE FUNCTION refuse('a seal is never deleted or changed');

-- The state machine of ledger/state.go, once more: here between open states, below to final ones.
CREATE TRIGGER delivery_steps BEFORE UPDATE ON delivery FOR EACH ROW
WHEN (NEW.state <> OLD.state AND NOT (
	(OLD.state = 'queued' AND NEW.state IN ('held', 'returning')) OR
	(OLD.state = 'held' AND NEW.state IN ('queued', 'returning'))))
EXECUTE FUNCTION refuse('law 2: there is no such step');

CREATE TRIGGER delivery_identity BEFORE UPDATE ON delivery FOR EACH ROW
WHEN ((NEW.no, NEW.message, NEW.n, NEW.notice, NEW.authority) <> (OLD.no, OLD.message, OLD.n, OLD.notice, OLD.authority))
EXECUTE FUNCTION refuse('law 2: a delivery stays with its message');

CREATE TRIGGER final_same BEFORE UPDATE ON delivery_final FOR EACH ROW
WHEN ((NEW.no, NEW.message, NEW.n, NEW.notice, NEW.authority, NEW.state, NEW.ended_at, NEW.attempts, NEW.possibly)
	<> (OLD.no, OLD.message, OLD.n, OLD.notice, OLD.authority, OLD.state, OLD.ended_at, OLD.attempts, OLD.possibly))
EXECUTE FUNCTION refuse('law 2: what is final stays');

-- A delivery leaves this table only by the trigger that lets it into the other.
CREATE FUNCTION delivery_gone() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	IF pg_trigger_depth() < 2 THEN
		RAISE EXCEPTION 'law 2: a delivery is never deleted';
	END IF;
	RETURN OLD;
END $$;
CREATE TRIGGER delivery_stays BEFORE DELETE ON delivery FOR EACH ROW EXECUTE FUNCTION delivery_gone();

-- A delivery ends by being written to delivery_final; with that it leaves delivery.
CREATE FUNCTION delivery_ends() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
	was delivery;
BEGIN
	SELECT * INTO was FROM delivery WHERE no = NEW.no;
	IF NOT FOUND OR (was.message, was.n, was.notice, was.authority) <> (NEW.message, NEW.n, NEW.notice, NEW.authority) THEN
		RAISE EXCEPTION 'law 2: a delivery begins open';
	END IF;
	IF NOT ((was.state = 'queued' AND NEW.state IN ('delivered', 'withdrawn')) OR
		(was.state = 'held' AND NEW.state = 'withdrawn') OR
		(was.state = 'returning' AND NEW.state = 'returned')) THEN
		RAISE EXCEPTION 'law 2: there is no such step';
	END IF;
	-- Law 3: returned means told. The two conditions stand apart, so that the second is not planned for every row.
	IF NEW.state = 'returned' THEN
		IF NOT EXISTS (
			SELECT FROM link JOIN delivery_final AS f ON f.message = link.notice
			WHERE link.subject = NEW.message AND link.about = NEW.no AND link.tells = 'returned'
			AND (f.state = 'delivered' OR (f.state = 'withdrawn' AND f.ended_by <> ''))) THEN
			RAISE EXCEPTION 'law 3: returned only when the notice has arrived';
		END IF;
	END IF;
	DELETE FROM delivery WHERE no = NEW.no;
	RETURN NEW;
END $$;
CREATE TRIGGER final_step BEFORE INSERT ON delivery_final FOR EACH ROW EXECUTE FUNCTION delivery_ends();

-- Nothing is refused for want of a partition.
CREATE TABLE message_rest        PARTITION OF message        DEFAULT;
CREATE TABLE delivery_final_rest PARTITION OF delivery_final DEFAULT;
CREATE TABLE link_rest           PARTITION OF link           DEFAULT;
CREATE TABLE attempt_rest        PARTITION OF attempt        DEFAULT;
CREATE TABLE event_rest          PARTITION OF event          DEFAULT;

-- Retention: details go, then rows, each with its proof. Everything that could not be deleted still cannot be, but by Prune, which
-- names in the table pruning what its transaction removes.

ALTER TABLE message ADD COLUMN erased_at timestamptz; -- when what tells of people was taken away; NULL: it is all there

-- SHA-256 of by and detail once they are erased (ledger/chain.go); NULL: they are there.
ALTER TABLE event ADD COLUMN words bytea CHECK (words IS NULL OR (length(words) = 32 AND by = '' AND detail = ''));

-- What the transaction under way removes; nobody else ever sees a row here.
CREATE TABLE pruning (
	message text COLLATE "C" NOT NULL PRIMARY KEY,
	stage   text NOT NULL CHECK (stage IN ('details', 'rows'))
);

-- What stays of an event that is gone, until its whole batch is.
CREATE TABLE leaf (
	authority integer NOT NULL,
	seq       bigint  NOT NULL,
	hash      bytea   NOT NULL CHECK (length(hash) = 32),
	PRIMARY KEY (authority, seq)
);

-- What was removed: a row for every stage and class of a transaction, and an event that says the same.
CREATE TABLE proof (
	authority integer     NOT NULL REFERENCES authority (no),
	seq       bigint,                                -- of its event, where it came from an engine that knew it at once
	at        timestamptz NOT NULL,
	stage     text        NOT NULL CHECK (stage IN ('details', 'rows')),
	class     text        NOT NULL CHECK (class IN ('ordinary', 'confidential', 'sensitive')),
	messages  bigint      NOT NULL CHECK (messages > 0),
	delivered bigint      NOT NULL,                  -- deliveries that went, by how they ended
	returned  bigint      NOT NULL,
	withdrawn bigint      NOT NULL,
	events    bigint      NOT NULL,                  -- events that went
	until     timestamptz NOT NULL,                  -- all that was removed was final by then
	ids       bytea       NOT NULL CHECK (length(ids) = 32) -- SHA-256 over the ids
);
CREATE INDEX proof_authority ON proof (authority, at);

-- How far retention has looked through the messages, in the order of their acceptance, and the few it passed that were not ready.
CREATE TABLE prune_cursor (
	authority   integer     NOT NULL REFERENCES authority (no),
	stage       text        NOT NULL,
	class       text        NOT NULL,
	accepted_at timestamptz NOT NULL,
	message     text COLLATE "C" NOT NULL, -- looked at up to this one
	PRIMARY KEY (authority, stage, class)
);

CREATE TABLE prune_wait (
	authority integer NOT NULL,
	stage     text    NOT NULL,
	message   text COLLATE "C" NOT NULL,
	PRIMARY KEY (authority, stage, message)
);

-- The laws.

CREATE FUNCTION pruning_begins() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	IF EXISTS (SELECT FROM delivery WHERE message = NEW.message) THEN
		RAISE EXCEPTION 'law 2: an open delivery is never pruned';
	END IF;
	IF EXISTS (SELECT FROM link JOIN delivery AS n ON n.message = link.notice WHERE link.subject = NEW.message) THEN
		RAISE EXCEPTION 'law 3: what an open notice tells of is never pruned';
	END IF;
	RETURN NEW;
END $$;
CREATE TRIGGER pruning_begins BEFORE INSERT OR UPDATE ON pruning FOR EACH ROW EXECUTE FUNCTION pruning_begins();

CREATE FUNCTION message_goes() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	IF EXISTS (SELECT FROM pruning WHERE message = OLD.id AND stage = 'rows') THEN
		RETURN OLD;
	END IF;
	RAISE EXCEPTION 'law 2: a message is never deleted but by retention';
END $$;
DROP TRIGGER message_stays ON message;
CREATE TRIGGER message_stays BEFORE DELETE ON message FOR EACH ROW EXECUTE FUNCTION message_goes();

CREATE FUNCTION row_goes() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	IF EXISTS (SELECT FROM pruning WHERE message = OLD.message AND stage = 'rows') THEN
		RETURN OLD;
	END IF;
	RAISE EXCEPTION '%', TG_ARGV[0];
END $$;
DROP TRIGGER final_stays ON delivery_final;
CREATE TRIGGER final_stays BEFORE DELETE ON delivery_final FOR EACH ROW EXECUTE FUNCTION row_goes('law 2: a delivery is never deleted but by retention');

CREATE FUNCTION link_goes() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	IF TG_OP = 'DELETE' AND EXISTS (SELECT FROM pruning WHERE message = OLD.subject AND stage = 'rows') THEN
		RETURN OLD;
	END IF;
	RAISE EXCEPTION 'law 3: what a notice told stays as long as its subject';
END $$;
DROP TRIGGER link_stays ON link;
CREATE TRIGGER link_stays BEFORE DELETE OR UPDATE ON link FOR EACH ROW EXECUTE FUNCTION link_goes();

CREATE FUNCTION attempt_same() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	IF NEW.text = '' AND (NEW.message, NEW.delivery, NEW.no, NEW.node, NEW.started, NEW.ended, NEW.outcome, NEW.code, NEW.enhanced, NEW.contact)
		= (OLD.message, OLD.delivery, OLD.no, OLD.node, OLD.started, OLD.ended, OLD.outcome, OLD.code, OLD.enhanced, OLD.contact)
		AND NEW.receipt IS NOT DISTINCT FROM OLD.receipt
		AND EXISTS (SELECT FROM pruning WHERE message = OLD.message AND stage = 'details') THEN
		RETURN NEW;
	END IF;
	RAISE EXCEPTION 'an attempt is never changed but by retention, which takes the words';
END $$;
DROP TRIGGER attempt_stays ON attempt;
CREATE TRIGGER attempt_stays BEFORE DELETE ON attempt FOR EACH ROW EXECUTE FUNCTION row_goes('an attempt is never deleted but by retention');
CREATE TRIGGER attempt_same  BEFORE UPDATE ON attempt FOR EACH ROW EXECUTE FUNCTION attempt_same();

CREATE FUNCTION event_same() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	IF OLD.words IS NULL AND NEW.words IS NOT NULL
		AND (NEW.authority, NEW.seq, NEW.message, NEW.delivery, NEW.at, NEW.kind) = (OLD.authority, OLD.seq, OLD.message, OLD.delivery, OLD.at, OLD.kind)
		AND EXISTS (SELECT FROM pruning WHERE message = OLD.message AND stage = 'details') THEN
		RETURN NEW;
	END IF;
	RAISE EXCEPTION 'an event is never changed but by retention, which takes the words';
END $$;
CREATE FUNCTION event_goes() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	IF EXISTS (SELECT FROM pruning WHERE message = OLD.message AND stage = 'rows')
		AND EXISTS (SELECT FROM leaf WHERE authority = OLD.authority AND seq = OLD.seq) THEN
		RETURN OLD;
	END IF;
	RAISE EXCEPTION 'an event is never deleted but by retention, which keeps its hash';
END $$;
DROP TRIGGER event_stays ON event;
CREATE TRIGGER event_stays BEFORE DELETE ON event FOR EACH ROW EXECUTE FUNCTION event_goes();
CREATE TRIGGER event_same  BEFORE UPDATE ON event FOR EACH ROW EXECUTE FUNCTION event_same();

CREATE FUNCTION leaf_goes() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
	s seal;
BEGIN
	SELECT * INTO s FROM seal WHERE authority = OLD.authority AND last >= OLD.seq ORDER BY last LIMIT 1;
	IF NOT FOUND OR EXISTS (SELECT FROM event WHERE authority = OLD.authority AND seq BETWEEN s.first AND s.last) THEN
		RAISE EXCEPTION 'a leaf stays while its batch holds an event';
	END IF;
	RETURN OLD;
END $$;
CREATE TRIGGER leaf_stays BEFORE DELETE ON leaf FOR EACH ROW EXECUTE FUNCTION leaf_goes();
CREATE TRIGGER leaf_same  BEFORE UPDATE ON leaf FOR EACH ROW EXECUTE FUNCTION refuse('a leaf is never changed');

CREATE TRIGGER proof_stays BEFORE DELETE OR UPDATE ON proof FOR EACH ROW EXECUTE FUNCTION refuse('a proof is never deleted or changed');

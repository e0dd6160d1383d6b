package config

import "strings"

// field is one key a file may have. The table of fields is the one source of what is known, of defaults and of docs/config.md.
type field struct {
	Path      string // "authorities[].held.within"; [] is each entry of a list
	Type      string
	Default   string // as one would write it; "" none
	Otherwise string // the default in words, where it is no constant
	Required  bool
	Doc       string // for operators, one or two sentences, without the full stop
	Sample    string // what a hint shows; "" : by Type
}

func (f field) key() string {
	return strings.TrimSuffix(f.Path[strings.LastIndexByte(f.Path, '.')+1:], "[]")
}

// samples shows each type in hints.
var samples = map[string]string{
	"text":             "some words",
	"domain":           "eksempel.example",
	"list of domain":   "[eksempel.example]",
	"address":          "postkasse@eksempel.example",
	"duration":         "4h",
	"period":           "90d",
	"list of duration": "[24h, 4h]",
	"size":             "50MiB",
	"number":           "100",
	"true or false":    "true",
	"host:port":        `"mail.eksempel.example:25"`,
	"file":             "/etc/postvagt/file",
	"level":            "encrypted",
	"class":            "confidential",
	"list of pattern":  `["*@skole.eksempel.example"]`,
	"list of mapping":  "a list, each entry beginning with -",
	"mapping":          "key: value lines, indented",
	"node":             "vagt-1",
}

func (f field) sample() string {
	if f.Sample != "" {
		return f.Sample
	}
	return samples[f.Type]
}

// defaultNode is the default as if it stood in the file; nil when there is none.
func (f field) defaultNode() *node {
	if f.Default == "" {
		return nil
	}
	n, err := tree([]byte(f.Default))
	if err != nil {
		return nil // TestDefaults proves that this does not happen
	}
	n.line = 0
	return n
}

// fieldAt finds a field by its path.
func fieldAt(path string) (field, bool) {
	for _, f := range fields {
		if f.Path == path {
			return f, true
		}
	}
	return field{}, false
}

// keysOf lists the keys known in a section.
func keysOf(path string) []string {
	var keys []string
	for _, f := range fields {
		if rest, ok := strings.CutPrefix(f.Path, path); ok {
			rest = strings.TrimPrefix(rest, ".")
			if rest != "" && !strings.ContainsAny(rest, ".[") && join(path, rest) == f.Path {
				keys = append(keys, rest)
			}
		}
	}
	return keys
}

// Limits on what a value may be.
const (
	mostMessage = 1 << 30
	mostNumber  = 1_000_000
)

const pattern = `patterns: "*@skole.eksempel.example", "social*@eksempel.example", "eksempel.example" (everybody there)`

var fields = []field{
	{Path: "host", Type: "domain", Otherwise: "the machine's host name", Doc: "The guard's own name, in its greeting, EHLO, Received fields and notices. It should have an address record and a matching reverse record"},

	{Path: "node", Type: "node", Otherwise: "`host` with SQLite, the machine's host name with PostgreSQL", Sample: "vagt-1", Doc: "This guard's name among those over one database: each needs its own, and keeps it"},

	{Path: "authorities", Type: "list of mapping", Required: true, Doc: "The organisations that are guarded, strictly apart from one another"},
	{Path: "authorities[].name", Type: "text", Required: true, Sample: "Eksempel Kommune", Doc: "The name people know, shown in notices"},
	{Path: "authorities[].domains", Type: "list of domain", Required: true, Doc: `The authority's own mail domains: who is inside. ".eksempel.example" means everything below eksempel.example, but not that domain itself`},
	{Path: "authorities[].safety_net", Type: "address", Required: true, Sample: "sikkerhedsnet@eksempel.example", Doc: "The mailbox that gets a notice when it could be told to nobody nearer. People must read it every working day"},
	{Path: "authorities[].contact", Type: "text", Otherwise: "the safety net", Doc: "Whom senders may ask, as shown in notices: an address, a telephone number, a page"},
	{Path: "authorities[].keys", Type: "file", Otherwise: "`store.keys`", Sample: "/var/lib/postvagt/keys-eksempel", Doc: "The authority's own key file, made at the first start. What one authority's keys sealed no other's can open. Needed to keep several authorities' mail apart on disk"},
	{Path: "authorities[].routes", Type: "list of mapping", Doc: "The authority's own ways out, before the common `routes`; written like those. To its own domains a common route that names the domain comes before a `*` here. Mail to another authority of this installation is handed over here, by both authorities' rules, unless a route here names its domain"},
	{Path: "authorities[].gateways", Type: "list of domain", Doc: "Domains of secure gateways where a CPR number may be the recipient's address, as with Digital Post from Outlook"},
	{Path: "authorities[].matrix", Type: "mapping", Doc: "The least level of the channel to recipients outside, by the class of the message"},
	{Path: "authorities[].matrix.ordinary", Type: "level", Otherwise: "none required", Sample: "encrypted", Doc: "For messages in which nothing was found"},
	{Path: "authorities[].matrix.confidential", Type: "level", Default: "verified", Sample: "verified", Doc: "For CPR numbers and the like"},
	{Path: "authorities[].matrix.sensitive", Type: "level", Default: "verified", Sample: "verified", Doc: "For data under article 9 of the GDPR"},
	{Path: "authorities[].uninspected", Type: "mapping", Doc: "What follows when something in a message could not be read, for instance an attachment"},
	{Path: "authorities[].uninspected.action", Type: "action", Sample: "hold", Doc: "`hold` (a person decides) or `return` (not sent, and the sender is told). Without it the message travels, at the level of its class"},
	{Path: "authorities[].uninspected.class", Type: "class", Otherwise: "confidential", Doc: "The class such a message has at least. `ordinary`, written out, lets files that cannot be read (PDF, Word, pictures) leave as ordinary mail: only after the authority has assessed that risk"},
	{Path: "authorities[].uninspected.level", Type: "level", Otherwise: "that of the class", Doc: "The level such a message needs at least; it only raises that of the class"},
	{Path: "authorities[].verify_recipients", Type: "true or false", Default: "true", Doc: "Ask the authority's own mail server whether a mailbox exists before mail from outside is taken for it, and refuse it in the conversation when it does not. The answer is kept for an hour"},
	{Path: "authorities[].repair_inbound", Type: "true or false", Default: "true", Doc: "Clean the subjects of arriving mail, so that replies start clean. It breaks the DKIM signature of the mails it changes: see operate.md"},
	{Path: "authorities[].confidence", Type: "fraction", Default: "0.5", Sample: "0.5", Doc: "Findings below this certainty, up to 1, are not counted"},
	{Path: "authorities[].rules", Type: "list of mapping", Doc: "The authority's own rules. The first whose conditions all hold wins over the built-in ones; recipients inside are never blocked"},
	{Path: "authorities[].rules[].id", Type: "text", Required: true, Sample: "school-lists", Doc: "The rule's name in the ledger and in notices"},
	{Path: "authorities[].rules[].when", Type: "mapping", Doc: "The conditions; what is not given holds always"},
	{Path: "authorities[].rules[].when.direction", Type: "direction", Sample: "out", Doc: "`out` from the authority, `in` to it"},
	{Path: "authorities[].rules[].when.senders", Type: "list of pattern", Doc: "The envelope sender matches one of these " + pattern},
	{Path: "authorities[].rules[].when.recipients", Type: "list of pattern", Doc: "The recipient matches one of these " + pattern},
	{Path: "authorities[].rules[].when.kinds", Type: "list of kind", Sample: "[cpr]", Doc: "Something of this kind was found: `cpr`, `uninspected`"},
	{Path: "authorities[].rules[].when.places", Type: "list of place", Sample: "[header, file name]", Doc: "Something was found in such a place: `header`, `part header`, `file name`, `text`, `hidden text`, `attachment`"},
	{Path: "authorities[].rules[].when.class", Type: "class", Doc: "The message has at least this class"},
	{Path: "authorities[].rules[].when.min_recipients", Type: "number", Sample: "5", Doc: "The message has at least so many recipients"},
	{Path: "authorities[].rules[].then", Type: "mapping", Required: true, Sample: "{action: hold}", Doc: "What follows"},
	{Path: "authorities[].rules[].then.action", Type: "action", Sample: "hold", Doc: "`send`, `repair`, `hold` (a person decides) or `return` (not sent, and the sender is told)"},
	{Path: "authorities[].rules[].then.class", Type: "class", Doc: "Raises the message's class to this"},
	{Path: "authorities[].rules[].then.level", Type: "level", Doc: "Requires at least this level"},
	{Path: "authorities[].units", Type: "list of mapping", Doc: "Units of the authority: who is told when a sender cannot be"},
	{Path: "authorities[].units[].name", Type: "text", Required: true, Sample: "Borgerservice", Doc: "The unit's name, shown in notices"},
	{Path: "authorities[].units[].senders", Type: "list of pattern", Required: true, Doc: "Whose unit it is, by " + pattern + ". The first unit that matches is taken"},
	{Path: "authorities[].units[].mailbox", Type: "address", Required: true, Doc: "The unit's mailbox"},
	{Path: "authorities[].held", Type: "mapping", Doc: "Who decides on held mail, and until when. A passed deadline is raised to the safety net; it never sends and never deletes"},
	{Path: "authorities[].held.owner", Type: "address", Otherwise: "the safety net", Doc: "The mailbox of those who decide"},
	{Path: "authorities[].held.within", Type: "duration", Default: "72h", Sample: "72h", Doc: "The time they have"},
	{Path: "authorities[].held.remind", Type: "list of duration", Default: "[24h, 4h]", Doc: "When they are reminded: so long before the deadline"},
	{Path: "authorities[].notices", Type: "mapping", Doc: "How people are told"},
	{Path: "authorities[].notices.from", Type: "address", Otherwise: "postvagt@ the first domain", Doc: "The address notices come from. They say that they cannot be answered and name `contact`; let answers reach people all the same, for some will answer"},
	{Path: "authorities[].notices.language", Type: "language", Default: "da", Sample: "da", Doc: "Which language stands first, `da` or `en`; both are always there"},
	{Path: "authorities[].notices.repaired", Type: "choice", Default: "each", Sample: "digest", Doc: "How senders are told of a repair: of `each` message once, when it has been sent to the first recipient, in a `digest`, or `off`"},
	{Path: "authorities[].notices.digest", Type: "duration", Default: "24h", Doc: "How often a digest is sent"},
	{Path: "authorities[].notices.tell_outside", Type: "choice", Default: "authenticated", Sample: "authenticated", Doc: "Which outside senders are told that their mail could not reach a mailbox inside: `authenticated` ones, `always`, or `never`. Telling a forged sender troubles a stranger"},
	{Path: "authorities[].retention", Type: "mapping", Doc: "How long the ledger keeps what has ended, by the message's class, counted from when its last delivery ended. A notice stays as long as what it tells of. What is not given is kept for ever; how long something may and must be kept is the authority's to decide. `postvagt prune` says what would go"},
	{Path: "authorities[].retention.ordinary", Type: "mapping", Sample: "{details: 90d, rows: 24mo}", Doc: "Messages in which nothing was found"},
	{Path: "authorities[].retention.ordinary.details", Type: "period", Otherwise: "as long as the rows", Sample: "90d", Doc: "After this nothing is left that tells of a person: addresses, Message-ID, client, findings, replies, names and reasons. States, times, levels and the servers' evidence stay"},
	{Path: "authorities[].retention.ordinary.rows", Type: "period", Otherwise: "for ever", Sample: "24mo", Doc: "After this the message is gone but for its count and its hashes in the event chain. `trace` no longer knows it"},
	{Path: "authorities[].retention.confidential", Type: "mapping", Sample: "{details: 90d, rows: 24mo}", Doc: "Messages with CPR numbers and the like"},
	{Path: "authorities[].retention.confidential.details", Type: "period", Otherwise: "as long as the rows", Sample: "90d", Doc: "As for ordinary"},
	{Path: "authorities[].retention.confidential.rows", Type: "period", Otherwise: "for ever", Sample: "24mo", Doc: "As for ordinary"},
	{Path: "authorities[].retention.sensitive", Type: "mapping", Sample: "{details: 90d, rows: 24mo}", Doc: "Messages with data under article 9 of the GDPR"},
	{Path: "authorities[].retention.sensitive.details", Type: "period", Otherwise: "as long as the rows", Sample: "90d", Doc: "As for ordinary"},
	{Path: "authorities[].retention.sensitive.rows", Type: "period", Otherwise: "for ever", Sample: "24mo", Doc: "As for ordinary"},

	{Path: "listen", Type: "mapping", Required: true, Sample: `{smtp: "127.0.0.1:25"}`, Doc: "Where connections are taken. A socket that systemd hands over under the same name wins over the address here"},
	{Path: "listen.smtp", Type: "host:port", Sample: `":25"`, Doc: "Relay and arriving mail; STARTTLS when a certificate is given. One address or a list"},
	{Path: "listen.submission", Type: "host:port", Sample: `":587"`, Doc: "Submission by users: STARTTLS, then AUTH. One address or a list"},
	{Path: "listen.smtps", Type: "host:port", Sample: `":465"`, Doc: "Submission by users over TLS from the first byte. One address or a list"},
	{Path: "listen.metrics", Type: "host:port", Sample: `"127.0.0.1:9525"`, Doc: "Plain HTTP with /metrics, /healthz and /readyz. Keep it on the loopback address or a management network"},

	{Path: "trusted", Type: "list of network", Sample: "[127.0.0.0/8]", Doc: "The networks of the authority's own mail servers: mail from there may go out. Each entry is a network, or a mapping for networks shared with strangers, as Exchange Online's are"},
	{Path: "trusted[].net", Type: "network", Required: true, Sample: "192.0.2.0/24", Doc: "The network, or one address"},
	{Path: "trusted[].authorities", Type: "list of text", Otherwise: "the only authority; required with several", Sample: "Eksempel Kommune", Doc: "Whose mail servers these are, by name. They cannot send as anybody else's addresses. Mail of which no address says whose it is (a forward, a report) is accounted to the first"},
	{Path: "trusted[].senders", Type: "choice", Otherwise: "own where header or certificate is given, else any", Sample: "own", Doc: "`own`: only mail whose envelope sender is in the authority's own domains. `any`: every sender, as forwarded mail has"},
	{Path: "trusted[].header", Type: "text", Sample: `"X-Eksempel-Vagt: <long random secret>"`, Doc: "A header field with a secret value that the mail must carry. The guard takes it off"},
	{Path: "trusted[].header_file", Type: "file", Doc: "A file that holds the header line, so that the secret does not stand in the configuration"},
	{Path: "trusted[].certificate", Type: "domain", Sample: "exchange.eksempel.example", Doc: "The name that the client's TLS certificate must prove. Exchange Online's is shown by all its customers: ask for a header as well"},

	{Path: "users", Type: "list of mapping", Doc: "Who may submit mail with a password"},
	{Path: "users[].name", Type: "text", Required: true, Sample: "scanner-3", Doc: "The user's name in AUTH"},
	{Path: "users[].hash", Type: "password hash", Required: true, Sample: `"$argon2id$…"`, Doc: "The password's hash, argon2id or bcrypt: `postvagt hash-password` makes one"},
	{Path: "users[].authorities", Type: "list of text", Otherwise: "the only authority; required with several", Sample: "Eksempel Kommune", Doc: "For which authorities the user may send, by name. Mail without a sender is accounted to the first"},
	{Path: "users[].senders", Type: "list of pattern", Otherwise: "any address of these authorities' domains", Doc: "The senders it may use, by " + pattern},

	{Path: "tls", Type: "mapping", Doc: "The guard's own certificate. The files are read anew when they change"},
	{Path: "tls.cert", Type: "file", Required: true, Doc: "PEM file with the certificate and its chain"},
	{Path: "tls.key", Type: "file", Required: true, Doc: "PEM file with its private key"},

	{Path: "store", Type: "mapping", Required: true, Sample: "{sqlite: /var/lib/postvagt/ledger.db}", Doc: "Where the ledger and the messages are kept: in one file, or in a database that several guards may share"},
	{Path: "store.sqlite", Type: "file", Sample: "/var/lib/postvagt/ledger.db", Doc: "The ledger's file, on a local disk that keeps what it says it has flushed"},
	{Path: "store.postgres", Type: "text", Sample: `"postgres://postvagt@db.eksempel.example/postvagt?sslmode=verify-full"`, Doc: "The database as a postgres:// URL, with everything libpq's URLs know: several hosts, a socket folder (`postgres:///postvagt?host=/run/postgresql`), `service=`, `sslmode=`, `sslrootcert=`. What it does not say is taken from PGHOST and the like, as psql does"},
	{Path: "store.password_file", Type: "file", Otherwise: "PGPASSFILE, or ~/.pgpass", Doc: "A file that holds the database's password, so that it does not stand in `postgres`"},
	{Path: "store.keys", Type: "file", Otherwise: "keys, in the ledger's folder; required with `postgres`", Sample: "/var/lib/postvagt/keys", Doc: "The key file. Without it no stored message can be read: keep a copy elsewhere. Guards over one database have the same keys"},

	{Path: "bodies", Type: "mapping", Doc: "Where messages lie while they wait, always encrypted with the keys of `store`: in the ledger, or in an object store when they outgrow it. See operate.md, Bodies in an object store"},
	{Path: "bodies.new", Type: "choice", Otherwise: "s3 where that is given", Sample: "s3", Doc: "Where new mail goes, `s3` or `ledger`. What lies elsewhere already stays there and is read from there, so `ledger` is the way out of a store: keep `s3` until nothing waits in it"},
	{Path: "bodies.s3", Type: "mapping", Otherwise: "none: messages lie in the ledger", Sample: `{endpoint: "https://s3.eksempel.example", bucket: postvagt}`, Doc: "A bucket in any S3-compatible store. Notices stay in the ledger. While the store is away no mail is taken: senders are asked to come back"},
	{Path: "bodies.s3.endpoint", Type: "text", Required: true, Sample: `"https://s3.eksempel.example"`, Doc: "The address of the store"},
	{Path: "bodies.s3.bucket", Type: "text", Required: true, Sample: "postvagt", Doc: "The bucket, which must exist"},
	{Path: "bodies.s3.region", Type: "text", Default: "us-east-1", Sample: "eu-north-1", Doc: "The region that requests are signed for; stores without regions take the default"},
	{Path: "bodies.s3.prefix", Type: "text", Default: "postvagt", Sample: "postvagt", Doc: "What the names of all objects begin with. Each installation needs a prefix or a bucket of its own"},
	{Path: "bodies.s3.path_style", Type: "true or false", Default: "true", Doc: "Name the bucket in the path of the address, as own stores want it. `false`: in the host name, as Amazon wants it"},
	{Path: "bodies.s3.root_cas", Type: "file", Otherwise: "the system's", Doc: "PEM file with the certificate authorities to trust besides the system's, for a store with a private one"},
	{Path: "bodies.s3.credentials", Type: "file", Otherwise: "AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_SESSION_TOKEN in the environment", Sample: "s3-credentials", Doc: "A file with two lines, `aws_access_key_id = …` and `aws_secret_access_key = …`. Read at the start"},

	{Path: "routes", Type: "list of mapping", Otherwise: "each domain's MX", Doc: "Where mail goes. The first that matches the recipient's domain is taken; a domain without a route goes to its MX"},
	{Path: "routes[].to", Type: "destination", Required: true, Sample: "eksempel.example", Doc: `A domain, ".domain" for everything below it, or "*" for all`},
	{Path: "routes[].smarthost", Type: "host:port", Otherwise: "the domain's MX", Sample: `"smarthost.example:25"`, Doc: "The server to hand over to"},
	{Path: "routes[].level", Type: "level", Otherwise: "cleartext to the authorities' own domains, else encrypted", Doc: "The least level asked of this hop for any mail. A message that needs more gets more or does not go. A domain's MX is measured at most at encrypted, a smart host that proves its name at verified"},
	{Path: "routes[].vouches", Type: "level", Sample: "verified", Doc: "The authority's declaration that this hop carries mail on at that level (own protected network, secure gateway). The receipt says vouched, never measured"},
	{Path: "routes[].tls_name", Type: "domain", Otherwise: "the smart host's own name", Doc: "The name its certificate must prove"},
	{Path: "routes[].root_cas", Type: "file", Otherwise: "the system's", Doc: "PEM file with the certificate authorities to trust besides the system's, for a hop with a private one"},
	{Path: "routes[].user", Type: "text", Sample: "postvagt", Doc: "User for AUTH towards the smart host; sent over TLS only"},
	{Path: "routes[].password", Type: "text", Sample: "…", Doc: "Its password. Better in a file of its own"},
	{Path: "routes[].password_file", Type: "file", Doc: "A file that holds the password"},

	{Path: "delivery", Type: "mapping", Doc: "The times of a delivery's life"},
	{Path: "delivery.delay", Type: "duration", Default: "4h", Doc: "After so long the sender is told that it is still on its way"},
	{Path: "delivery.return", Type: "duration", Default: "24h", Sample: "24h", Doc: "After so long it is given up, and the sender told"},
	{Path: "delivery.retry", Type: "list of duration", Default: "[1m, 5m, 15m, 30m, 1h]", Sample: "[1m, 5m, 15m]", Doc: "The waits between attempts, each varied by a fifth; the last repeats"},
	{Path: "delivery.concurrency", Type: "number", Default: "20", Doc: "Connections to one destination at a time"},
	{Path: "delivery.per_connection", Type: "number", Default: "100", Doc: "Messages over one connection before a new one is made"},

	{Path: "limits", Type: "mapping", Doc: "What is taken in. Beyond a limit the other side is asked to wait or told no; nothing accepted is lost"},
	{Path: "limits.message", Type: "size", Default: "50MiB", Doc: "The largest message"},
	{Path: "limits.recipients", Type: "number", Default: "1000", Sample: "1000", Doc: "Recipients of one message"},
	{Path: "limits.connections", Type: "number", Default: "500", Sample: "500", Doc: "Connections at a time"},
	{Path: "limits.connections_per_ip", Type: "number", Default: "100", Doc: "Connections at a time from one address that is not trusted"},
	{Path: "limits.rate", Type: "number", Default: "600", Doc: "Messages a minute from one address that is not trusted, and from one submitting user; more are told to come back later (450). 0: no limit"},
	{Path: "limits.hops", Type: "number", Default: "100", Doc: "Received fields before a message counts as going round in a loop (RFC 5321, section 6.3)"},
	{Path: "limits.memory", Type: "size", Default: "64MiB", Sample: "64MiB", Doc: "Bytes of messages being received at a time; others wait. At least the largest message"},

	{Path: "log", Type: "mapping", Doc: "The log, on standard error. It never holds a CPR number"},
	{Path: "log.level", Type: "choice", Default: "info", Sample: "info", Doc: "`debug`, `info`, `warn` or `error`"},
	{Path: "log.format", Type: "choice", Default: "text", Sample: "json", Doc: "`text` or `json`"},
}

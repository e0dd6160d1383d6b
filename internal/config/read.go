package config

import (
	"errors"
	"os"
	"path/filepath"
	"strings"

	"postvagt/internal/level"
)

// config reads the whole file, top to bottom.
func (r *reader) config(data []byte) *Config {
	c := &Config{Path: r.path}
	root, err := tree(data)
	if err != nil {
		var t *treeError
		if !errors.As(err, &t) {
			t = &treeError{1, problem{what: err.Error()}}
		}
		r.mistake(t.line, t.what, t.why, t.hint)
		return c
	}
	if root.kind == isNull {
		r.mistake(1, "the file is empty", "", "README.md shows the smallest configuration that works, docs/config.md every setting")
		return c
	}
	s := r.section(root, "")
	if s.n == nil {
		return c
	}
	c.Host = r.host(s)
	for _, a := range s.mappings("authorities") {
		c.Authorities = append(c.Authorities, r.authority(a))
	}
	c.Listen = r.listen(s.mapping("listen"))
	c.Trusted = r.trusted(s)
	for _, u := range s.mappings("users") {
		c.Users = append(c.Users, r.user(u))
	}
	if s.given("tls") {
		c.TLS = r.tls(s.mapping("tls"))
	}
	c.Store = r.store(s.mapping("store"))
	c.Bodies = r.bodies(s.mapping("bodies"))
	c.Node = r.node(s, c)
	for _, route := range s.mappings("routes") {
		c.Routes = append(c.Routes, r.route(route))
	}
	c.Delivery = r.delivery(s.mapping("delivery"))
	c.Limits = r.limits(s.mapping("limits"))
	l := s.mapping("log")
	c.Log = Log{
		Level:  one(l, "level", choice("debug", "info", "warn", "error")).value,
		Format: one(l, "format", choice("text", "json")).value,
	}
	r.domainsOnce(root)
	r.exposedSelf(root)
	r.whole(s, c)
	r.apart(s, c)
	return c
}

func (r *reader) host(s section) string {
	h := one(s, "host", parseDomain)
	if h.value != "" || s.given("host") {
		return h.value
	}
	name, err := os.Hostname()
	if err != nil || name == "" {
		return "localhost"
	}
	return strings.ToLower(name)
}

func (r *reader) listen(s section) Listen {
	l := Listen{
		SMTP:       values(many(s, "smtp", parseListen)),
		Submission: values(many(s, "submission", parseListen)),
		SMTPS:      values(many(s, "smtps", parseListen)),
		Metrics:    one(s, "metrics", parseListen).value,
	}
	if s.n != nil && !s.given("smtp") && !s.given("submission") && !s.given("smtps") {
		r.mistake(s.n.line, "nothing is listened on", "no mail could come in", `write smtp: "127.0.0.1:25"`)
	}
	return l
}

func (r *reader) tls(s section) TLS {
	t := TLS{Cert: r.file(s, "cert"), Key: r.file(s, "key")}
	r.certificate(s, t)
	return t
}

// file reads a file name; a relative one starts from the configuration's folder, whatever folder the program runs in.
func (r *reader) file(s section, key string) string {
	name := one(s, key, parseText).value
	if name == "" || filepath.IsAbs(name) {
		return name
	}
	return filepath.Join(filepath.Dir(r.path), name)
}

func (r *reader) user(s section) User {
	u := User{
		Name:    one(s, "name", parseText).value,
		Hash:    one(s, "hash", parseHash).value,
		Senders: values(many(s, "senders", parsePattern)),

		Authorities: values(many(s, "authorities", parseText)),
	}
	return u
}

func (r *reader) delivery(s section) Delivery {
	delay, end := one(s, "delay", parseDuration), one(s, "return", parseDuration)
	d := Delivery{
		Delay:         delay.value,
		Return:        end.value,
		Retry:         values(many(s, "retry", parseDuration)),
		Concurrency:   one(s, "concurrency", number(1, 1000)).value,
		PerConnection: one(s, "per_connection", number(1, mostNumber)).value,
	}
	if n := s.n.get("retry"); n != nil && n.kind == isList && len(n.items) == 0 {
		r.mistake(n.line, "delivery.retry is an empty list", "nothing that failed would be tried again", "remove the line for the default")
	}
	if d.Delay > 0 && d.Return > 0 && d.Delay >= d.Return {
		r.mistake(max(delay.line(), end.line()), "delivery.delay is not shorter than delivery.return", "the delay notice would come after the end", "delay 4h and return 24h are the defaults")
	}
	return d
}

func (r *reader) limits(s section) Limits {
	message, memory := one(s, "message", parseSize), one(s, "memory", parseSize)
	l := Limits{
		MessageBytes:     message.value,
		Recipients:       one(s, "recipients", number(1, mostNumber)).value,
		Connections:      one(s, "connections", number(1, mostNumber)).value,
		ConnectionsPerIP: one(s, "connections_per_ip", number(1, mostNumber)).value,
		Hops:             one(s, "hops", number(3, 1000)).value,
		Rate:             one(s, "rate", number(0, 1_000_000)).value,
		MemoryBytes:      memory.value,
	}
	if l.Recipients > 0 && l.Recipients < 100 {
		r.warn(s.n.line, "limits.recipients is below 100, the least that RFC 5321, section 4.5.3.1.8, asks for")
	}
	if message.n != nil && message.value > 0 && message.value < 64<<10 {
		r.mistake(message.line(), "limits.message is below 64 KiB", "RFC 5321, section 4.5.3.1.7, asks for that much at least", "50MiB is the default")
	}
	if l.MemoryBytes > 0 && l.MemoryBytes < l.MessageBytes {
		r.mistake(max(memory.line(), message.line()), "limits.memory is smaller than limits.message", "the largest message could never be taken in", "raise memory, or lower message")
	}
	return l
}

func (r *reader) route(s section) Route {
	route := Route{
		To:        one(s, "to", parseDestination).value,
		SmartHost: one(s, "smarthost", parseHostPort).value,
		Vouches:   one(s, "vouches", named(level.All)).value,
		TLSName:   one(s, "tls_name", parseDomain).value,
		RootCAs:   r.existing(s, "root_cas"),
		User:      one(s, "user", parseText).value,
		Password:  r.password(s),
	}
	least := one(s, "level", named(level.All))
	route.Level = least.value
	if route.Level > level.Verified && route.Vouches < route.Level {
		r.mistake(least.line(), "routes.level "+route.Level.String()+" cannot be measured at a hop", "no mail would ever leave by this route",
			"write level: verified, or declare what the hop does on its way: vouches: "+route.Level.String())
	}
	if s.n == nil {
		return route
	}
	if route.Level == level.Verified && !s.given("smarthost") {
		r.mistake(least.line(), "routes.level verified cannot be measured at a domain's MX", "a name found in DNS that nobody authenticated proves nothing, so no mail would ever leave by this route",
			"write level: encrypted, or name a smarthost")
	}
	if (route.User == "") != (route.Password == "") && (r.readFile != nil || !s.given("password_file")) {
		r.mistake(s.n.line, "routes.user and routes.password belong together", "one of them is missing", "give both or none")
	}
	if !s.given("smarthost") && (route.Vouches != level.None || route.TLSName != "" || route.User != "") {
		r.mistake(s.n.line, "vouches, tls_name and user need a smarthost", "without one the mail goes to each domain's MX, whoever that is", "write smarthost: "+samples["host:port"])
	}
	return route
}

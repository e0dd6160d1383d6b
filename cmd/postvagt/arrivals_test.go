package main

import (
	"strings"
	"testing"

	"postvagt/internal/detect"
	"postvagt/internal/ledger"
)

const (
	idA = "aijkzdsnbqdgifrc3cdqj5pmzm"
	idB = "aijkzdsnbqdgifrc3cdqj5pmzn"
	idC = "aijkzdsnbqdgifrc3cdqj5pmzo"
)

// TestArrivals: what logs of three kinds know of a delivery.
func TestArrivals(t *testing.T) {
	log := `time=2026-11-22T07:00:00.000Z level=INFO msg=accepted message=` + idA + ` direction=out recipients=2
Nov 22 07:00:01 vagt postvagt[17]: time=2026-11-22T07:00:01.000Z level=INFO msg=attempted message=` + idA + ` delivery=7 outcome=delivered code=250 text="2.0.0 Ok: queued" hop=mx.borger.example:25 level=verified took=1s
{"time":"2026-11-22T07:00:02Z","level":"INFO","msg":"attempted","message":"` + idA + `","delivery":8,"outcome":"deferred","hop":"mx.borger.example:25"}
{"time":"2026-11-22T07:00:03Z","level":"INFO","msg":"attempted","message":"` + idB + `","delivery":9,"outcome":"delivered","hop":"010170-5000.borger.example:25"}
2026-11-22T08:00:00.000000+01:00 relay postfix/cleanup[812]: 4bXyZ12345: message-id=<besked-1@eksempel.example>
2026-11-22T08:00:00.100000+01:00 relay postfix/smtp[814]: 4bXyZ12345: to=<0101705000@Borger.example>, relay=mx.borger.example[192.0.2.1]:25, delay=0.1, dsn=2.0.0, status=sent (250 Ok)
2026-11-22T08:00:00.100000+01:00 relay postfix/smtp[814]: 4bXyZ12345: to=<bo@borger.example>, relay=none, delay=0.1, dsn=4.4.1, status=deferred (connect timed out)
` + idC + `
<besked-2@eksempel.example>
status=sent to=<nobody@borger.example>
` + strings.Repeat("x", 3*mostLine) + idA + "\n"
	a, err := readArrivals(strings.NewReader(log))
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		id        ledger.MessageID
		delivery  ledger.DeliveryID
		header    string
		recipient string
		want      string
	}{
		{idA, 7, "", "bo@borger.example", "handed over to mx.borger.example:25 2026-11-22T07:00:01.000Z by this guard's log"},
		{idA, 8, "", "bo@borger.example", ""},
		{idB, 9, "", "bo@borger.example", "handed over to 010170-••••.borger.example:25 2026-11-22T07:00:03Z by this guard's log"},
		{idB, 7, "", "bo@borger.example", ""},
		{idC, 11, "", "bo@borger.example", "named as delivered"},
		{"x", 1, "<besked-1@eksempel.example>", detect.Mask("0101705000@borger.example"), "taken by mx.borger.example[192.0.2.1]:25 as 4bXyZ12345"},
		{"x", 2, "<besked-1@eksempel.example>", "bo@borger.example", ""},
		{"x", 3, "<besked-2@eksempel.example>", "bo@borger.example", "named as delivered"},
		{"x", 4, "<besked-3@eksempel.example>", "nobody@borger.example", ""},
		{"x", 5, "", "nobody@borger.example", ""},
	} {
		if got := a.of(ledger.Message{ID: c.id, HeaderID: c.header}, ledger.Delivery{ID: c.delivery, Recipient: ledger.Address{Shown: c.recipient}}); got != c.want {
			t.Errorf("%s %d %s to %s: %q, want %q", c.id, c.delivery, c.header, c.recipient, got, c.want)
		}
	}
	ids, delivered := a.all()
	if len(ids) != 2 || !delivered[idA] || !delivered[idB] {
		t.Errorf("accepted %v, delivered %v", ids, delivered)
	}
}

// FuzzArrivals: whatever a log holds, it is read to its end, and nothing of it comes out that holds a number or breaks a line.
func FuzzArrivals(f *testing.F) {
	f.Add("time=x level=INFO msg=attempted message="+idA+" delivery=7 outcome=delivered hop=mx:25\n", "010170-5000")
	f.Add("x postfix/cleanup[812]: 4bXyZ12345: message-id=<a@b>\nx postfix/smtp[8]: 4bXyZ12345: to=<c@d>, relay=e, status=sent\n", "c@d")
	f.Add("{\"msg\":\"accepted\",\"message\":\""+idA+"\"}\n"+idB+"\n<a@b>", "a@b")
	f.Add("time=x level=INFO msg=attempted message="+idA+" delivery=7 outcome=delivered hop=010170-5000.example:25\n", "c@d")
	f.Add("x postfix/cleanup[812]: 4bXyZ12345: message-id=<a@b>\nx postfix/smtp[8]: 4bXyZ12345: to=<0101705000@d>, relay=010170-5000.e, status=sent\n", "0101705000@d")
	clean := func(t *testing.T, said ...string) {
		for _, w := range said {
			if strings.ContainsAny(w, "\r\n\x00") || len([]rune(w)) > 300 || detect.HoldsCPR(w) {
				t.Fatalf("%q", w)
			}
		}
	}
	f.Fuzz(func(t *testing.T, log, recipient string) {
		a, err := readArrivals(strings.NewReader(log))
		if err != nil {
			t.Fatal(err)
		}
		for _, id := range []ledger.MessageID{idA, idB} {
			w := a.of(ledger.Message{ID: id, HeaderID: "<a@b>"}, ledger.Delivery{ID: 7, Recipient: ledger.Address{Shown: recipient}})
			clean(t, w)
		}
		for _, all := range a.delivered {
			clean(t, all...)
		}
		for _, all := range a.sent {
			for _, h := range all {
				clean(t, h.words)
			}
		}
		if ids, _ := a.all(); len(ids) != len(a.accepted) {
			t.Fatalf("%d of %d", len(ids), len(a.accepted))
		}
	})
}

package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"postvagt/internal/detect"
	"postvagt/internal/ledger"
)

// arrivals is what logs know of messages, whatever the ledger knows. Three kinds of lines are understood, in any mixture; every other
// line is passed over:
//
//   - the guard's own log, as text or JSON, with whatever a journal puts before it: "accepted" and "attempted … outcome=delivered";
//   - Postfix's, which ties a queue id to a Message-ID and later says status=sent;
//   - a message's id or Message-ID alone on its line: it was delivered to all its recipients.
//
// Addresses are masked as they are read, for a line of a log may hold a number.
type arrivals struct {
	accepted  map[ledger.MessageID]bool
	delivered map[string][]string // by message id and delivery number, or by message id: in which words
	sent      map[string][]handed // by Message-ID without its brackets
	queue     map[string]string   // Postfix's queue id → Message-ID
}

// handed is one recipient of a Message-ID that a server has taken.
type handed struct{ recipient, words string }

var (
	messageID   = regexp.MustCompile(`^[a-z2-7]{26}$`)
	postfixLine = regexp.MustCompile(`postfix[^ ]*\[\d+\]: ([0-9A-Za-z]{6,20}): (.*)$`)
	postfixSent = regexp.MustCompile(`^to=<([^>]*)>,.*\brelay=([^,]*),.*\bstatus=sent`)
	headerAlone = regexp.MustCompile(`^<?([^<>\s]+@[^<>\s]+)>?$`)
)

// mostLine is the longest line of a log that is read; longer ones are passed over.
const mostLine = 64 << 10

func readArrivals(r io.Reader) (*arrivals, error) {
	a := &arrivals{map[ledger.MessageID]bool{}, map[string][]string{}, map[string][]handed{}, map[string]string{}}
	in := bufio.NewReaderSize(r, mostLine)
	for {
		line, err := in.ReadSlice('\n')
		for long := err == bufio.ErrBufferFull; long; long = err == bufio.ErrBufferFull {
			line = nil
			_, err = in.ReadSlice('\n')
		}
		a.line(strings.TrimSpace(string(line)))
		if err == io.EOF {
			return a, nil
		}
		if err != nil {
			return nil, fmt.Errorf("read what is known to have arrived: %w", err)
		}
	}
}

func (a *arrivals) line(line string) {
	if messageID.MatchString(line) {
		a.delivered[line] = append(a.delivered[line], "named as delivered")
		return
	}
	if m := headerAlone.FindStringSubmatch(line); m != nil {
		a.sent[header(m[1])] = append(a.sent[header(m[1])], handed{words: "named as delivered"})
		return
	}
	if m := postfixLine.FindStringSubmatch(line); m != nil {
		a.postfix(m[1], m[2])
		return
	}
	if at := strings.IndexByte(line, '{'); at >= 0 {
		var e struct {
			Msg, Message, Outcome, Hop, Time string
			Delivery                         int64
		}
		if json.Unmarshal([]byte(line[at:]), &e) == nil {
			a.own(e.Msg, e.Message, strconv.FormatInt(e.Delivery, 10), e.Outcome, e.Hop, e.Time)
			return
		}
	}
	a.own(value(line, "msg"), value(line, "message"), value(line, "delivery"), value(line, "outcome"), value(line, "hop"), value(line, "time"))
}

// own is a line of the guard's own log.
func (a *arrivals) own(msg, message, delivery, outcome, hop, at string) {
	if !messageID.MatchString(message) {
		return
	}
	switch {
	case msg == "accepted":
		a.accepted[ledger.MessageID(message)] = true
	case msg == "attempted" && outcome == "delivered":
		key := message + " " + delivery
		a.delivered[key] = append(a.delivered[key], words("handed over to "+hop+" "+at+" by this guard's log"))
		a.accepted[ledger.MessageID(message)] = true
	}
}

// value is what key=value in a line of slog's text handler says; "" when it is not there, or quoted: nothing that is read here is.
func value(line, key string) string {
	_, rest, ok := strings.Cut(" "+line, " "+key+"=")
	if !ok {
		return ""
	}
	v, _, _ := strings.Cut(rest, " ")
	return v
}

func (a *arrivals) postfix(queue, rest string) {
	if id, ok := strings.CutPrefix(rest, "message-id="); ok {
		a.queue[queue] = header(strings.Trim(id, "<>"))
		return
	}
	id, m := a.queue[queue], postfixSent.FindStringSubmatch(rest)
	if id == "" || m == nil {
		return
	}
	a.sent[id] = append(a.sent[id], handed{strings.ToLower(detect.Mask(m[1])), words("taken by " + m[2] + " as " + queue)})
}

// header is a Message-ID as it is compared: as the ledger keeps it.
func header(id string) string { return detect.Mask(id) }

// words makes what a log says fit for an event.
func words(s string) string {
	s = strings.ToValidUTF8(strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return ' '
		}
		return r
	}, s), "?")
	if r := []rune(s); len(r) > 200 {
		s = string(r[:200])
	}
	return detect.Mask(s)
}

// of says in which words a delivery is known to have arrived; "" when nothing is known.
func (a *arrivals) of(m ledger.Message, d ledger.Delivery) string {
	for _, key := range []string{fmt.Sprintf("%s %d", m.ID, d.ID), string(m.ID)} {
		if w := a.delivered[key]; len(w) > 0 {
			return w[len(w)-1]
		}
	}
	for _, h := range a.sent[strings.Trim(m.HeaderID, "<>")] {
		if h.recipient == "" || h.recipient == strings.ToLower(d.Recipient.Shown) {
			return h.words
		}
	}
	return ""
}

// all lists the messages that the guard's own log names, and whether anything of each was handed over.
func (a *arrivals) all() (ids []ledger.MessageID, handedOver map[ledger.MessageID]bool) {
	handedOver = map[ledger.MessageID]bool{}
	for id := range a.accepted {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	for key := range a.delivered {
		id, _, _ := strings.Cut(key, " ")
		handedOver[ledger.MessageID(id)] = true
	}
	return ids, handedOver
}

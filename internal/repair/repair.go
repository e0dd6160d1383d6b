// Package repair moves a CPR number out of what stays readable on the way (subject, its copies, display names, file
// names) into the protected body. In the header stands Mark instead, and the original line opens the text part and the
// HTML part; where the body is signed or is no text, the line stands in a part of its own before it. A letter that
// is one sealed piece (encrypted, or S/MIME signed in one piece) is not changed.
//
// What holds of every result, proven by reading it anew before it is handed out (proof.go):
//   - no number is left in a readable place, except where the number is an address (that is the envelope's matter), or
//     unsure and in what programs wrote (see Weak);
//   - every moved line stands in the body, whole, and is what its readers see first;
//   - the tree of parts is the one that came, but for the one part a repair may add;
//   - every part that was not written to has the very bytes it had, and so has every header field.
//
// Signatures over header fields (DKIM) do not outlive a repair; the fields that carry them are left as they are.
//
// BUG: Outlook's own format (application/ms-tnef) holds a copy of the subject and of the letter. It is content, as
// protected as the body, but a reader who is shown that copy sees the subject there and not the moved line.
package repair

import (
	"bytes"
	"cmp"
	"crypto/rand"
	"errors"
	"fmt"
	"time"

	"postvagt/internal/detect"
	"postvagt/internal/mail"
)

// Mark replaces a number in a header. It is the same every time, so that mail programs keep a thread together, and
// never repeats the number.
const Mark = "[CPR]"

// What can stand in the way of a repair: the values of Plan.Obstacle.
const (
	ObstacleNothing    = "no header to repair" // no finding in a readable place
	ObstacleEncrypted  = "encrypted"           // end-to-end encrypted: a line added to it would travel in the clear
	ObstacleSigned     = "signed"              // a signature covers where the number stands, or is one piece with the letter (S/MIME)
	ObstacleMessageID  = "message id"          // the number stands in an identifier that other messages refer to
	ObstacleTrace      = "trace field"         // the number stands in what a server wrote on the way (RFC 5321, section 4.4)
	ObstacleBoundary   = "boundary"            // the number stands in the line that parts the parts
	ObstacleAddress    = "address"             // the number is an address, not a name beside it
	ObstacleFragment   = "fragment"            // message/partial: one piece of a message (RFC 2046, section 5.2.2)
	ObstacleCompressed = "compressed"          // S/MIME that only a program for it can open
	ObstacleUnread     = "cannot be read"      // this package failed on it
)

// ErrImpossible is in the chain of every error of Repair that says the message cannot be repaired, as against one that
// was made wrongly and failed its proof. Both mean: hold the message.
var ErrImpossible = errors.New("cannot be repaired")

// Plan is what Repair would do.
type Plan struct {
	Possible bool
	Obstacle string // why not, in a few words (one of the Obstacle constants), when not Possible
}

// Change is one thing that was moved, for the notice and the ledger.
type Change struct {
	Place  detect.Place `json:"place"`
	Masked string       `json:"masked"`
}

// Options say in which words the moved lines are introduced.
type Options struct {
	Authority string        // name shown to readers; may be empty
	Boundary  func() string // a fresh MIME boundary; nil: crypto/rand
	Now       time.Time     // the day that bounds birth dates; zero: today
}

func (o Options) now() time.Time {
	if o.Now.IsZero() {
		return time.Now()
	}
	return o.Now
}

func (o Options) boundary() string {
	if o.Boundary != nil {
		return o.Boundary()
	}
	return "postvagt-" + rand.Text()
}

// Able says whether the findings in readable places can be repaired in m. Hand in the findings that must go: the lowest
// confidence among them is the floor, and everything at or above it goes (but see Weak and Faint).
func Able(m *mail.Message, findings []detect.Finding) (plan Plan) {
	defer func() {
		if recover() != nil { // the value may quote content: it goes nowhere
			plan = Plan{Obstacle: ObstacleUnread}
		}
	}()
	s := survey(m, findings, time.Now())
	if s.obstacle == "" {
		s.obstacle = bodyObstacle(m)
	}
	return Plan{Possible: s.obstacle == "", Obstacle: s.obstacle}
}

// Repair returns the repaired message and what was changed. findings are those that package inspect gave for m, or those
// of them that count. The result, parsed and inspected again, has none of them left in a readable place, nor any new one
// (addresses, and what Weak and Faint leave, excepted); an error means it could not be done, and the caller holds the
// message. With no finding in a readable place there is nothing to do: the same bytes come back, and no changes.
//
// A message this package fails on is one that cannot be repaired: a panic would be answered with 4yz, and the message
// would come again for as long as its sender tries.
func Repair(m *mail.Message, findings []detect.Finding, o Options) (repaired []byte, moved []Change, err error) {
	defer func() {
		if recover() != nil {
			repaired, moved, err = nil, nil, fmt.Errorf("repair: %w: %s", ErrImpossible, ObstacleUnread)
		}
	}()
	s := survey(m, findings, o.now())
	if len(s.spots) == 0 && s.obstacle == ObstacleNothing {
		return bytes.Clone(m.Raw), nil, nil
	}
	if s.obstacle = cmp.Or(s.obstacle, bodyObstacle(m)); s.obstacle != "" {
		return nil, nil, fmt.Errorf("repair: %w: %s", ErrImpossible, s.obstacle)
	}
	j := newJob(m, findings, o)
	if err := j.clean(s); err != nil {
		return nil, nil, fmt.Errorf("repair: %w", err)
	}
	j.tell()
	after := j.apply()
	if err := j.prove(after, s.left, floorOf(findings)); err != nil {
		return nil, nil, fmt.Errorf("repair: %w", err)
	}
	return after, changes(findings, s.left), nil
}

// changes lists what was moved, each number once a place.
func changes(findings []detect.Finding, left map[detect.Place]bool) (cs []Change) {
	listed := map[Change]bool{}
	for _, f := range wanted(findings) {
		c := Change{Place: f.Place, Masked: f.Masked}
		if listed[c] || f.Confidence < Weak && left[foldPlace(f.Place)] {
			continue
		}
		listed[c] = true
		cs = append(cs, c)
	}
	return cs
}

// floorOf returns the lowest confidence among the findings to be taken out: what weighs less was not asked for.
func floorOf(findings []detect.Finding) float64 {
	floor := 1.0
	for _, f := range wanted(findings) {
		floor = min(floor, f.Confidence)
	}
	return floor
}

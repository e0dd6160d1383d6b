package deliver

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"

	"postvagt/internal/detect"
	"postvagt/internal/level"
)

// stage is how far an attempt had come when it ended for a recipient.
type stage int

const (
	stageRoute    stage = iota // finding and connecting to the hop
	stageGreeting              // the hop's first words
	stageHello                 // EHLO or HELO
	stageTLS                   // STARTTLS and the handshake
	stageAuth                  // AUTH
	stageMail                  // MAIL
	stageRcpt                  // RCPT
	stageData                  // DATA and the message, until the end of data has been written completely
	stageEnd                   // after the end of data
)

func (s stage) String() string {
	return [...]string{"finding the host", "greeting", "EHLO", "STARTTLS", "AUTH", "MAIL", "RCPT", "DATA", "end of data"}[s]
}

// classify says what a reply (code 0: none came) that ends an attempt at a stage means for the recipient. This is the
// one place where permanent and temporary are told apart.
func classify(at stage, code int, enhanced string) Outcome {
	switch {
	case at == stageEnd && code/100 == 2:
		return Delivered
	case at == stageEnd && (code == 0 || code/100 == 3):
		return Unknown // the hop holds the whole message and has not said what it did with it
	case at <= stageAuth:
		return Deferred // about the hop, not about the message: a misconfigured smart host must not return all the mail
	case code/100 != 5:
		return Deferred // no reply, 4yz (421 included), or a reply that makes no sense here
	case code == 530 || code == 534 || code == 535 || code == 538 || enhanced == "5.7.8" || enhanced == "5.7.9":
		return Deferred // our login is wrong or missing (RFC 4954, section 6): a matter of configuration
	case at == stageRcpt && (enhanced == "5.5.3" || code == 552 && enhanced == ""):
		return Deferred // too many recipients at once: temporary, also as 552 (RFC 5321, section 4.5.3.1.10)
	}
	return Refused
}

// failure is why an attempt ended for all recipients alike.
type failure struct {
	at      stage
	result  Result
	receipt Receipt
	final   bool // other hosts of the hop would not do better
	noTLS   bool // the hop offered TLS, but no channel came of it
}

// results repeats the failure for every recipient of j.
func (f *failure) results(j *Job) []Result {
	results := make([]Result, len(j.Recipients))
	for i := range results {
		results[i] = f.result
	}
	return results
}

// tooLow is the failure of a hop that does not reach the level.
func tooLow(r Receipt, n need) *failure {
	why := fmt.Sprintf("the channel to %s is %s, the mail needs %s", r.Hop, r.Level, n.least)
	switch {
	case r.Level < level.Encrypted && r.Fallback != "":
		why += ": " + r.Fallback
	case r.Level == level.Encrypted && r.VerifyError != "":
		why += ": " + r.VerifyError
	}
	return &failure{at: stageTLS, receipt: r, result: Result{Outcome: TooLow, Enhanced: "5.7.10", Text: tidy(why), Reached: true}}
}

// resultOf turns a reply at a stage into a recipient's result.
func resultOf(at stage, r reply) Result {
	return Result{Outcome: classify(at, r.code, r.enhanced), Code: r.code, Enhanced: r.enhanced, Text: tidy(r.text), Reached: true}
}

// brokenOff is the result when no reply came.
func brokenOff(at stage, err error) Result {
	return Result{Outcome: classify(at, 0, ""), Text: tidy(at.String() + ": " + err.Error()), Reached: at > stageRoute}
}

const maxText = 500 // bytes of a Result's Text

// tidy makes a stranger's words safe to store and show: masked, one line, printable UTF-8, at most maxText bytes.
// It masks before it cuts, since half a number may no longer be recognised as one.
func tidy(s string) string {
	if s == "" {
		return ""
	}
	s = detect.Mask(printable(s))
	if len(s) <= maxText {
		return s
	}
	end := maxText - len("…")
	for end > 0 && !utf8.RuneStart(s[end]) {
		end--
	}
	return s[:end] + "…"
}

// printable replaces what is not printable and joins runs of blanks.
func printable(s string) string {
	var b strings.Builder
	b.Grow(len(s))
	blank := true // drops leading blanks
	for _, r := range s {
		if r == ' ' || !unicode.IsPrint(r) {
			if !blank {
				b.WriteByte(' ')
			}
			blank = true
			continue
		}
		blank = false
		b.WriteRune(r)
	}
	return strings.TrimRight(b.String(), " ")
}

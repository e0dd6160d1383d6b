package deliver

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"strings"
)

// reply is one SMTP reply (RFC 5321, section 4.2).
type reply struct {
	code     int
	enhanced string // RFC 2034: "5.1.1"; "" when none or when its class contradicts the code
	text     string // the lines joined with a blank, codes removed; raw, see tidy
}

func (r reply) ok() bool { return r.code/100 == 2 }

// Limits of a reply. RFC 5321 allows 512 bytes a line; some servers write more, none needs as much as this.
const (
	maxReplyLine  = 4096
	maxReplyLines = 128
	maxReplyText  = 4096
)

var (
	errReplyLine  = errors.New("the hop's reply has a line that is too long")
	errReplyLines = errors.New("the hop's reply has too many lines")
	errReplyForm  = errors.New("the hop's reply is not in the form of SMTP")
)

// readReply reads one reply. visit, where given, sees the text of each line. A line that is not finished when the
// stream ends is no reply, whatever it says: "250" without its line end may have been about to become "2500".
func readReply(r *bufio.Reader, visit func(line int, text []byte)) (reply, error) {
	var rep reply
	var text []byte
	for n := 0; ; n++ {
		if n == maxReplyLines {
			return reply{}, errReplyLines
		}
		line, err := r.ReadSlice('\n')
		switch {
		case errors.Is(err, bufio.ErrBufferFull):
			return reply{}, errReplyLine
		case errors.Is(err, io.EOF):
			return reply{}, io.ErrUnexpectedEOF
		case err != nil:
			return reply{}, err
		}
		// QUIRK: old servers end lines with a bare LF. Nothing can be smuggled in a reply, so it is read.
		line = bytes.TrimSuffix(line[:len(line)-1], []byte("\r"))
		code, more, ok := replyCode(line)
		if !ok || n > 0 && code != rep.code {
			return reply{}, errReplyForm
		}
		rest := line[min(4, len(line)):]
		if visit != nil {
			visit(n, rest)
		}
		enhanced, words := splitEnhanced(code, rest)
		if n == 0 {
			rep.code, rep.enhanced = code, enhanced
		}
		if len(text)+1+len(words) <= maxReplyText && len(words) > 0 {
			if len(text) > 0 {
				text = append(text, ' ')
			}
			text = append(text, words...)
		}
		if !more {
			rep.text = string(text)
			return rep, nil
		}
	}
}

// replyCode reads the code of one line and whether more lines follow. The first digit is 2 to 5; the other two are any,
// since servers use more than the RFC lists.
func replyCode(line []byte) (code int, more, ok bool) {
	if len(line) < 3 || line[0] < '2' || line[0] > '5' {
		return 0, false, false
	}
	for _, c := range line[:3] {
		if c < '0' || c > '9' {
			return 0, false, false
		}
		code = code*10 + int(c-'0')
	}
	if len(line) == 3 {
		return code, false, true
	}
	return code, line[3] == '-', line[3] == '-' || line[3] == ' '
}

// splitEnhanced takes an enhanced status code (RFC 3463: class.subject.detail) off the front of a line's text.
func splitEnhanced(code int, text []byte) (enhanced string, words []byte) {
	first, words, _ := bytes.Cut(text, []byte(" "))
	if len(first) < 5 || len(first) > 9 || first[1] != '.' || int(first[0]-'0') != code/100 {
		return "", text
	}
	subject, detail, ok := strings.Cut(string(first[2:]), ".")
	if !ok || !upTo3Digits(subject) || !upTo3Digits(detail) {
		return "", text
	}
	return string(first), words
}

func upTo3Digits(s string) bool {
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return false
		}
	}
	return len(s) >= 1 && len(s) <= 3
}

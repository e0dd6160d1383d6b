package deliver

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/iotest"
)

func TestReadReply(t *testing.T) {
	long := strings.Repeat("x", maxReplyLine)
	tests := []struct {
		in   string
		want reply
		err  error
	}{
		{"250 2.1.0 fine\r\n", reply{250, "2.1.0", "fine"}, nil},
		{"250\r\n", reply{250, "", ""}, nil},
		{"250 \r\n", reply{250, "", ""}, nil},
		{"250 fine\n", reply{250, "", "fine"}, nil},
		{"550-5.1.1 no such\r\n550-5.1.1 user\r\n550 5.1.1\r\n", reply{550, "5.1.1", "no such user"}, nil},
		{"550 4.1.1 the class contradicts\r\n", reply{550, "", "4.1.1 the class contradicts"}, nil},
		{"550 5.1.1234 odd\r\n", reply{550, "", "5.1.1234 odd"}, nil},
		{"550 5.1. odd\r\n", reply{550, "", "5.1. odd"}, nil},
		{"550 5.7.1\todd\r\n", reply{550, "", "5.7.1\todd"}, nil},
		{"599 odd\r\n", reply{599, "", "odd"}, nil},
		{"250-a\r\n251 b\r\n", reply{}, errReplyForm},
		{"250-a\r\nb\r\n", reply{}, errReplyForm},
		{"2500 a\r\n", reply{}, errReplyForm},
		{"150 a\r\n", reply{}, errReplyForm},
		{"650 a\r\n", reply{}, errReplyForm},
		{"2x0 a\r\n", reply{}, errReplyForm},
		{" 250 a\r\n", reply{}, errReplyForm},
		{"\r\n", reply{}, errReplyForm},
		{"HTTP/1.1 400 Bad Request\r\n", reply{}, errReplyForm},
		{"", reply{}, io.ErrUnexpectedEOF},
		{"250 fine", reply{}, io.ErrUnexpectedEOF},
		{"250-fine\r\n", reply{}, io.ErrUnexpectedEOF},
		{"250 " + long + "\r\n", reply{}, errReplyLine},
		{strings.Repeat("250-a\r\n", maxReplyLines) + "250 a\r\n", reply{}, errReplyLines},
	}
	for _, test := range tests {
		for _, slow := range []bool{false, true} {
			var in io.Reader = strings.NewReader(test.in)
			if slow {
				in = iotest.OneByteReader(in)
			}
			got, err := readReply(bufio.NewReaderSize(in, maxReplyLine), nil)
			if got != test.want || !errors.Is(err, test.err) {
				t.Errorf("%.60q: got %+v, %v; want %+v, %v", test.in, got, err, test.want, test.err)
			}
		}
	}
}

// FuzzReply: whatever a hop sends, a reply is well-formed, bounded, and read only from whole lines; what follows it
// stays unread; and the same bytes in smaller pieces read the same.
func FuzzReply(f *testing.F) {
	for _, seed := range []string{"250 ok\r\n", "250-a\r\n250 b\r\n", "550 5.1.1 no\r\n", "250 x", "354\n", "250-a\r\n550 b\r\n", "220 go\r\n250 more\r\n",
		"550-5.1.1 no\r\n550-5.1.1\r\n550 5.1.1 æøå \xff\x00\r\n"} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		lines := 0
		r := bufio.NewReaderSize(bytes.NewReader(in), maxReplyLine)
		got, err := readReply(r, func(n int, _ []byte) {
			if n != lines {
				t.Errorf("line %d came as number %d", lines, n)
			}
			lines++
		})
		again, errAgain := readReply(bufio.NewReaderSize(iotest.OneByteReader(bytes.NewReader(in)), maxReplyLine), nil)
		if got != again || fmt.Sprint(err) != fmt.Sprint(errAgain) {
			t.Errorf("in pieces: %+v, %v and %+v, %v", got, err, again, errAgain)
		}
		if err != nil {
			if got != (reply{}) {
				t.Errorf("a reply beside an error: %+v, %v", got, err)
			}
			return
		}
		rest, _ := io.ReadAll(r)
		used := in[:len(in)-len(rest)]
		if !bytes.HasSuffix(used, []byte("\n")) || bytes.Count(used, []byte("\n")) != lines || lines > maxReplyLines {
			t.Errorf("%d lines from %q", lines, used)
		}
		if got.code < 200 || got.code > 599 || fmt.Sprint(got.code) != string(in[:3]) {
			t.Errorf("code %d from %q", got.code, used)
		}
		if got.enhanced != "" && int(got.enhanced[0]-'0') != got.code/100 {
			t.Errorf("enhanced %q beside %d", got.enhanced, got.code)
		}
		if text := tidy(got.text); len(text) > maxText || strings.ContainsAny(text, "\r\n\x00") {
			t.Errorf("text %q", text)
		}
	})
}

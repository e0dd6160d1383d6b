package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"postvagt/internal/detect"
)

// maxLine bounds one line of detect's input, in bytes.
const maxLine = 64 << 20

// textLine is one line of input: the text to search. A pointer tells an empty text from none.
type textLine struct {
	Text *string `json:"text"`
}

// foundLine is one line of output. Offsets count bytes of the text in UTF-8, after JSON's escapes are undone.
type foundLine struct {
	Findings []foundText `json:"findings"`
}

type foundText struct {
	Kind       detect.Kind `json:"kind"`
	Start      int         `json:"start"`
	End        int         `json:"end"`
	Confidence float64     `json:"confidence"`
	Masked     string      `json:"masked"`
	Why        string      `json:"why"`
}

// detectJSONL reads one {"text": "…"} per line and writes one {"findings": […]} for each, in the same order. It stops at
// the first line that is not of that form; the error names the line, never what stands on it (law 6), and what was
// found before it is written.
func detectJSONL(in io.Reader, out io.Writer) (err error) {
	w := bufio.NewWriter(out)
	defer func() {
		if e := w.Flush(); err == nil && e != nil {
			err = fmt.Errorf("write findings: %w", e)
		}
	}()
	lines := bufio.NewScanner(in)
	lines.Buffer(make([]byte, 0, 64<<10), maxLine)
	encode := json.NewEncoder(w)
	encode.SetEscapeHTML(false)
	now, n := time.Now(), 0
	for lines.Scan() {
		n++
		text, err := readTextLine(lines.Bytes())
		if err != nil {
			return fmt.Errorf("line %d: %w", n, err)
		}
		if err := encode.Encode(foundIn(text, now)); err != nil {
			return fmt.Errorf("write findings: %w", err)
		}
	}
	switch err := lines.Err(); {
	case errors.Is(err, bufio.ErrTooLong):
		return fmt.Errorf("line %d: longer than %d MiB", n+1, maxLine>>20)
	case err != nil:
		return fmt.Errorf("line %d: read: %w", n+1, err)
	}
	return nil
}

func readTextLine(line []byte) (string, error) {
	if len(bytes.TrimSpace(line)) == 0 {
		return "", errors.New(`empty: each line must be {"text": "…"}`)
	}
	var t textLine
	if err := json.Unmarshal(line, &t); err != nil {
		var wrong *json.SyntaxError
		if errors.As(err, &wrong) {
			return "", fmt.Errorf(`not JSON (at byte %d): each line must be {"text": "…"}`, wrong.Offset)
		}
		return "", errors.New(`not an object with a text: each line must be {"text": "…"}`)
	}
	if t.Text == nil {
		return "", errors.New(`no "text": each line must be {"text": "…"}`)
	}
	return *t.Text, nil
}

func foundIn(text string, now time.Time) foundLine {
	found := foundLine{Findings: []foundText{}}
	for _, f := range detect.Find(detect.Text{Content: text}, now) {
		found.Findings = append(found.Findings, foundText{f.Kind, f.Start, f.End, f.Confidence, f.Masked, f.Why})
	}
	return found
}

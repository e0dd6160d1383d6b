package repair

import (
	"strings"
	"testing"

	"postvagt/internal/detect"
	"postvagt/internal/mail"
)

func TestIntro(t *testing.T) {
	subject, file, other := line{label: "Subject", text: "a"}, line{label: fileLabel, text: "b"}, line{label: "Comments", text: "c"}
	for _, c := range []struct {
		authority string
		lines     []line
		da, en    string
	}{
		{"Eksempel Kommune", []line{subject},
			"Eksempel Kommune har flyttet dette fra emnelinjen, fordi andre ellers kan se det undervejs.",
			"Eksempel Kommune moved this from the subject line, as others could otherwise see it on the way."},
		{"Eksempel Kommune", []line{subject, subject},
			"Eksempel Kommune har flyttet dette fra emnelinjen, fordi andre ellers kan se det undervejs.",
			"Eksempel Kommune moved this from the subject line, as others could otherwise see it on the way."},
		{"", []line{file},
			"Dette er flyttet fra filnavnet, fordi andre ellers kan se det undervejs.",
			"This was moved from the file name, as others could otherwise see it on the way."},
		{"Årslev\r\nKommune", []line{file, file},
			"Årslev  Kommune har flyttet dette fra filnavnene, fordi andre ellers kan se det undervejs.",
			"Årslev  Kommune moved this from the file names, as others could otherwise see it on the way."},
		{"", []line{subject, file, other},
			"Dette er flyttet herind i mailen, fordi andre ellers kan se det undervejs.",
			"This was moved into the mail itself, as others could otherwise see it on the way."},
	} {
		if got := intro(c.authority, c.lines); got != [2]string{c.da, c.en} {
			t.Errorf("%q %v: got %q", c.authority, c.lines, got)
		}
	}
}

func TestShown(t *testing.T) {
	got := shown([]line{{fileLabel, "b.pdf", "[CPR].pdf"}, {"Thread-Topic", "Sag", ""}, {"From", "Bo", ""}, {"subject", "Re: Sag", ""}, {"Sender", "Bo", ""}})
	var all []string
	for _, l := range got {
		all = append(all, l.String())
	}
	if s := strings.Join(all, "|"); s != "Emne: Re: Sag|Fra: Bo|Filnavn ([CPR].pdf): b.pdf" {
		t.Errorf("got %s", s)
	}
}

// TestDefaults: without options a repair is made with a boundary of its own, a different one each time.
func TestDefaults(t *testing.T) {
	m := mail.Parse([]byte("Subject: Sag 010170-5000\r\nContent-Type: image/png\r\n\r\nx"), mail.Limits{})
	var boundaries []string
	for range 2 {
		out, changes, err := Repair(m, findingsOf(m), Options{})
		if err != nil {
			t.Fatal(err)
		}
		r := mail.Parse(out, mail.Limits{}).Root
		boundaries = append(boundaries, r.Params["boundary"])
		if len(r.Parts) != 2 || r.Parts[1].MediaType != "image/png" {
			t.Errorf("parts %v", r.Parts)
		}
		want := Change{Place: detect.Place{Kind: detect.InHeader, Name: "Subject"}, Masked: "010170-••••"}
		if len(changes) != 1 || changes[0] != want {
			t.Errorf("changes %+v", changes)
		}
	}
	if boundaries[0] == boundaries[1] || len(boundaries[0]) < 26 {
		t.Errorf("boundaries %q", boundaries)
	}
}

// TestFloor: findings that the caller does not count are not its business, and ones it forgot are left as they were.
func TestFloor(t *testing.T) {
	m := mail.Parse([]byte("Subject: Sag 010170-5000\r\nX-Ordre: 0101705001\r\n\r\nHej\r\n"), mail.Limits{})
	var counted []detect.Finding
	for _, f := range findingsOf(m) {
		if f.Confidence >= Weak {
			counted = append(counted, f)
		}
	}
	out, changes, err := Repair(m, counted, testOptions())
	if err != nil || len(changes) != 1 {
		t.Fatalf("%v, %+v", err, changes)
	}
	if !strings.Contains(string(out), "\r\nX-Ordre: 0101705001\r\n") {
		t.Errorf("the weak finding that was not handed in was changed:\n%s", out)
	}
}

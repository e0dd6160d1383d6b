package repair

import (
	"strings"
	"testing"

	"postvagt/internal/mail"
)

// TestHTMLTop: where the moved lines go, as "|", and whether they are seen there before all else.
func TestHTMLTop(t *testing.T) {
	for _, c := range []struct {
		page   string
		hidden bool // all of the page is: no place will do
	}{
		{"|", false},
		{"|Hej", false},
		{"\xEF\xBB\xBF|Hej", false},
		{"<!doctype html>\r\n|<p>Hej", false},
		{"<html><head><title>Brev</title></head>\r\n<body class=\"a>b\">\r\n|<p>Hej</body></html>", false},
		{"<html><head><title>Brev</title><meta charset=utf-8><style>p {}</style>|<p>Hej", false},
		{"<title>Brev <body> </title>\r\n<!-- <body> -->\r\n<BODY>|Hej", false},
		{"<html>\r\n<body>|<div style=\"display:none\">Forsmag</div><p>Hej", false},
		{"|<div style=\"display:none\"><html><head></head><body>Gammelt</body></html></div><p>Hej", false},
		{"|<p>Hej</p><blockquote><html><body>Gammelt</body></html></blockquote>", false},
		{"|Hej<html><body>Mere", false},
		{"|<template/><body>Hej", false},
		{"<template><p>Ej</p><template></template><body></template><body>|Hej", false},
		{"<!--[if mso]><xml></xml><![endif]--><style>x</style>\r\n|<xml>1</xml><body>Hej", false},
		{"<noscript><body>Ej</noscript><body>|Hej", false},
		{"<script>\"<body>\"</script><body>|Hej", false},
		{"<html>|<title>Brev", false},
		{"<html>|<!-- <body>", false},
		{"<body style=\"display: none\">|<p>Hej", true},
		{"<html hidden>|<p>Hej", true},
	} {
		page := strings.Replace(c.page, "|", "", 1)
		at := htmlTop([]byte(page))
		if got := page[:at] + "|" + page[at:]; got != c.page {
			t.Errorf("got  %s\nwant %s", got, c.page)
			continue
		}
		lines := []line{{label: "Subject", text: "Sag 1 < 2 & \"æøå\""}}
		if got := inSight(testOptions(), lines, "\r\n", page[:at]+asHTML(testOptions(), lines, "\r\n")+page[at:]); got == c.hidden {
			t.Errorf("%s: in sight %v", c.page, got)
		}
	}
}

// TestInSight: the proof sees where the lines are hidden, or not first.
func TestInSight(t *testing.T) {
	lines := []line{{label: "Subject", text: "Sag 1"}}
	block := asHTML(testOptions(), lines, "\r\n")
	for _, page := range []string{
		"", "Hej" + block, "<div style='display:none'>" + block + "</div>Hej", "<div hidden>" + block, "<!--" + block + "-->",
		"<title>" + block, "<p>" + strings.Replace(block, "Sag 1", "Sag <i hidden>1</i>", 1),
	} {
		if inSight(testOptions(), lines, "\r\n", page) {
			t.Errorf("seen: %s", page)
		}
	}
}

// TestHiddenPage: a page that shows nothing is left alone, and the line stands before it.
func TestHiddenPage(t *testing.T) {
	const page = "<html><body style=\"visibility:hidden\">Hej</body></html>\r\n"
	m := mail.Parse([]byte("Subject: Sag "+number+"\r\nContent-Type: text/html\r\n\r\n"+page), mail.Limits{})
	out, _, err := Repair(m, findingsOf(m), testOptions())
	if err != nil {
		t.Fatal(err)
	}
	if r := mail.Parse(out, mail.Limits{}).Root; len(r.Parts) != 2 || !strings.Contains(string(out), "\r\n\r\n"+page+"\r\n--wrapping--") {
		t.Errorf("got\n%s", out)
	}
}

package notice

import (
	"embed"
	"fmt"
	"strings"
	"text/template"
)

//go:embed words
var wordFiles embed.FS

// wording is the templates of one language. Their names: "returned" (a notice's body), "returned.subject",
// "returned.cause.mailbox-full" (by problem, or by the policy's reason), "returned.advice…" (what to do), "place",
// "reached", "page" (what stands around every notice), "rung.subject".
type wording struct {
	lang string
	t    *template.Template
}

var words = map[string]*wording{"da": load("da"), "en": load("en")}

func load(lang string) *wording {
	t := template.New(lang).Option("missingkey=error").Funcs(template.FuncMap{
		"lower": strings.ToLower,
		"text":  func(f func() (string, error)) (string, error) { return f() },
	})
	return &wording{lang, template.Must(t.ParseFS(wordFiles, "words/"+lang+"/*.txt"))}
}

func (w *wording) run(name string, data any) (string, error) {
	var b strings.Builder
	if err := w.t.ExecuteTemplate(&b, name, data); err != nil {
		return "", fmt.Errorf("compose notice in %q: %w", w.lang, err)
	}
	return b.String(), nil
}

// first runs the first of the templates that is there; "" when none is.
func (w *wording) first(data any, names ...string) (string, error) {
	for _, name := range names {
		if w.t.Lookup(name) != nil {
			s, err := w.run(name, data)
			return flat(s, 4000), err
		}
	}
	return "", nil
}

package config

import (
	"fmt"
	"strings"
)

// reader collects what is wrong with one file, so that all of it is told at once.
type reader struct {
	path     string
	readFile func(string) ([]byte, error) // nil: files stay unread
	mistakes Mistakes
	warnings []located[string]
}

// located is a value and where it was written; n is nil for a default.
type located[T any] struct {
	value T
	n     *node
}

func (l located[T]) line() int {
	if l.n == nil {
		return 0
	}
	return l.n.line
}

func (r *reader) mistake(line int, what, why, hint string) {
	r.mistakes = append(r.mistakes, Mistake{File: r.path, Line: line, What: what, Why: why, Hint: hint})
}

// warn notes what is allowed but should be known; check shows it.
func (r *reader) warn(line int, format string, args ...any) {
	r.warnings = append(r.warnings, located[string]{fmt.Sprintf(format, args...), &node{line: line}})
}

// section reads one mapping by the field table: its keys, their defaults, what is missing.
type section struct {
	r     *reader
	n     *node           // nil: not given, so all defaults hold
	path  string          // in the field table: "", "authorities[]", "authorities[].held"
	meant map[string]bool // keys that unknown ones were taken for: they are misspelt, not missing
}

// section checks that n is a mapping with known keys, each once.
func (r *reader) section(n *node, path string) section {
	s := section{r: r, n: n, path: path, meant: map[string]bool{}}
	if n == nil {
		return s
	}
	if n.kind != isMapping {
		r.mistake(n.line, fmt.Sprintf("%s is %s, but a mapping is wanted", nameOf(path), n.kind), "", "write key: value lines; keys here: "+strings.Join(keysOf(path), ", "))
		s.n = nil
		return s
	}
	known, seen := keysOf(path), map[string]int{}
	for _, p := range n.pairs {
		if first := seen[p.key]; first > 0 {
			r.mistake(p.line, fmt.Sprintf("%q is given twice", p.key), fmt.Sprintf("it stands in line %d already", first), "keep one")
			continue
		}
		seen[p.key] = p.line
		if _, ok := fieldAt(join(path, p.key)); !ok {
			s.meant[nearest(p.key, known)] = true
			r.mistake(p.line, fmt.Sprintf("unknown key %s in %s", quote(p.key), nameOf(path)), "a setting that nobody reads protects nobody", didYouMean(p.key, known))
		}
	}
	return s
}

// given reports whether the file has the key.
func (s section) given(key string) bool { return s.n.get(key) != nil }

// child returns the node of a key, or its default's; nil when there is neither. What is missing or empty is told.
func (s section) child(key string) *node {
	f, ok := fieldAt(join(s.path, key))
	if !ok {
		s.r.mistake(0, "the program asks for the unknown key "+join(s.path, key), "this is a fault in the program", "please report it")
		return nil
	}
	n := s.n.get(key)
	if n != nil && n.kind == isNull {
		s.r.mistake(n.line, nameOf(f.Path)+" is empty", "", "give it a value, or remove the line for the default")
		return f.defaultNode()
	}
	if n == nil && f.Required && s.n != nil && !s.meant[key] { // where the section itself is missing, that was told
		s.missing(f)
	}
	if n == nil {
		return f.defaultNode()
	}
	return n
}

func (s section) missing(f field) {
	s.r.mistake(s.n.line, nameOf(f.Path)+" is missing", lowerFirst(f.Doc), "write "+f.key()+": "+f.sample())
}

// lowerFirst makes a sentence of the manual one that follows a colon; names in capitals stay.
func lowerFirst(s string) string {
	if len(s) < 2 || s[1] >= 'A' && s[1] <= 'Z' {
		return s
	}
	return strings.ToLower(s[:1]) + s[1:]
}

// mapping returns the section below key.
func (s section) mapping(key string) section {
	return s.r.section(s.child(key), join(s.path, key))
}

// mappings returns the sections in the list below key.
func (s section) mappings(key string) []section {
	n := s.child(key)
	if n == nil {
		return nil
	}
	name := nameOf(join(s.path, key))
	if n.kind != isList {
		s.r.mistake(n.line, fmt.Sprintf("%s is %s, but a list is wanted", name, n.kind), "", "begin each entry with - ")
		return nil
	}
	if f, _ := fieldAt(join(s.path, key)); len(n.items) == 0 && f.Required {
		s.r.mistake(n.line, name+" is an empty list", lowerFirst(f.Doc), "")
	}
	var out []section
	for _, item := range n.items {
		out = append(out, s.r.section(item, join(s.path, key)+"[]"))
	}
	return out
}

// one reads a single value by parse, whose error is told with the value's line.
func one[T any](s section, key string, parse func(string) (T, error)) located[T] {
	n := s.child(key)
	if n == nil {
		return located[T]{}
	}
	return valueOf(s.r, n, join(s.path, key), parse)
}

// many reads a value or a list of values.
func many[T any](s section, key string, parse func(string) (T, error)) []located[T] {
	n := s.child(key)
	if n == nil {
		return nil
	}
	path := join(s.path, key)
	items := []*node{n}
	if n.kind == isList {
		items = n.items
		if f, _ := fieldAt(path); len(items) == 0 && f.Required {
			s.r.mistake(n.line, nameOf(path)+" is an empty list", lowerFirst(f.Doc), "write "+f.key()+": "+f.sample())
		}
	}
	var out []located[T]
	for _, item := range items {
		before := len(s.r.mistakes)
		if v := valueOf(s.r, item, path, parse); len(s.r.mistakes) == before {
			out = append(out, v)
		}
	}
	return out
}

// valueOf parses one scalar. A value that is wrong is told and left at its zero.
func valueOf[T any](r *reader, n *node, path string, parse func(string) (T, error)) located[T] {
	f, _ := fieldAt(path)
	if n.kind == isList || n.kind == isMapping || n.kind == isNull || (n.kind == isBool) != (f.Type == "true or false") {
		hint := "write " + f.key() + ": " + f.sample()
		if n.kind == isList {
			hint += "; a text that begins with [ needs quotes"
		}
		r.mistake(n.line, fmt.Sprintf("%s is %s, but %s is wanted", nameOf(path), n.kind, article(strings.TrimPrefix(f.Type, "list of "))), "", hint)
		return located[T]{n: n}
	}
	v, err := parse(n.text)
	if err != nil {
		p, ok := err.(*problem)
		if !ok {
			p = &problem{what: err.Error()}
		}
		r.mistake(n.line, nameOf(path)+" "+p.what, p.why, p.hint)
	}
	return located[T]{v, n}
}

// values drops the places.
func values[T any](ls []located[T]) []T {
	var out []T
	for _, l := range ls {
		out = append(out, l.value)
	}
	return out
}

func join(path, key string) string {
	if path == "" {
		return key
	}
	return path + "." + key
}

// nameOf is a table path as people read it: "authorities.held.within".
func nameOf(path string) string {
	if path == "" {
		return "the file"
	}
	return strings.ReplaceAll(path, "[]", "")
}

func article(typ string) string {
	if typ == "true or false" {
		return typ
	}
	if strings.ContainsRune("aeiou", rune(typ[0])) {
		return "an " + typ
	}
	return "a " + typ
}

package repair

import (
	"bytes"
	"cmp"
	"slices"
	"strings"

	"postvagt/internal/detect"
	"postvagt/internal/mail"
)

// job is one repair under way: what is to be different, over the bytes that came. Nothing is written before apply.
type job struct {
	m        *mail.Message
	findings []detect.Finding // in m, as handed in
	o        Options
	eol      string // the message's own line end

	fields  map[*mail.Part]map[int][]byte // new bytes of a whole field, by its index; empty: taken out
	added   map[*mail.Part][]byte         // fields to stand last in a part's header
	bodies  map[*mail.Part][]byte         // new bytes of a leaf's body
	inserts []splice                      // new parts and boundaries

	lines   []line              // what was moved, in the order readers see it
	noted   map[line]bool       // …and is in lines already
	files   fileNames           // what the files are called now
	written map[*mail.Part]bool // parts whose body holds the moved lines
	newPart bool                // the lines stand in a part of their own
	wrapped bool                // …and the message's body became the part after it
}

// splice replaces a range of the message's bytes.
type splice struct {
	at   mail.Range
	with []byte
}

func newJob(m *mail.Message, findings []detect.Finding, o Options) *job {
	return &job{
		m: m, findings: findings, o: o, eol: lineEnd(m),
		fields:  map[*mail.Part]map[int][]byte{},
		added:   map[*mail.Part][]byte{},
		bodies:  map[*mail.Part][]byte{},
		written: map[*mail.Part]bool{},
		noted:   map[line]bool{},
	}
}

// lineEnd is the message's own: that of its first line.
func lineEnd(m *mail.Message) string {
	i := bytes.IndexByte(m.Raw, '\n')
	if i > 0 && m.Raw[i-1] != '\r' {
		return "\n"
	}
	return "\r\n"
}

func (j *job) raw(r mail.Range) []byte { return j.m.Bytes(r) }

// field returns the bytes of p's field i as they will stand.
func (j *job) field(p *mail.Part, i int) []byte {
	if b, ok := j.fields[p][i]; ok {
		return b
	}
	return j.raw(p.Fields[i].Span)
}

func (j *job) setField(p *mail.Part, i int, b []byte) {
	if j.fields[p] == nil {
		j.fields[p] = map[int][]byte{}
	}
	j.fields[p][i] = b
}

// setValue gives p's field i a new value: name, colon and line end stay as they are. (A number in the very name gives
// way to Mark, which is a lawful name: RFC 5322, section 2.2.)
func (j *job) setValue(p *mail.Part, i int, value []byte) {
	f := p.Fields[i]
	name := string(j.m.Raw[f.Span.Start:f.Value.Start])
	if t := (tainted{now: j.o.now()}); !t.free(detect.Place{}, name) {
		name = detect.Redact(name, Mark)
	}
	b := append([]byte(name), value...)
	j.setField(p, i, append(b, j.m.Raw[f.Value.End:f.Span.End]...))
}

// value returns the value of p's named field i as it will stand.
func (j *job) value(p *mail.Part, i int) []byte {
	f := p.Fields[i]
	b := j.field(p, i)
	return b[bytes.IndexByte(b, ':')+1 : len(b)-(f.Span.End-f.Value.End)]
}

// indexes returns which fields of p have the name.
func indexes(p *mail.Part, name string) (is []int) {
	for i, f := range p.Fields {
		if strings.EqualFold(strings.TrimSpace(f.Name), name) {
			is = append(is, i)
		}
	}
	return is
}

// addField puts a field last in p's header.
func (j *job) addField(p *mail.Part, s string) {
	j.added[p] = append(j.added[p], s+j.eol...)
}

// headEnd makes the splice that ends p's header: added fields, and the blank line where the message had none.
func (j *job) headEnd(p *mail.Part, bodyGrows bool) splice {
	head := j.raw(p.Head)
	var b []byte
	cut := len(head) > 0 && head[len(head)-1] != '\n' && head[len(head)-1] != '\r' // the message ends inside its header
	if n := len(p.Fields); n > 0 && p.Fields[n-1].Span.End == p.Head.End && len(j.field(p, n-1)) == 0 {
		cut = false // …in a field that is taken out
	}
	bare := p.Head.End == p.Body.Start // no blank line after it
	if cut && (len(j.added[p]) > 0 || bodyGrows) {
		b = append(b, j.eol...)
	}
	b = append(b, j.added[p]...)
	if bare && bodyGrows {
		b = append(b, j.eol...)
	}
	return splice{mail.Range{Start: p.Head.End, End: p.Head.End}, b}
}

// apply writes the message as it is to be.
func (j *job) apply() []byte {
	var all []splice
	j.m.Walk(func(p *mail.Part) {
		for i, b := range j.fields[p] {
			all = append(all, splice{p.Fields[i].Span, b})
		}
		body, grows := j.bodies[p]
		if p.Parent == nil && j.wrapped {
			grows = true
		}
		if e := j.headEnd(p, grows || j.written[p]); len(e.with) > 0 {
			all = append(all, e)
		}
		if body != nil {
			all = append(all, splice{p.Body, body})
		}
	})
	// What is put in at a place stands before what is replaced from there on: a new part before the first field of the part
	// that was first. Stable: of several put in at one place the order is header, body, new parts.
	all = append(all, j.inserts...)
	slices.SortStableFunc(all, func(a, b splice) int {
		return cmp.Or(cmp.Compare(a.at.Start, b.at.Start), cmp.Compare(a.at.End, b.at.End))
	})
	var out []byte
	at := 0
	for _, s := range all {
		out = append(out, j.m.Raw[at:s.at.Start]...)
		out = append(out, s.with...)
		at = s.at.End
	}
	return append(out, j.m.Raw[at:]...)
}

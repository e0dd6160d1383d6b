package repair

import (
	"fmt"
	"strings"

	"postvagt/internal/mail"
)

// fileNames gives files their names with Mark in them. Files that would all be called the same are numbered from the second
// on, so that a reader can tell which is which, and a program that saves them all saves them all.
type fileNames struct {
	owner map[string]*mail.Part // whose a name is, in lower case; also the names that nobody changes
	given map[spelling]string
	next  map[string]int // where to go on counting, by the name without a number
}

// spelling is a name as one of a part's fields spells it. A part may spell one name several times, and it stays one.
type spelling struct {
	part *mail.Part
	name string
}

// name returns what p's file is called, given its name with Mark in the place of the numbers.
func (n *fileNames) name(m *mail.Message, p *mail.Part, clean string) string {
	if n.owner == nil {
		n.owner, n.given, n.next = map[string]*mail.Part{}, map[spelling]string{}, map[string]int{}
		readable(m, func(q *mail.Part) {
			for _, s := range m.FileNames(q) {
				n.owner[strings.ToLower(oneLine(s))] = q
			}
		})
	}
	if name, ok := n.given[spelling{p, clean}]; ok || !strings.Contains(clean, Mark) {
		if ok {
			return name
		}
		return clean
	}
	for i := max(n.next[clean], 1); ; i++ {
		name := clean
		if i > 1 {
			name = strings.Replace(clean, Mark, fmt.Sprintf("%s %d", Mark, i), 1)
		}
		low := strings.ToLower(name)
		if o := n.owner[low]; o != nil && o != p {
			continue
		}
		n.owner[low], n.given[spelling{p, clean}], n.next[clean] = p, name, i+1
		return name
	}
}

// few reports whether no more than one file was named anew: then nobody need be told which it is.
func (n *fileNames) few() bool {
	parts := map[*mail.Part]bool{}
	for s := range n.given {
		parts[s.part] = true
	}
	return len(parts) < 2
}

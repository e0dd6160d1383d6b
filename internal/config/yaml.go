package config

import (
	"bytes"
	"errors"
	"fmt"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"

	"postvagt/internal/detect"
)

// kind is what a node of the file is.
type kind string

const (
	isNull    kind = "nothing"
	isText    kind = "a text"
	isNumber  kind = "a number"
	isBool    kind = "true or false"
	isList    kind = "a list"
	isMapping kind = "a mapping"
)

// node is one value of the file with its line. We read this and not the YAML library's tree, so that the rest of the
// package is free of YAML's rarer spellings: what we do not take (anchors, tags, several documents) is refused here.
type node struct {
	line  int
	kind  kind
	text  string // of a scalar, as written (quotes removed)
	pairs []pair
	items []*node
}

// pair is a key and its value.
type pair struct {
	key   string
	line  int
	value *node
}

// get returns the value of key, nil when it is not there.
func (n *node) get(key string) *node {
	if n == nil {
		return nil
	}
	for _, p := range n.pairs {
		if p.key == key {
			return p.value
		}
	}
	return nil
}

const (
	mostBytes    = 1 << 20
	mostLine     = 8 << 10 // a password hash is 100 bytes, a long list goes over several lines
	mostBrackets = 10_000  // bounds the nesting of flow lists and mappings
	mostDepth    = 50
)

// tree parses YAML. Its error is a *treeError.
func tree(data []byte) (root *node, err error) {
	// A panic in the YAML library is a file that we cannot read, no reason to go down.
	defer func() {
		if p := recover(); p != nil {
			root, err = nil, &treeError{1, problem{"the file cannot be read as YAML", "the parser gave up on it", "look for stray tabs, quotes and brackets"}}
		}
	}()
	data = bytes.TrimPrefix(data, []byte("\ufeff")) // some editors put a byte order mark first
	if err := bounded(data); err != nil {
		return nil, err
	}
	f, err := parser.ParseBytes(data, 0, parser.AllowDuplicateMapKey())
	if err != nil {
		return nil, syntaxError(err)
	}
	var docs []ast.Node
	for _, d := range f.Docs {
		if d.Body != nil {
			docs = append(docs, d.Body)
		}
	}
	switch len(docs) {
	case 0:
		return &node{line: 1, kind: isNull}, nil
	case 1:
		return convert(docs[0], 0)
	}
	return nil, fail(lineOf(docs[1]), "a second YAML document begins here", "one file is one configuration", "remove the line ---")
}

// bounded refuses what would cost the YAML parser too much memory or stack.
func bounded(data []byte) error {
	if len(data) > mostBytes {
		return fail(0, fmt.Sprintf("the file is %d bytes", len(data)), fmt.Sprintf("a configuration is at most %d", mostBytes), "")
	}
	line := 0
	for l := range bytes.Lines(data) {
		line++
		if len(l) > mostLine {
			return fail(line, fmt.Sprintf("the line is %d bytes long", len(l)), fmt.Sprintf("a line is at most %d", mostLine), "write lists over several lines")
		}
	}
	if n := bytes.Count(data, []byte("[")) + bytes.Count(data, []byte("{")); n > mostBrackets {
		return fail(0, fmt.Sprintf("the file has %d brackets", n), fmt.Sprintf("a configuration has at most %d", mostBrackets), "write lists over several lines with -")
	}
	return nil
}

// treeError is a mistake with its line but not its file.
type treeError struct {
	line int
	problem
}

func fail(line int, what, why, hint string) error {
	return &treeError{line, problem{what, why, hint}}
}

// syntaxError takes line and message from the YAML library's error.
func syntaxError(err error) error {
	var y yaml.Error
	if !errors.As(err, &y) {
		return fail(1, "the file is not YAML", detect.Mask(err.Error()), "")
	}
	line := 1
	if t := y.GetToken(); t != nil && t.Position != nil {
		line = t.Position.Line
	}
	return fail(line, "the file is not YAML from here on", detect.Mask(y.GetMessage()), "check indentation and quotes; [ { * & ! % @ at the start of a text need quotes")
}

func lineOf(n ast.Node) int {
	if t := n.GetToken(); t != nil && t.Position != nil {
		return t.Position.Line
	}
	return 1
}

// convert makes our node of the library's.
func convert(n ast.Node, depth int) (*node, error) {
	if n == nil {
		return &node{line: 1, kind: isNull}, nil
	}
	line := lineOf(n)
	if depth > mostDepth {
		return nil, fail(line, "the nesting is too deep", "no setting is that deep", "check the indentation")
	}
	switch n := n.(type) {
	case *ast.NullNode:
		return &node{line: line, kind: isNull}, nil
	case *ast.StringNode:
		return &node{line: line, kind: isText, text: n.Value}, nil
	case *ast.LiteralNode:
		return &node{line: line, kind: isText, text: n.Value.Value}, nil
	case *ast.BoolNode:
		return &node{line: line, kind: isBool, text: fmt.Sprint(n.Value)}, nil
	case *ast.IntegerNode:
		return scalar(line, isNumber, n.Token), nil
	case *ast.FloatNode:
		return scalar(line, isNumber, n.Token), nil
	case *ast.InfinityNode:
		return scalar(line, isText, n.Token), nil
	case *ast.NanNode:
		return scalar(line, isText, n.Token), nil
	case *ast.SequenceNode:
		return convertList(n, line, depth)
	case *ast.MappingNode:
		return convertMapping(n.Values, line, depth)
	case *ast.MappingValueNode:
		return convertMapping([]*ast.MappingValueNode{n}, line, depth)
	case *ast.AnchorNode, *ast.AliasNode:
		return nil, fail(line, "YAML anchors and aliases (& and *) are not read here", "a reader should see each value where it stands", `write the value out; a text that begins with * or & needs quotes: "*"`)
	case *ast.TagNode:
		return nil, fail(line, "YAML tags (!) are not read here", "", "remove the tag; a text that begins with ! needs quotes")
	}
	return nil, fail(line, "this YAML is not read here", n.Type().String(), "write keys, values and lists only")
}

func scalar(line int, k kind, t *token.Token) *node { return &node{line: line, kind: k, text: t.Value} }

func convertList(n *ast.SequenceNode, line, depth int) (*node, error) {
	out := &node{line: line, kind: isList}
	for _, v := range n.Values {
		item, err := convert(v, depth+1)
		if err != nil {
			return nil, err
		}
		out.items = append(out.items, item)
	}
	return out, nil
}

func convertMapping(values []*ast.MappingValueNode, line, depth int) (*node, error) {
	out := &node{line: line, kind: isMapping}
	for i, v := range values {
		at := lineOf(v.Key)
		if i == 0 {
			out.line = at // the library gives a block mapping the place of its first colon
		}
		key, err := convert(v.Key, depth+1)
		if err != nil {
			return nil, err
		}
		if key.kind != isText && key.kind != isNumber && key.kind != isBool {
			return nil, fail(at, "a key must be a word", "", "check the indentation and the colons")
		}
		value, err := convert(v.Value, depth+1)
		if err != nil {
			return nil, err
		}
		if value.kind == isNull || value.kind == isMapping || value.kind == isList {
			value.line = max(value.line, at)
		}
		out.pairs = append(out.pairs, pair{key: key.text, line: at, value: value})
	}
	return out, nil
}

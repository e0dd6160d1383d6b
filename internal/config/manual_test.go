package config

import (
	"fmt"
	"os"
	"strings"
	"testing"
)

// TestManual writes docs/config.md from the field table, or tells that it is stale.
func TestManual(t *testing.T) { golden(t, "../../docs/config.md", manual()) }

// TestPackaged: the sample that is shipped is a configuration without mistakes, and asks for nothing unusual.
func TestPackaged(t *testing.T) {
	data, err := os.ReadFile("../../packaging/postvagt.yaml")
	if err != nil {
		t.Fatal(err)
	}
	c, err := Parse("postvagt.yaml", data)
	if err != nil {
		t.Fatal(err)
	}
	if len(c.Warnings) > 0 {
		t.Errorf("the sample has warnings:\n%s", strings.Join(c.Warnings, "\n"))
	}
}

const manualHead = `# The configuration file

<!-- Written by go test ./internal/config -update from the table in internal/config/fields.go: change that, not this. -->

One YAML file says everything: ` + "`/etc/postvagt/postvagt.yaml`" + ` by convention, given with ` + "`--config`" + `. This is the smallest one that works:

` + "```yaml\n" + minimal + "```" + `

` + "`postvagt check --config FILE`" + ` tells every mistake at once, each with its line, and says in words what the file means: the levels each
class needs, and which mail may find no channel strong enough. A key that is not known is a mistake, never passed over.

- A *duration* is a number with a unit: ` + "`30s`, `15m`, `4h`, `3d`, `1d12h`" + `. A *period* is days or months of 31 days: ` + "`90d`, `24mo`" + `. A *size* is bytes or ` + "`50MiB`" + `.
- A *list* may be written as one value where it has only one.
- A text that begins with ` + "`*`, `[`, `{`, `&`, `!`, `%` or `@`" + ` needs quotes: ` + "`\"*\"`" + `. YAML anchors and tags are not read.
- A relative *file* starts from the folder of the configuration. Secrets can stand in files of their own.
- A *level* is ` + "`cleartext`, `encrypted`, `verified`, `tunnel` or `end-to-end`" + `, from weak to strong. A *class* is ` + "`ordinary`, `confidential` or `sensitive`" + `.
- A *pattern* for addresses is ` + "`eksempel.example` (everybody there), `.eksempel.example` (everybody below it), `social*@eksempel.example` or `borger@eksempel.example`" + `.
`

// manual is the reference page: one table per top-level key.
func manual() string {
	var b strings.Builder
	b.WriteString(manualHead)
	for _, key := range keysOf("") {
		top, _ := fieldAt(key)
		fmt.Fprintf(&b, "\n## %s\n\n%s.%s\n", key, top.Doc, inWords(top))
		rows := fieldsBelow(key)
		if len(rows) == 0 {
			continue
		}
		b.WriteString("\n| Key | Type | Default | Meaning |\n|---|---|---|---|\n")
		for _, f := range rows {
			fmt.Fprintf(&b, "| `%s` | %s | %s | %s |\n", strings.TrimPrefix(strings.TrimPrefix(f.Path, key), "."), typeName(f), cell(f), strings.ReplaceAll(f.Doc, "|", `\|`))
		}
	}
	return b.String()
}

func fieldsBelow(key string) []field {
	var out []field
	for _, f := range fields {
		if strings.HasPrefix(f.Path, key+".") || strings.HasPrefix(f.Path, key+"[") {
			out = append(out, f)
		}
	}
	return out
}

// cell is a field's default as the manual shows it.
func cell(f field) string {
	switch {
	case f.Required:
		return "**required**"
	case f.Default != "":
		return "`" + f.Default + "`"
	}
	return f.Otherwise
}

// typeName is a field's type as the manual shows it.
func typeName(f field) string {
	if strings.HasPrefix(f.Type, "list of ") {
		return f.Type + "s"
	}
	return f.Type
}

// inWords is a top-level key's default, in the running text.
func inWords(f field) string {
	switch {
	case f.Required:
		return " Required."
	case f.Otherwise != "":
		return " Default: " + f.Otherwise + "."
	}
	return ""
}

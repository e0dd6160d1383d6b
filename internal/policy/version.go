package policy

import (
	"crypto/sha256"
	"encoding/base32"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"postvagt/internal/class"
)

// builtInVersion names the built-in rules of this program. Raise it in the commit that lets Decide give another verdict
// for the same options: the ledger must be able to tell the two apart.
const builtInVersion = "3"

// version hashes complete options in one spelling, so that two that decide alike have the same version: the order and
// case of domains and of a rule's lists mean nothing, the order of rules does. The result holds no digit but 2–7, so that
// it can never be taken for a CPR number (a month begins with 0 or 1).
func version(o Options) string {
	o.Domains, o.Gateways = canonical(o.Domains), canonical(o.Gateways)
	rules := make([]Rule, len(o.Rules))
	for i, r := range o.Rules {
		r.When.Senders, r.When.Recipients = canonical(r.When.Senders), canonical(r.When.Recipients)
		r.When.Kinds, r.When.Places = sorted(r.When.Kinds), sorted(r.When.Places)
		rules[i] = r
	}
	matrix := ""
	for _, c := range class.All {
		matrix += fmt.Sprint(c, "=", o.Matrix[c], ";")
	}
	all := []any{builtInVersion, matrix, o.Domains, o.Gateways, o.Uninspected, o.RepairInbound, o.Confidence, rules}
	if len(o.Others) > 0 {
		all = append(all, canonical(o.Others))
	}
	b, err := json.Marshal(all)
	if err != nil {
		panic(fmt.Sprintf("policy: checked options cannot be written: %v", err)) // no value in them is without a JSON form
	}
	sum := sha256.Sum256(b)
	return strings.ToLower(base32.StdEncoding.EncodeToString(sum[:10]))
}

func canonical(patterns []string) []string {
	out := make([]string, len(patterns))
	for i, s := range patterns {
		at := strings.LastIndexByte(s, '@') + 1
		d, _ := readDomain(s[at:])
		out[i] = strings.ToLower(s[:at]) + string(d)
	}
	return sorted(out)
}

func sorted[S ~string](list []S) []S {
	return slices.Compact(slices.Sorted(slices.Values(list)))
}

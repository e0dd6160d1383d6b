package policy

import (
	"strings"
	"testing"
)

// A notice is outside the policy (law 7): it does not say that it was looked through.
func TestExplainNotice(t *testing.T) {
	v := Verdict{Action: Send, Reason: Clean, Rule: RuleNotice}
	for lang, want := range map[string]string{"da": "vagten selv", "en": "the guard itself"} {
		if got := Explain(v, lang); !strings.Contains(got, want) {
			t.Errorf("%s: %q, want it to hold %q", lang, got, want)
		}
	}
}

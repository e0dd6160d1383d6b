package deliver

import (
	"strings"
	"testing"

	"postvagt/internal/level"
)

func TestProbe(t *testing.T) {
	for reply, want := range map[string]Outcome{"": Delivered, "550 5.1.1 No such mailbox": Refused, "450 4.2.1 Later": Deferred, "421 4.3.2 Going": Deferred, "drop": Deferred} {
		t.Run(reply, func(t *testing.T) {
			p := &peer{t: t, manners: manners{lenient: true, answer: func(c string) string {
				if strings.HasPrefix(c, "RCPT TO:<b@") {
					return reply
				}
				return ""
			}}}
			c := client(t, p.listen())
			hop := job(level.None, "b@borger.example").Hop
			if r := c.Probe(t.Context(), hop, "b@borger.example"); r.Outcome != want {
				t.Errorf("the hop says %q: got %+v, want %s", reply, r, want)
			}
			if took := p.took(); len(took) != 0 {
				t.Errorf("a probe left something: %+v", took)
			}
		})
	}
}

package deliver

import (
	"testing"

	"postvagt/internal/level"
)

func TestDelivers(t *testing.T) {
	for name, offers := range map[string][]string{"pipelining": {"PIPELINING", "DSN", "SIZE 1000"}, "one by one": nil} {
		t.Run(name, func(t *testing.T) {
			p := &peer{t: t, manners: manners{offers: offers}}
			c := client(t, p.listen())
			receipt, results := c.Attempt(t.Context(), job(level.None, "b@borger.example", "c@borger.example"))
			if got, want := outcomes(results), "delivered 250 2.0.0, delivered 250 2.0.0"; got != want {
				t.Errorf("outcomes: got %s (%s), want %s", got, results[0].Text, want)
			}
			if receipt.Level != level.Cleartext || receipt.IP != "192.0.2.1" || receipt.Hop != "smart.example:25" || receipt.DSN != (offers != nil) {
				t.Errorf("receipt: got %+v", receipt)
			}
			if took := p.took(); len(took) != 1 || took[0].data != head+body {
				t.Errorf("taken: got %+v", took)
			}
		})
	}
}

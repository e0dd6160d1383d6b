package ledgertest

import (
	"strings"
	"testing"

	"postvagt/internal/ledger"
)

// Promise notes what a process said that the ledger promised it: "<id>", accepted, or "done <id>", delivered.
func Promise(promised map[string]string, line string) {
	line = strings.TrimSpace(line)
	if id, ok := strings.CutPrefix(line, "done "); ok {
		promised[id] = "delivered"
	} else if promised[line] == "" {
		promised[line] = "accepted"
	}
}

// CheckPromises demands that the ledger has kept what Promise noted, and that attempts which were cut off are marked.
func CheckPromises(t *testing.T, s ledger.Store, promised map[string]string) {
	t.Helper()
	for id, state := range promised {
		st, err := s.Story(t.Context(), ledger.MessageID(id))
		if err != nil {
			t.Errorf("%s was promised: %v", id, err)
			continue
		}
		d := st.Deliveries[0]
		if state == "delivered" && d.State != ledger.Delivered {
			t.Errorf("%s was delivered and is %s", id, d.State)
		}
		if d.State == ledger.Queued && !d.Possibly {
			t.Errorf("%s: its attempt was cut off, but it is not marked", id)
		}
	}
}

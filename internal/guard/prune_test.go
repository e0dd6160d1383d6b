package guard

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"postvagt/internal/ledger"
)

const kept = `    retention:
      ordinary: {details: 2d, rows: 5d}
      confidential: {details: 4d}
`

// The guard removes what is no longer kept, by class, and says so in numbers only.
func TestRetention(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newStageAt(t, kept, time.Hour, time.Hour)
		ordinary := s.send("anna@eksempel.example", []string{"bo@borger.example"}, letter("Hej", "Hej"))
		confidential := s.send("anna@eksempel.example", []string{"bo@borger.example"}, letter("Sag", "Det er 010170-5000"))
		s.pass(24*time.Hour + pruneTime)
		s.erased(ordinary, false)
		s.pass(24 * time.Hour)
		s.erased(ordinary, true)
		s.erased(confidential, false)
		s.pass(2 * 24 * time.Hour)
		s.erased(confidential, true)
		s.pass(2 * 24 * time.Hour)
		if _, err := s.store.Story(context.Background(), ordinary); !errors.Is(err, ledger.ErrNotFound) {
			t.Errorf("its rows are still there: %v", err)
		}
		s.erased(confidential, true)
		s.logMu.Lock()
		defer s.logMu.Unlock()
		log := s.log.String()
		if !strings.Contains(log, "retention removed what is no longer kept") {
			t.Errorf("the log does not say so:\n%s", log)
		}
		for line := range strings.Lines(log) {
			if strings.Contains(line, "retention") && (strings.Contains(line, "anna") || strings.Contains(line, "bo@") || strings.Contains(line, string(ordinary))) {
				t.Errorf("the log names somebody: %s", line)
			}
		}
	})
}

func (s *stage) erased(id ledger.MessageID, want bool) {
	s.Helper()
	if got := !s.story(id).Message.ErasedAt.IsZero(); got != want {
		s.Errorf("at %v: details gone from %s: %v, want %v", now(), id, got, want)
	}
}

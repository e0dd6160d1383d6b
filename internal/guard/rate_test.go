package guard

import (
	"context"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"postvagt/internal/smtpin"
)

func TestRates(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t, "limits: {rate: 3}\n")
		in := intake{s.guard, "smtp"}
		count := func(c *smtpin.Client) (n int) {
			for in.Mail(context.Background(), c, "x@borger.example") == nil && n < 100 {
				n++
			}
			return n
		}
		at := func(ip string) *smtpin.Client { return &smtpin.Client{IP: netip.MustParseAddr(ip)} }
		for ip, want := range map[string]int{theirs: 3, ours: 100, "2001:db8::1": 3} {
			if n := count(at(ip)); n != want {
				t.Errorf("%s may send %d messages a minute, want %d", ip, n, want)
			}
		}
		if n := count(at("2001:db8::2")); n != 0 {
			t.Errorf("the neighbour in the same /64 may send %d more", n)
		}
		if n := count(at("198.51.100.2")); n != 3 {
			t.Errorf("another stranger may send %d", n)
		}
		time.Sleep(time.Minute)
		if n := count(at(theirs)); n != 3 {
			t.Errorf("a minute later it may send %d", n)
		}
	})
}

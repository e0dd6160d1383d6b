package config

import (
	"strconv"
	"strings"
	"time"

	"postvagt/internal/class"
	"postvagt/internal/ledger"
)

// retention reads how long what is final is kept, by class; a class or a time that is not given is kept for ever.
func (r *reader) retention(s section, digest time.Duration) ledger.Retention {
	var keep ledger.Retention
	for _, c := range class.All {
		cs := s.mapping(c.String())
		details, rows := one(cs, "details", parsePeriod), one(cs, "rows", parsePeriod)
		name := "authorities.retention." + c.String()
		if rows.value > 0 && details.value > rows.value {
			r.mistake(rows.line(), name+".rows is shorter than details", "the details go with the rows at the latest", "write rows as long as details, or longer")
		}
		k := ledger.Keep{Details: details.value, Rows: rows.value}
		if after := k.After(ledger.Details); after > 0 && after < digest {
			r.mistake(cs.n.line, name+" is shorter than notices.digest", "the digest could no longer tell what was repaired", "write at least the digest's length of time")
		}
		if k != (ledger.Keep{}) {
			if keep == nil {
				keep = ledger.Retention{}
			}
			keep[c] = k
		}
	}
	return keep
}

// longestPeriod is a hundred years: anything above it is a slip.
const longestPeriod = 36525

// parsePeriod reads days or months: "90d", "24mo". A month counts as 31 days, so that nothing goes earlier than the calendar says.
func parsePeriod(s string) (time.Duration, error) {
	hint := "write days or months: 90d, 24mo"
	number, days := s, 0
	if rest, ok := strings.CutSuffix(s, "mo"); ok {
		number, days = rest, 31
	} else if rest, ok := strings.CutSuffix(s, "d"); ok {
		number, days = rest, 1
	}
	n, err := strconv.ParseUint(strings.TrimSpace(number), 10, 16)
	if err != nil || days == 0 {
		return 0, &problem{quote(s) + " is no length of time in days or months", "", hint}
	}
	if n == 0 {
		return 0, &problem{quote(s) + " would keep nothing", "what is asked about a mail is asked days later", hint}
	}
	if int(n)*days > longestPeriod {
		return 0, &problem{quote(s) + " is more than a hundred years", "", "leave it out to keep it for ever"}
	}
	return time.Duration(n) * time.Duration(days) * 24 * time.Hour, nil
}

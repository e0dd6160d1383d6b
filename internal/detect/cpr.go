package detect

import "time"

// plausible reports whether the first four digits can be day and month: 01–31, or 61–91 for replacement numbers
// (DOMAIN section 1), and 01–12. It is all that Mask asks for.
func plausible(d *[10]byte) bool {
	day, month := int(d[0])*10+int(d[1]), int(d[2])*10+int(d[3])
	return (day >= 1 && day <= 31 || day >= 61 && day <= 91) && month >= 1 && month <= 12
}

// date is a calendar day.
type date struct{ year, month, day int }

// birth returns the birth date a number says, by the century table of DOMAIN section 1; replacement says that the day
// was raised by 60. ok is false where there is no such day.
func birth(d *[10]byte) (b date, replacement, ok bool) {
	return bornIn(d, century(int(d[4])*10+int(d[5]), d[6]))
}

// bornIn is birth for a century that is known.
func bornIn(d *[10]byte, century int) (b date, replacement, ok bool) {
	b = date{day: int(d[0])*10 + int(d[1]), month: int(d[2])*10 + int(d[3]), year: int(d[4])*10 + int(d[5])}
	b.year += century
	if b.day > 60 {
		replacement = true
		b.day -= 60
	}
	ok = b.month >= 1 && b.month <= 12 && b.day >= 1 && b.day <= daysIn(b.year, b.month)
	return b, replacement, ok
}

// century returns 1800, 1900 or 2000 for a two-digit year and the seventh digit.
func century(yy int, seventh byte) int {
	switch {
	case seventh <= 3:
		return 1900
	case seventh == 4 || seventh == 9:
		if yy <= 36 {
			return 2000
		}
		return 1900
	case yy <= 57:
		return 2000
	}
	return 1800
}

func daysIn(year, month int) int {
	switch month {
	case 4, 6, 9, 11:
		return 30
	case 2:
		if year%4 == 0 && (year%100 != 0 || year%400 == 0) {
			return 29
		}
		return 28
	}
	return 31
}

// upTo returns the last day a birth date may fall on: the day after now, since now's zone need not be Denmark's. A zero
// now bounds nothing.
func upTo(now time.Time) date {
	if now.IsZero() {
		return date{year: 9999}
	}
	y, m, d := now.AddDate(0, 0, 1).Date()
	return date{y, int(m), d}
}

func (a date) after(b date) bool {
	if a.year != b.year {
		return a.year > b.year
	}
	if a.month != b.month {
		return a.month > b.month
	}
	return a.day > b.day
}

// mod11 reports whether the check digit holds. Numbers without it are issued since 1 October 2007 and are fully valid:
// it may raise confidence, never exclude.
func mod11(d *[10]byte) bool {
	weights := [10]int{4, 3, 2, 7, 6, 5, 4, 3, 2, 1}
	sum := 0
	for i, w := range weights {
		sum += w * int(d[i])
	}
	return sum%11 == 0
}

// timestamp reports whether the window is written as a point or a stretch of time: a year, month, day and hour (2010-10-20
// 12), which fits the form of a number in the years whose last two digits are a month; a date and a time with a full stop, as in
// Danish (10.12.25 19.43); or two dates (01.12.24-31.12.24).
func timestamp(w *window) bool {
	d := &w.digits
	switch w.sizes {
	case 4222:
		return d[0] == 2 && d[1] == 0 || d[0] == 1 && d[1] == 9
	case 22222:
		if w.cut == byDash && (w.last == w.inner || w.last == byDot || w.last == bySlash) {
			return true
		}
		return w.cut == bySpace && w.last == byDot && d[6]*10+d[7] < 24 && d[8] < 6
	}
	return false
}

// form returns what a window's writing alone is worth, with and without the check digit. The figures are a judgement:
// six and four digits with a hyphen are hardly anything else; of random ten-digit runs 3.1 % have a valid past birth
// date and 0.28 % the check digit too (DOMAIN section 1).
func form(w *window) (with, without float64) {
	switch w.shape {
	case lettered:
		return 0.7, 0.7
	case cropped: // only with a label of its own, which adds to it
		return 0.25, 0
	case longYear: // only with a label: dates and times are written so, too
		return 0.45, 0.35
	case plain:
		if w.atSix {
			return 0.8, 0.6
		}
		if w.digits[0] == 1 && w.digits[1] == 0 { // P-numbers begin so, and pass both tests ten times as often
			return 0.55, 0.25
		}
		return 0.7, 0.3
	case sixFour:
		return sixFourForm(w.cut)
	case dated:
		switch {
		case w.cut == loose || w.inner == loose || w.inner == byTab:
			return 0.55, 0.35
		case w.cut == byDash:
			return 0.9, 0.7
		}
		return 0.75, 0.55
	}
	switch {
	case w.sizes == 334: // as North American telephone numbers are written
		return 0.45, 0.25
	case w.cut == byDash:
		return 0.75, 0.55
	}
	return 0.55, 0.3
}

func sixFourForm(cut joint) (with, without float64) {
	switch cut {
	case byDash:
		return 0.95, 0.8
	case byTab:
		return 0.75, 0.55
	case loose:
		return 0.55, 0.3
	case byLine, bySign: // only with a label: columns of figures look so, too
		return 0.4, 0.25
	}
	return 0.85, 0.6
}

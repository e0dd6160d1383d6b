package detect

// The scanner reads text once, from left to right, and never copies it: what it reports are offsets into the text as it
// stands. Digits form groups (a maximal run of digits; marks that take no room are part of it), groups joined by a
// separator form a row, and a window is a stretch of whole groups of one row with ten digits in all, split between
// the sixth and the seventh or nowhere. Since groups are maximal, ten digits inside a longer run are no window; since a
// window may start at any group of its row, a neighbouring number never hides one.

// joint is how a group is joined to the one before it.
type joint uint8

const (
	none joint = iota // not at all: a row begins
	byDash
	byWrap // a hyphen at the line's end
	bySpace
	byDot
	bySlash
	byUnderscore
	byTab
	loose  // a full stop and a blank: more likely two sentences
	byLine // one line end, with blanks around it
	bySign // other punctuation, with blanks around it
)

// weak joints join six digits and four, and nothing else.
func (j joint) weak() bool { return j == byLine || j == bySign }

// group is a maximal run of digits.
type group struct {
	start, end int
	n          int      // digits
	digits     [10]byte // the first ten, as values 0–9
	joint      joint
	atSix      bool // a mark that takes no room stands between the sixth and the seventh digit
	plus       bool // a plus sign stands before it
}

// shape is how a window's ten digits are grouped.
type shape uint8

const (
	plain    shape = iota // 0101705000
	sixFour               // 010170-5000
	dated                 // 01.01.70-5000
	spaced                // 0 1 0 1 7 0 - 5 0 0 0
	odd                   // anything else that is split after the sixth digit
	longYear              // 01.01.1870-5000, 01011870-5000
	lettered              // 0101705AB0, 010170-5AB0: an e-CPR
	cropped               // 101705000, 1.1.70-5000: zeros were lost
)

// window is a stretch of text that has the form of a CPR number.
type window struct {
	start, end int
	digits     [10]byte // values 0–9
	shape      shape
	cut        joint // between the sixth and seventh digit; none for a plain one
	inner      joint // between the groups of the date, when all alike; else loose
	last       joint // before the last group
	atSix      bool  // plain, with a mark after the sixth digit
	afterFour  bool  // plain, and a group of four digits is joined to it: perhaps an account with its registration number
	phone      bool  // it begins with, or follows, an international prefix
	sizes      int   // the groups' digits, as a decimal number: 64 for 010170-5000, 2224 for 01.01.70-5000; 0 for more than six
}

type scanner struct {
	s      string
	pos    int
	n      int  // groups in the row so far
	digits int  // digits in the row so far
	tens   int  // groups of ten digits so far
	read   bool // whether the text names CPR numbers is known
	named  bool // it does
	row    [16]group
}

// next returns the next window. Windows come in ascending order of both start and end, and may overlap.
func (sc *scanner) next(w *window) bool {
	for sc.group() {
		if sc.window(w) {
			return true
		}
	}
	return false
}

// group reads the next group of digits into the row, or begins a new row with it.
func (sc *scanner) group() bool {
	at, j := sc.pos, none
	if sc.n > 0 && at < len(sc.s) && byteClass[sc.s[at]] != other {
		at, j = readJoint(sc.s, at)
	}
	if j == none {
		sc.n, sc.digits = 0, 0
		if at = nextDigit(sc.s, sc.pos); at < 0 {
			return false
		}
	}
	g := &sc.row[sc.n%len(sc.row)]
	sc.n++
	g.joint = j
	g.plus = at > 0 && sc.s[at-1] == '+' && !(at > 1 && fieldEnd(sc.s[at-2]))
	sc.pos = g.read(sc.s, at)
	sc.digits += g.n
	if g.n == 10 {
		sc.tens++
	}
	return true
}

// fieldEnd reports whether a plus sign after c separates fields, as in EDIFACT, rather than begin a telephone number.
func fieldEnd(c byte) bool {
	return letter(c) || c >= '0' && c <= '9' || c == ':' || c == '+' || c == '\''
}

// nextDigit returns where the next decimal digit stands at or after i, or -1.
func nextDigit(s string, i int) int {
	for ; i < len(s); i++ {
		if !mayBegin[s[i]] {
			continue
		}
		if c, _, _ := classAt(s, i); c == digit {
			return i
		}
	}
	return -1
}

// read fills g with the digits that stand from i on and returns where they end.
func (g *group) read(s string, i int) int {
	g.start, g.atSix = i, false
	for i < len(s) && s[i]-'0' <= 9 {
		if at := i - g.start; at < len(g.digits) {
			g.digits[at] = s[i] - '0'
		}
		i++
	}
	g.n = i - g.start
	if i < len(s) && (byteClass[s[i]] == mark || byteClass[s[i]] == multibyte) {
		i = g.more(s, i)
	}
	g.end = i
	return i
}

// more reads on from i, where a character stands that is no ASCII digit and no end of the group as yet.
func (g *group) more(s string, i int) int {
	for i < len(s) {
		c, v, size := classAt(s, i)
		if c == mark {
			past := skipMarks(s, i)
			if past == len(s) {
				break
			}
			if c, v, size = classAt(s, past); c == digit {
				g.atSix = g.atSix || g.n == 6
				i = past
			}
		}
		if c != digit {
			break
		}
		if g.n < len(g.digits) {
			g.digits[g.n] = v
		}
		g.n++
		i += size
	}
	return i
}

func skipMarks(s string, i int) int {
	for i < len(s) {
		c, _, size := classAt(s, i)
		if c != mark {
			break
		}
		i += size
	}
	return i
}

// readJoint reads the separator at i and returns where the digit after it stands and what kind it is: blanks, or one
// sign (a hyphen may be doubled) with blanks around it. It returns none where what stands there joins nothing.
func readJoint(s string, i int) (int, joint) {
	const most = 3 // blanks on either side
	j, blanks, signs := none, 0, 0
	for i < len(s) {
		c, size := byteClass[s[i]], 1
		if c == multibyte {
			c, _, size = classLong(s, i)
		}
		switch c {
		case digit:
			return i, j
		case mark:
		case space, tab:
			if blanks++; blanks > most {
				return i, none
			}
			j = withBlank(j, c)
		case newline:
			switch {
			case j == byDash || j == byWrap:
				j = byWrap
			case j == none || j == bySpace || j == byTab:
				j = byLine
			case j != byLine || s[i-1] != '\r' || s[i] != '\n': // CRLF is one line end
				return i, none
			}
		case dash, dot, slash, underscore, sign:
			blanks = 0
			if signs++; j == byLine || signs > 2 || signs == 2 && (c != dash || j != byDash) {
				return i, none
			}
			if j = withSign(j, c); j == none {
				return i, none
			}
		default:
			return i, none
		}
		i += size
	}
	return i, none
}

// withBlank is what a joint becomes by a blank after it.
func withBlank(j joint, c class) joint {
	switch {
	case j == none && c == tab:
		return byTab
	case j == none:
		return bySpace
	case j == bySpace && c == tab:
		return byTab
	case j == byDot:
		return loose
	}
	return j
}

// withSign is what a joint becomes by a sign after it; blanks may stand before the sign.
func withSign(j joint, c class) joint {
	switch c {
	case dash:
		return byDash
	case slash:
		return bySlash
	case underscore:
		return byUnderscore
	case sign:
		return bySign
	}
	if j != none {
		return loose // a blank before the full stop
	}
	return byDot
}

// window looks whether a window ends with the newest group. There can be only one: going back, the sum of digits grows.
func (sc *scanner) window(w *window) bool {
	if n := sc.back(0).n; (n == 7 || n == 1) && sc.lettered(w) {
		return true
	}
	return sc.digits >= 10 && (sc.ten(w) || sc.long(w)) || sc.digits >= 8 && sc.cropped(w)
}

// ten looks whether a window of ten digits ends with the newest group.
func (sc *scanner) ten(w *window) bool {
	total, cut := 0, -1
	for k := 0; k < sc.n && k < 10; k++ {
		total += sc.back(k).n
		if total == 4 {
			cut = k
		}
		if total < 10 {
			if sc.weak(k) {
				return false
			}
			continue
		}
		if total > 10 || k > 0 && cut < 0 {
			return false
		}
		return sc.fill(w, k, cut)
	}
	return false
}

// long looks whether a date with all digits of its year and four more digits end with the newest group. The year has to be
// the one that the seventh digit says, or it is no birth date.
func (sc *scanner) long(w *window) bool {
	last, k := sc.back(0), 1
	switch {
	case last.n != 4 || sc.n < 2 || last.joint.weak():
		return false
	case sc.back(1).n == 8:
	case sc.n >= 4 && sc.back(1).n == 4 && sc.back(2).n == 2 && sc.back(3).n == 2 && !sc.back(1).joint.weak() && !sc.back(2).joint.weak():
		k = 3
	default:
		return false
	}
	var d [12]byte
	at := 0
	for i := k; i >= 0; i-- {
		g := sc.back(i)
		at += copy(d[at:], g.digits[:g.n])
	}
	*w = window{start: sc.back(k).start, end: last.end, shape: longYear, cut: last.joint, inner: sc.back(k - 1).joint, last: last.joint}
	copy(w.digits[:4], d[:4])
	copy(w.digits[4:], d[6:])
	yy := int(d[6])*10 + int(d[7])
	return plausible(&w.digits) && century(yy, d[8]) == int(d[4])*1000+int(d[5])*100
}

// weak reports whether the newest group but k is joined so weakly to the one before it that no window goes on there, unless
// it is the six and four digits of a number.
func (sc *scanner) weak(k int) bool {
	g := sc.back(k)
	return g.joint.weak() && !(k == 0 && g.n == 4 && sc.n > 1 && sc.back(1).n == 6)
}

// back returns the group k before the newest.
func (sc *scanner) back(k int) *group { return &sc.row[(sc.n-1-k)%len(sc.row)] }

// fill describes the window of the newest group and the k before it; its last four digits begin cut groups back. It
// returns false where day and month cannot be.
func (sc *scanner) fill(w *window, k, cut int) bool {
	first, last := sc.back(k), sc.back(0)
	*w = window{start: first.start, end: last.end}
	at := 0
	for i := k; i >= 0; i-- {
		g := sc.back(i)
		at += copy(w.digits[at:], g.digits[:g.n])
		if k < 6 {
			w.sizes = w.sizes*10 + g.n
		}
	}
	if !plausible(&w.digits) {
		return false
	}
	joined := first.joint != none && !first.joint.weak()
	w.phone = first.plus || joined && sc.n > k+1 && sc.back(k+1).plus && sc.back(k+1).n <= 3
	if k == 0 {
		w.atSix = first.atSix
		w.afterFour = joined && sc.n > 1 && sc.back(1).n == 4
		return true
	}
	w.cut, w.last = sc.back(cut).joint, last.joint
	w.shape, w.inner = sc.grouping(k, cut)
	return true
}

// grouping names how the window's digits are grouped and by what its date is.
func (sc *scanner) grouping(k, cut int) (shape, joint) {
	inner := none
	if k > cut+1 {
		inner = sc.back(k - 1).joint
	}
	singles, pairs := k == 9, k == 3 && cut == 0
	for i := k; i > cut; i-- {
		g := sc.back(i)
		pairs = pairs && g.n == 2
		if i < k && g.joint != inner {
			inner = loose
		}
	}
	switch {
	case k == 1:
		return sixFour, inner
	case pairs:
		return dated, inner
	case singles:
		return spaced, inner
	}
	return odd, inner
}

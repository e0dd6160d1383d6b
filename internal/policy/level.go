package policy

import (
	"postvagt/internal/class"
	"postvagt/internal/level"
)

// LevelFor is the least level that o asks of the way to recipients outside for a message of class c.
func LevelFor(o Options, c class.Class) level.Level {
	p := &Policy{o: complete(o)}
	return p.levelFor(c)
}

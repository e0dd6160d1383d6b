//go:build race

package guard

const raceFactor = 10 // the race detector's price

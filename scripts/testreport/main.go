// Command testreport reads the output of go test -json: it prints what failed with its output, each package's time, and
// fails when a test was skipped, for what is skipped is not known to work. Only tests over other projects' messages may be
// skipped, where POSTVAGT_CORPORA names no folder of them: the same laws are tested on fixtures of our own.
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"strings"
)

type event struct {
	Action, Package, Test, Output, ImportPath string
	Elapsed                                   float64
}

func main() {
	output := map[string]*strings.Builder{} // by package and test
	var failed, skipped []string
	in := bufio.NewScanner(os.Stdin)
	in.Buffer(nil, 16<<20)
	for in.Scan() {
		var e event
		if json.Unmarshal(in.Bytes(), &e) != nil {
			fmt.Println(in.Text()) // a build's own words
			continue
		}
		key := e.Package + " " + e.Test
		switch e.Action {
		case "output", "build-output":
			if e.Action == "build-output" {
				fmt.Print(e.Output)
			}
			if output[key] == nil {
				output[key] = &strings.Builder{}
			}
			output[key].WriteString(e.Output)
		case "fail":
			failed = append(failed, key)
		case "skip":
			if e.Test != "" {
				skipped = append(skipped, key)
			}
		case "pass":
			if e.Test == "" {
				fmt.Printf("ok    %-40s %6.1f s\n", e.Package, e.Elapsed)
			}
		}
		if e.Action == "pass" {
			delete(output, key)
		}
	}
	for _, key := range failed {
		fmt.Printf("FAIL  %s\n", key)
		if b := output[key]; b != nil {
			fmt.Print(b.String())
		}
	}
	bad := len(failed)
	for _, key := range skipped {
		fmt.Printf("SKIP  %s: %s", key, output[key])
		if os.Getenv("POSTVAGT_CORPORA") != "" || !strings.Contains(output[key].String(), "POSTVAGT_CORPORA is not set") {
			bad++
		}
	}
	fmt.Printf("\n%d failed, %d skipped\n", len(failed), len(skipped))
	if bad > 0 {
		os.Exit(1)
	}
}

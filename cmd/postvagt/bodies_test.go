package main

import (
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"postvagt/internal/bucket/buckettest"
	"postvagt/internal/demo"
)

// TestBodies runs the scenarios in testdata/bodies, with an object store beside the program. Besides the commands of TestScripts:
//
//	s3 start     starts a store at $S3 with its certificate in $S3_ROOTS, and makes s3-credentials; or the same store again
//	s3 stop      kills it
//	objects N    it holds so many bodies
func TestBodies(t *testing.T) {
	if !buckettest.Installed() {
		t.Skip("versitygw is not installed: scripts/install-test-tools does it")
	}
	own := maps.Clone(commands)
	own["s3"], own["objects"] = cmdS3, cmdObjects
	testscript.Run(t, testscript.Params{Dir: "testdata/bodies", Cmds: own, Setup: func(e *testscript.Env) error {
		e.Values[stageKey{}] = &scriptStage{t: t, hops: map[string]*demo.Mailboxes{}}
		e.Values[storeKey{}] = new(*buckettest.Server)
		return nil
	}})
}

type storeKey struct{}

// storeOf is the script's store; nil before its first start.
func storeOf(ts *testscript.TestScript) **buckettest.Server {
	return ts.Value(storeKey{}).(**buckettest.Server)
}

func cmdS3(ts *testscript.TestScript, neg bool, args []string) {
	store := storeOf(ts)
	switch {
	case args[0] == "stop":
		(*store).Kill()
	case *store != nil:
		ts.Check((*store).Run())
	default:
		dir := ts.MkAbs("s3")
		ts.Check(os.Mkdir(dir, 0o700))
		s, err := buckettest.Launch(dir)
		ts.Check(err)
		ts.Defer(s.Kill)
		*store = s
		ts.Setenv("S3", s.Options.Endpoint)
		ts.Setenv("S3_ROOTS", s.Options.RootCAs)
		keys := s.Options.Keys
		ts.Check(os.WriteFile(ts.MkAbs("s3-credentials"), fmt.Appendf(nil, "aws_access_key_id = %s\naws_secret_access_key = %s\n", keys.ID, keys.Secret), 0o600))
	}
}

func cmdObjects(ts *testscript.TestScript, neg bool, args []string) {
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	var found []string
	err = filepath.WalkDir((*storeOf(ts)).Folder, func(path string, d fs.DirEntry, err error) error {
		// A body's object is named <body>-<stamp>, in a folder that is its message's id.
		if err == nil && d.Type().IsRegular() && len(filepath.Base(filepath.Dir(path))) == 26 {
			found = append(found, path)
		}
		return err
	})
	ts.Check(err)
	if len(found) != want {
		ts.Fatalf("the object store holds %d bodies, want %d: %q", len(found), want, found)
	}
}

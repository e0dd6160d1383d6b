// Command postvagt is a mail guard for public authorities: it inspects every mail, repairs or holds what must not leave
// as it is, delivers at a required and recorded level, always tells the sender, and accounts for every message.
//
// Exit codes: 0 done; 1 something is wrong with what was looked at (verify, check) or could not be done; 2 the command
// line or the configuration is wrong.
package main

import (
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/alecthomas/kong"

	"postvagt/internal/config"
)

// version is set by the build (-ldflags -X main.version=…).
var version = "development"

// cli is the command line; each field is a command, described by its tags and run by its Run method.
type cli struct {
	Serve    serveCmd    `cmd:"" help:"Run the guard."`
	Check    checkCmd    `cmd:"" help:"Check the configuration and say in words what it does."`
	Verify   verifyCmd   `cmd:"" help:"Verify the laws, the event chain and that every open body can be read."`
	Trace    traceCmd    `cmd:"" help:"Tell the whole story of a message."`
	Queue    queueCmd    `cmd:"" help:"List what waits to be delivered."`
	Held     heldCmd     `cmd:"" help:"List what waits for a person, alarms first."`
	Release  releaseCmd  `cmd:"" help:"Let a held message go on. Its level stays; its sender is told."`
	Withdraw withdrawCmd `cmd:"" help:"End a message that has not left; its sender is told. For an alarm: take it."`
	Retry    retryCmd    `cmd:"" help:"Try queued mail again at once."`
	Keys     keysCmd     `cmd:"" help:"Make, rotate and list the keys that bodies are sealed with."`
	Migrate  migrateCmd  `cmd:"" name:"migrate-store" help:"Move a stopped SQLite ledger to PostgreSQL, and prove that all of it arrived."`
	Restored restoredCmd `cmd:"" help:"Take a ledger into use that was brought back from a copy: what may have left since is held for a person."`
	Backup   backupCmd   `cmd:"" help:"Write a consistent copy of the ledger while the guard runs."`
	Prune    pruneCmd    `cmd:"" help:"Say what retention would remove from the ledger, or remove it now."`
	Detect   detectCmd   `cmd:"" help:"Find CPR numbers in texts given as JSON lines."`
	Demo     demoCmd     `cmd:"" help:"Play the true events of a municipality on this machine."`
	Hash     hashCmd     `cmd:"" name:"hash-password" help:"Read a password and print its argon2id hash for the configuration."`
	Version  versionCmd  `cmd:"" help:"Print the version."`
}

// streams are the command's input and output, so that scripts can run it in-process.
type streams struct {
	in       io.Reader
	out, err io.Writer
}

func main() { os.Exit(run(os.Args[1:], streams{os.Stdin, os.Stdout, os.Stderr})) }

// run parses and runs one command and returns the exit code.
func run(args []string, s streams) (code int) {
	var c cli
	exited := -1
	k, err := kong.New(&c, kong.Name("postvagt"), kong.Description("Mail guard for public authorities: a message may be late; it may never be silently gone."),
		kong.Writers(s.out, s.err), kong.UsageOnError(), kong.Exit(func(n int) { exited = n }), kong.Bind(s))
	if err != nil {
		panic(err) // the command line's own description is wrong: a bug
	}
	ctx, err := k.Parse(args)
	if exited >= 0 { // --help
		return exited
	}
	if err != nil {
		fmt.Fprintf(s.err, "postvagt: %v\n", err)
		return 2
	}
	err = ctx.Run(s)
	switch {
	case err == nil:
		return 0
	case errors.Is(err, errFound):
		return 1
	}
	fmt.Fprintf(s.err, "postvagt: %v\n", err)
	var mistakes config.Mistakes
	if errors.As(err, &mistakes) {
		return 2
	}
	return 1
}

// errFound is for commands that looked and found something wrong, and have said so already.
var errFound = errors.New("found something wrong")

type versionCmd struct{}

func (versionCmd) Run(s streams) error {
	_, err := fmt.Fprintln(s.out, "postvagt", version)
	return err
}

type detectCmd struct {
	Jsonl bool `required:"" help:"Read one {\"text\": …} per line, write one {\"findings\": […]} per line."`
}

func (detectCmd) Run(s streams) error { return detectJSONL(s.in, s.out) }

type hashCmd struct{}

func (hashCmd) Run(s streams) error {
	password, err := readLine(s.in)
	if err != nil {
		return fmt.Errorf("read the password from standard input: %w", err)
	}
	_, err = fmt.Fprintln(s.out, config.HashPassword(password))
	return err
}

package partners

import (
	"fmt"
	"maps"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// postfix is an instance of Postfix with nothing of the machine's own configuration.
type postfix struct {
	dir, etc, addr string
}

// services is a master.cf without what these tests never use; %s is the address.
const services = `%s inet n - n - - smtpd
pickup unix n - n 1 1 pickup
cleanup unix n - n - 0 cleanup
qmgr unix n - n 1 1 qmgr
tlsmgr unix - - n 1000? 1 tlsmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
verify unix - - n - 1 verify
flush unix n - n 1000? 0 flush
proxymap unix - - n - - proxymap
smtp unix - - n - - smtp
relay unix - - n - - smtp
showq unix n - n - - showq
error unix - - n - - error
retry unix - - n - - error
virtual unix - n n - - virtual
anvil unix - - n - 1 anvil
scache unix - - n - 1 scache
postlog unix-dgram n - n - 1 postlogd
`

// newPostfix starts an instance with these settings beside the ones every instance has. It is stopped when the test ends.
func newPostfix(t *testing.T, settings map[string]string) *postfix {
	t.Helper()
	need(t, "postfix", "postfix")
	if os.Getuid() != 0 {
		missing(t, "only root may start Postfix: run the tests as root")
	}
	p := &postfix{dir: reachable(t), addr: freeAddr(t)}
	p.etc = filepath.Join(p.dir, "etc")
	for _, d := range []string{"etc", "spool", "data", "log"} {
		if err := os.Mkdir(filepath.Join(p.dir, d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	own(t, filepath.Join(p.dir, "data"), "postfix")
	all := map[string]string{
		"compatibility_level": "3.6", "queue_directory": p.dir + "/spool", "data_directory": p.dir + "/data",
		"maillog_file_prefixes": p.dir, "maillog_file": p.dir + "/log/mail.log", "multi_instance_name": "postfix-" + filepath.Base(filepath.Dir(p.dir)),
		"mydestination": "", "local_recipient_maps": "", "alias_maps": "", "alias_database": "", "mynetworks": "127.0.0.0/8",
		"inet_interfaces": "127.0.0.1", "inet_protocols": "ipv4", "disable_dns_lookups": "yes", "smtp_host_lookup": "native",
		"smtpd_peername_lookup": "no", "smtpd_relay_restrictions": "permit_mynetworks, reject", "message_size_limit": "20000000",
		"minimal_backoff_time": "1s", "maximal_backoff_time": "2s", "queue_run_delay": "1s", "smtputf8_enable": "yes", "smtpd_client_connection_count_limit": "0",
	}
	maps.Copy(all, settings)
	var main strings.Builder
	for _, k := range slices.Sorted(maps.Keys(all)) {
		fmt.Fprintf(&main, "%s = %s\n", k, all[k])
	}
	write(t, p.etc+"/main.cf", main.String())
	write(t, p.etc+"/master.cf", fmt.Sprintf(services, p.addr))
	t.Cleanup(func() {
		p.run("stop")
		if t.Failed() {
			t.Logf("of Postfix's log:\n%s", p.complaints())
		}
	})
	if out, err := p.run("start"); err != nil {
		t.Fatalf("start Postfix: %v\n%s\n%s", err, out, p.log())
	}
	eventually(t, "Postfix answers", func() bool {
		d, err := dial(p.addr)
		if err != nil {
			return false
		}
		return d.c.Close() == nil
	})
	return p
}

// run is postfix(1): start, stop, reload, flush.
func (p *postfix) run(command string) (string, error) {
	cmd := exec.Command("/usr/sbin/postfix", "-c", p.etc, command)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true} // its daemons must not die with our terminal's group
	out, err := cmd.CombinedOutput()
	return string(out), err
}

func (p *postfix) log() string {
	b, _ := os.ReadFile(p.dir + "/log/mail.log")
	return string(b)
}

// complaints is what in the log is not the usual.
func (p *postfix) complaints() string {
	var b strings.Builder
	for line := range strings.Lines(p.log()) {
		if !strings.Contains(line, "status=sent") && (strings.Contains(line, "status=") || strings.Contains(line, "warning:") ||
			strings.Contains(line, "fatal:") || strings.Contains(line, "panic:") || strings.Contains(line, "reject:")) {
			b.WriteString(line)
		}
	}
	return b.String()
}

// flush makes Postfix try again now what it has put off; its own timer now and then takes longer than a test waits.
func (p *postfix) flush() { exec.Command("/usr/sbin/postqueue", "-c", p.etc, "-f").Run() }

// queued counts the messages that wait.
func (p *postfix) queued() (n int) {
	for _, queue := range []string{"maildrop", "incoming", "active", "deferred", "hold"} {
		filepath.WalkDir(filepath.Join(p.dir, "spool", queue), func(_ string, d os.DirEntry, err error) error {
			if err == nil && d.Type().IsRegular() {
				n++
			}
			return nil
		})
	}
	return n
}

// keeping starts an instance that keeps mail for these addresses, with further settings. Below root, each address has a
// Maildir of its name.
func keeping(t *testing.T, settings map[string]string, addresses ...string) (p *postfix, root string) {
	t.Helper()
	need(t, "postfix", "postfix")
	dir := reachable(t)
	root = filepath.Join(dir, "mail")
	if err := os.Mkdir(root, 0o755); err != nil {
		t.Fatal(err)
	}
	own(t, root, "nobody")
	nobody, err := user.Lookup("nobody")
	if err != nil {
		t.Fatal(err)
	}
	domains, table := map[string]bool{}, ""
	for _, a := range addresses {
		_, domain, _ := strings.Cut(a, "@")
		domains[domain] = true
		table += a + " " + a + "/\n"
	}
	all := map[string]string{
		"myhostname": "post.behind.example", "virtual_mailbox_base": root, "virtual_mailbox_limit": "0",
		"virtual_mailbox_domains": strings.Join(slices.Sorted(maps.Keys(domains)), ", "),
		"virtual_mailbox_maps":    "texthash:" + write(t, dir+"/mailboxes", table),
		"virtual_uid_maps":        "static:" + nobody.Uid, "virtual_gid_maps": "static:" + nobody.Gid, "virtual_minimum_uid": "1",
	}
	maps.Copy(all, settings)
	return newPostfix(t, all), root
}

// arrived returns the mails in a Maildir.
func arrived(t *testing.T, root, address string) (all []string) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(root, address, "new", "*"))
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, string(b))
	}
	return all
}

// await waits for a mail in a Maildir that holds every one of the words.
func await(t *testing.T, root, address string, words ...string) (found string) {
	t.Helper()
	eventually(t, fmt.Sprintf("a mail to %s with %q", address, words), func() bool {
		for _, m := range arrived(t, root, address) {
			if !slices.ContainsFunc(words, func(w string) bool { return !strings.Contains(m, w) }) {
				found = m
				return true
			}
		}
		return false
	})
	return found
}

// reachable is a temporary directory that other users can come to: Postfix drops root's rights.
func reachable(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for d := dir; d != filepath.Clean(os.TempDir()) && d != "/"; d = filepath.Dir(d) {
		if err := os.Chmod(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func own(t *testing.T, path, name string) {
	t.Helper()
	u, err := user.Lookup(name)
	if err != nil {
		missing(t, "there is no user %s: install Debian's postfix", name)
	}
	uid, err := strconv.Atoi(u.Uid)
	if err != nil {
		t.Fatal(err)
	}
	gid, err := strconv.Atoi(u.Gid)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Chown(path, uid, gid); err != nil {
		t.Fatal(err)
	}
}

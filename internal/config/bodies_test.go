package config

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestBodies(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("keys.s3", "# made by the store\n[default]\r\naws_access_key_id = AKIA1\naws_secret_access_key=a/b+c=\n")
	tests := []struct {
		text string
		want string
	}{
		{"", "{nil false}"},
		{"bodies: {new: ledger}\n", "{nil false}"},
		{"bodies: {s3: {endpoint: \"https://S3.Eksempel.example:9000/\", bucket: post, credentials: keys.s3}}\n",
			"{https://s3.eksempel.example:9000 post us-east-1 postvagt true AKIA1/a/b+c=/} true"},
		{"bodies: {new: ledger, s3: {endpoint: \"https://s3.eu-north-1.amazonaws.com\", bucket: post, region: eu-north-1, prefix: /vagt/a/, path_style: false, credentials: keys.s3}}\n",
			"{https://s3.eu-north-1.amazonaws.com post eu-north-1 vagt/a false AKIA1/a/b+c=/} false"},
	}
	for _, test := range tests {
		write("postvagt.yaml", minimal+test.text)
		c, err := Load(filepath.Join(dir, "postvagt.yaml"))
		if err != nil {
			t.Errorf("%s: %v", test.text, err)
			continue
		}
		got := fmt.Sprintf("{nil %v}", c.Bodies.New)
		if s := c.Bodies.S3; s != nil {
			got = fmt.Sprintf("{%s %s %s %s %v %s/%s/%s} %v", s.Endpoint, s.Bucket, s.Region, s.Prefix, s.PathStyle, s.Keys.ID, s.Keys.Secret, s.Keys.Session, c.Bodies.New)
			shown, err := json.Marshal(c.Bodies)
			if err != nil || strings.Contains(string(shown)+fmt.Sprintf("%v %+v %#v", c.Bodies.S3.Keys, c.Bodies.S3, c.Bodies.S3), "a/b+c") {
				t.Errorf("the secret is shown: %s, %v", shown, err)
			}
		}
		if got != test.want {
			t.Errorf("%s: got %s, want %s", test.text, got, test.want)
		}
	}
	write("postvagt.yaml", minimal+"bodies: {s3: {endpoint: \"https://s3.eksempel.example\", bucket: post, credentials: bad}}\n")
	write("bad", "aws_access_key_id = AKIA1\nhemmelig = 12345\n")
	if _, err := Load(filepath.Join(dir, "postvagt.yaml")); err == nil || !strings.Contains(err.Error(), "line 2 is none of") || strings.Contains(err.Error(), "12345") {
		t.Errorf("bad credentials: %v", err)
	}
}

func TestS3Keys(t *testing.T) {
	good := map[string]S3Keys{
		"aws_access_key_id=a\naws_secret_access_key=b":                                        {"a", "b", ""},
		"[x]\n\n; c\n aws_secret_access_key = b=\naws_access_key_id=a\naws_session_token=t\n": {"a", "b=", "t"},
	}
	for text, want := range good {
		if got, err := parseS3Keys([]byte(text)); err != nil || got != want {
			t.Errorf("%q: %v", text, err)
		}
	}
	for _, text := range []string{"", "aws_access_key_id=a", "aws_access_key_id=a\naws_secret_access_key=", "aws_access_key_id=a\naws_secret_access_key=b c",
		"aws_access_key_id=a\naws_access_key_id=a\naws_secret_access_key=b", "[a]\naws_access_key_id=a\naws_secret_access_key=b\n[b]", "aws_access_key_id\naws_secret_access_key=b",
		"aws_access_key_id=a\naws_secret_access_key=b\x00"} {
		if _, err := parseS3Keys([]byte(text)); err == nil {
			t.Errorf("%q was taken", text)
		}
	}
}

// FuzzS3Keys: credentials that are taken can stand in a header, and no error shows what the file holds.
func FuzzS3Keys(f *testing.F) {
	f.Add([]byte("[default]\naws_access_key_id = AKIA1\naws_secret_access_key = hemmelig\n"))
	f.Add([]byte("aws_access_key_id=hemmelig\n=\n[\n"))
	f.Add([]byte("hemmelig"))
	f.Fuzz(func(t *testing.T, data []byte) {
		k, err := parseS3Keys(data)
		if err != nil {
			if strings.Contains(err.Error(), "hemmelig") || k != (S3Keys{}) {
				t.Fatalf("%v: %v", k.ID, err)
			}
			return
		}
		if all := k.ID + k.Secret + k.Session; k.ID == "" || k.Secret == "" || strings.ContainsFunc(all, func(r rune) bool { return r <= ' ' || r > '~' }) {
			t.Fatalf("%q", all)
		}
	})
}

// Package partners holds no code: its tests put the real program between real partners and look at what comes out. Postfix
// stands in front of the guard and behind it, swaks submits, OpenSSL shows every kind of TLS there is to be wary of, and
// systemd hands over sockets. All of it runs on loopback, from Debian's packages, in directories of the test's own.
//
// A partner that is not installed skips its tests with a word on what to install; with POSTVAGT_STRICT=1 it fails them.
package partners

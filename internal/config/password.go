package config

import (
	"crypto/rand"
	"crypto/subtle"
	"encoding/base64"
	"fmt"
	"strconv"
	"strings"

	"golang.org/x/crypto/argon2"
	"golang.org/x/crypto/bcrypt"
)

// What HashPassword uses: 19 MiB, two passes, one lane, the first choice of OWASP's password storage cheat sheet.
const (
	argonMemory = 19 << 10 // KiB
	argonTime   = 2
	argonLanes  = 1
	saltBytes   = 16
	hashBytes   = 32
)

// What a configured hash may ask for: a login must not be able to take the machine's memory or minutes of its time.
const (
	mostArgonMemory = 128 << 10 // KiB
	mostArgonTime   = 16
	mostArgonLanes  = 8
	mostBcryptCost  = 14
)

// checking bounds how many passwords are checked at a time, and with it the memory that logins can take.
var checking = make(chan struct{}, 2)

// HashPassword returns an argon2id PHC string for users[].hash.
func HashPassword(password string) string {
	salt := make([]byte, saltBytes)
	rand.Read(salt) // never fails: crypto/rand ends the program instead
	sum := argon2.IDKey([]byte(password), salt, argonTime, argonMemory, argonLanes, hashBytes)
	b64 := base64.RawStdEncoding.EncodeToString
	return fmt.Sprintf("$argon2id$v=%d$m=%d,t=%d,p=%d$%s$%s", argon2.Version, argonMemory, argonTime, argonLanes, b64(salt), b64(sum))
}

// Check reports whether password is the user's. It takes the same time whether or not it is, and waits while others
// are being checked.
func (u User) Check(password string) bool {
	checking <- struct{}{}
	defer func() { <-checking }()
	if isBcrypt(u.Hash) {
		return bcrypt.CompareHashAndPassword([]byte(u.Hash), []byte(password)) == nil
	}
	a, err := parseArgon(u.Hash)
	if err != nil {
		return false
	}
	sum := argon2.IDKey([]byte(password), a.salt, a.time, a.memory, a.lanes, uint32(len(a.sum)))
	return subtle.ConstantTimeCompare(sum, a.sum) == 1
}

func isBcrypt(hash string) bool {
	return strings.HasPrefix(hash, "$2a$") || strings.HasPrefix(hash, "$2b$") || strings.HasPrefix(hash, "$2y$")
}

// argon is an argon2id hash taken apart.
type argon struct {
	memory, time uint32
	lanes        uint8
	salt, sum    []byte
}

// parseHash checks a configured hash. Its errors never show it.
func parseHash(hash string) (string, error) {
	hint := "make one with: postvagt hash-password"
	if isBcrypt(hash) {
		cost, err := bcrypt.Cost([]byte(hash))
		if err != nil || len(hash) != 60 {
			return "", &problem{"is no complete bcrypt hash", "", hint}
		}
		if cost > mostBcryptCost {
			return "", &problem{fmt.Sprintf("has bcrypt cost %d", cost), "a login would take many seconds", fmt.Sprintf("use at most %d", mostBcryptCost)}
		}
		return hash, nil
	}
	if !strings.HasPrefix(hash, "$") {
		return "", &problem{"is no password hash", "a password must not stand here in the clear", hint}
	}
	if _, err := parseArgon(hash); err != nil {
		return "", err
	}
	return hash, nil
}

// parseArgon reads the PHC string "$argon2id$v=19$m=…,t=…,p=…$salt$hash" (base64 without padding).
func parseArgon(hash string) (argon, error) {
	var a argon
	hint := "make one with: postvagt hash-password"
	parts := strings.Split(hash, "$")
	if len(parts) != 6 || parts[1] != "argon2id" || parts[2] != "v=19" {
		return a, &problem{"is neither argon2id (version 19) nor bcrypt", "", hint}
	}
	var numbers [3]uint64
	params := strings.Split(parts[3], ",")
	if len(params) != 3 {
		return a, &problem{"does not give argon2id's m, t and p", "", hint}
	}
	for i, name := range []string{"m=", "t=", "p="} {
		digits, ok := strings.CutPrefix(params[i], name)
		n, err := strconv.ParseUint(digits, 10, 32)
		if !ok || err != nil {
			return a, &problem{"does not give argon2id's m, t and p", "", hint}
		}
		numbers[i] = n
	}
	m, t, p := numbers[0], numbers[1], numbers[2]
	if t < 1 || t > mostArgonTime || p < 1 || p > mostArgonLanes || m < 8*p || m > mostArgonMemory {
		return a, &problem{fmt.Sprintf("asks argon2id for m=%d, t=%d, p=%d", m, t, p), "a login must cost something, but not take the machine",
			fmt.Sprintf("m from 8 for each lane to %d KiB, t to %d, p to %d", mostArgonMemory, mostArgonTime, mostArgonLanes)}
	}
	salt, err1 := base64.RawStdEncoding.Strict().DecodeString(parts[4])
	sum, err2 := base64.RawStdEncoding.Strict().DecodeString(parts[5])
	if err1 != nil || err2 != nil || len(salt) < 8 || len(salt) > 64 || len(sum) < 16 || len(sum) > 64 {
		return a, &problem{"is cut short or damaged", "salt and hash are base64 of 8 to 64 and 16 to 64 bytes", hint}
	}
	return argon{uint32(m), uint32(t), uint8(p), salt, sum}, nil
}

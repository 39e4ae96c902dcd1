package users

import (
	"crypto/rand"
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"golang.org/x/crypto/argon2"
	"golang.org/x/crypto/bcrypt"
)

// hash is a hashed password.
type hash interface {
	matches(password string) bool
	cost() int // of a check, in some unit of time
}

// Bounds, so that a line of the file cannot take all memory or a minute of the processor.
const (
	maxBcryptCost   = 16         // some seconds
	maxArgonMemory  = 256 << 10  // KiB
	maxArgonPasses  = 50         //
	maxArgonThreads = 64         //
	minSalt, maxTag = 8, 4 << 10 // octets; RFC 9106 3.1
)

var (
	errUnknownHash = errors.New("the hash is neither bcrypt ($2a$, $2b$, $2y$) nor argon2id ($argon2id$)")
	errArgon       = errors.New("expected $argon2id$v=19$m=KIB,t=PASSES,p=THREADS$SALT$HASH")
)

func parseHash(s string) (hash, error) {
	switch {
	case strings.HasPrefix(s, "$2a$"), strings.HasPrefix(s, "$2b$"), strings.HasPrefix(s, "$2y$"):
		return parseBcrypt(s)
	case strings.HasPrefix(s, "$argon2id$"):
		return parseArgon(s)
	}
	return nil, errUnknownHash
}

type bcryptHash []byte

func parseBcrypt(s string) (hash, error) {
	cost, err := bcrypt.Cost([]byte(s))
	if err != nil || len(s) != 60 {
		return nil, errors.New("the bcrypt hash is not whole")
	}
	if cost > maxBcryptCost {
		return nil, fmt.Errorf("a bcrypt cost of %d: %d is the most", cost, maxBcryptCost)
	}
	return bcryptHash(s), nil
}

func (h bcryptHash) matches(password string) bool {
	return bcrypt.CompareHashAndPassword(h, []byte(password)) == nil
}

func (h bcryptHash) cost() int {
	cost, _ := bcrypt.Cost(h)
	return 1 << max(cost-4, 0)
}

type argonHash struct {
	memory, passes uint32
	threads        uint8
	salt, tag      []byte
}

func parseArgon(s string) (hash, error) {
	parts := strings.Split(s, "$") // "", argon2id, v=19, m=..., salt, tag
	if len(parts) != 6 || parts[2] != "v="+strconv.Itoa(argon2.Version) {
		return nil, errArgon
	}
	m, t, p, err := argonParameters(parts[3])
	if err != nil {
		return nil, err
	}
	h := argonHash{memory: uint32(m), passes: uint32(t), threads: uint8(p)}
	var saltErr, tagErr error
	h.salt, saltErr = base64.RawStdEncoding.Strict().DecodeString(parts[4])
	h.tag, tagErr = base64.RawStdEncoding.Strict().DecodeString(parts[5])
	if saltErr != nil || tagErr != nil || len(h.salt) < minSalt || len(h.tag) < 16 || len(h.tag) > maxTag {
		return nil, errArgon
	}
	return h, nil
}

func argonParameters(s string) (m, t, p int, err error) {
	values := []*int{&m, &t, &p}
	words := strings.Split(s, ",")
	if len(words) != len(values) {
		return 0, 0, 0, errArgon
	}
	for i, name := range []string{"m=", "t=", "p="} {
		digits, ok := strings.CutPrefix(words[i], name)
		if *values[i], err = strconv.Atoi(digits); err != nil || !ok {
			return 0, 0, 0, errArgon
		}
	}
	if p < 1 || t < 1 || m < 8*p || m > maxArgonMemory || t > maxArgonPasses || p > maxArgonThreads {
		return 0, 0, 0, fmt.Errorf("argon2id with m=%d, t=%d, p=%d: m up to %d, t up to %d, p up to %d", m, t, p, maxArgonMemory, maxArgonPasses, maxArgonThreads)
	}
	return m, t, p, nil
}

func (h argonHash) matches(password string) bool {
	tag := argon2.IDKey([]byte(password), h.salt, h.passes, h.memory, h.threads, uint32(len(h.tag)))
	return subtle.ConstantTimeCompare(tag, h.tag) == 1
}

func (h argonHash) cost() int { return int(h.memory) * int(h.passes) / 512 }

// Hash makes an argon2id hash of a password for the file: 19 MiB and two passes.
func Hash(password string) (string, error) {
	h := argonHash{memory: 19 << 10, passes: 2, threads: 1, salt: make([]byte, 16)}
	if _, err := rand.Read(h.salt); err != nil {
		return "", fmt.Errorf("making a salt: %w", err)
	}
	h.tag = argon2.IDKey([]byte(password), h.salt, h.passes, h.memory, h.threads, 32)
	b64 := base64.RawStdEncoding.EncodeToString
	return fmt.Sprintf("$argon2id$v=%d$m=%d,t=%d,p=%d$%s$%s", argon2.Version, h.memory, h.passes, h.threads, b64(h.salt), b64(h.tag)), nil
}

// Package secure is who may bring a machine: TLS 1.3 between two sides that share
// a token and nothing else [docs/format/migrate.md].
//
// The token is 128 random bits. Both sides derive both sides' Ed25519 keys from it
// (HKDF-SHA256, RFC 5869, one for each role), wrap them in certificates that say
// nothing, and take of the other side that one key only: no names, no authorities,
// no dates. TLS proves to each that the other has the token, and shows it to
// nobody; the keys cannot be guessed from what goes by. There is no session
// resumption and no early data, so nothing that was recorded can be said again.
//
// A token opens a port for a while and for one machine. How long, the Listener
// knows; that a second machine is refused once one has come is the business of
// whoever accepts, because connections of the same move must go on to work.
package secure

import (
	"crypto/ed25519"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base32"
	"errors"
	"fmt"
	"math/big"
	"strings"
	"time"
)

// Token is what both sides know. The zero Token is none.
type Token [16]byte

// Chars is the length of a token as text, without what groups it.
const Chars = 26

// group is how many characters stand together for people.
const group = 4

var alphabet = base32.StdEncoding.WithPadding(base32.NoPadding)

// New makes a token.
func New() Token {
	var t Token
	_, _ = rand.Read(t[:]) // never fails [crypto/rand.Read]
	return t
}

// String is the token as people type it: K5D3-7QXA-...
func (t Token) String() string {
	s := alphabet.EncodeToString(t[:])
	var b strings.Builder
	for i := 0; i < len(s); i += group {
		if i > 0 {
			b.WriteByte('-')
		}
		b.WriteString(s[i:min(i+group, len(s))])
	}
	return b.String()
}

// misread maps characters that are in no token to what they were read from.
var misread = strings.NewReplacer("-", "", " ", "", "\t", "", "\r", "", "\n", "", "0", "O", "1", "I", "8", "B")

// Parse reads a token, however it is grouped and in either case. Errors never hold
// the token.
func Parse(s string) (Token, error) {
	s = misread.Replace(strings.ToUpper(s))
	if len(s) != Chars {
		return Token{}, fmt.Errorf("a token has %d letters and digits, this has %d", Chars, len(s))
	}
	b, err := alphabet.DecodeString(s)
	var bad base32.CorruptInputError
	switch {
	case errors.As(err, &bad):
		return Token{}, fmt.Errorf("a token is made of a-z and 2-7, character %d is neither", int64(bad)+1)
	case err != nil:
		return Token{}, errors.New("this is no token")
	}
	t := Token(b)
	if alphabet.EncodeToString(t[:]) != s { // two of the 130 bits are not used
		return Token{}, errors.New("the token's last character is mistyped")
	}
	return t, nil
}

// Keys are what both sides of a move derive from its token.
type Keys struct {
	source, dest identity
}

// identity is one side: its key, and the certificate it shows.
type identity struct {
	key  ed25519.PrivateKey
	cert []byte // DER
	spki []byte // SubjectPublicKeyInfo: what the other side compares
}

// hkdfSalt separates these keys from all others that could be made of the token.
const hkdfSalt = "godwit migrate 1"

// Derive makes the keys.
func (t Token) Derive() *Keys {
	return &Keys{source: derive(t, "source"), dest: derive(t, "destination")}
}

func derive(t Token, role string) identity {
	seed, err := hkdf.Key(sha256.New, t[:], []byte(hkdfSalt), role, ed25519.SeedSize)
	if err != nil {
		panic("godwit bug: " + err.Error()) // only for lengths out of bounds
	}
	key := ed25519.NewKeyFromSeed(seed)
	// Every field but the key is constant: the certificate tells nothing.
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(1),
		NotBefore:    time.Unix(0, 0).UTC(),
		NotAfter:     time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC),
	}
	cert, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, key.Public(), key)
	if err != nil {
		panic("godwit bug: " + err.Error())
	}
	c, err := x509.ParseCertificate(cert)
	if err != nil {
		panic("godwit bug: " + err.Error())
	}
	return identity{key, cert, c.RawSubjectPublicKeyInfo}
}

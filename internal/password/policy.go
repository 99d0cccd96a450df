package password

import (
	"crypto/rand"
	"math/big"
	"strings"
	"unicode"

	"github.com/entrance-id/entrance/internal/errs"
)

// Check returns Invalid unless password follows the rules of Entra for cloud
// accounts: 8 to 256 characters, three of the four kinds (lower case, upper
// case, digit, other), and nothing that names its owner. names are the words
// that it must not hold, such as the local part of the user name.
func Check(password string, names ...string) error {
	var n int
	var lower, upper, digit, other bool
	for _, r := range password {
		n++
		switch {
		case unicode.IsControl(r):
			return errs.New(errs.Invalid, "A password cannot hold control characters.")
		case unicode.IsLower(r):
			lower = true
		case unicode.IsUpper(r):
			upper = true
		case unicode.IsDigit(r):
			digit = true
		default:
			other = true
		}
	}
	if n < 8 || len(password) > MaxLength {
		return errs.New(errs.Invalid, "A password has 8 to %d characters.", MaxLength)
	}
	kinds := 0
	for _, k := range []bool{lower, upper, digit, other} {
		if k {
			kinds++
		}
	}
	if kinds < 3 {
		return errs.New(errs.Invalid, "A password has at least three of these: lower-case letters, upper-case letters, digits, symbols.")
	}
	folded := strings.ToLower(password)
	for _, name := range names {
		if len(name) >= 4 && strings.Contains(folded, strings.ToLower(name)) {
			return errs.New(errs.Invalid, "A password cannot hold the name of its owner.")
		}
	}
	// The words that every list of broken passwords begins with; digits and
	// symbols around one of them do not make a password of it.
	core := strings.Map(func(r rune) rune {
		switch r {
		case '@', '4':
			return 'a'
		case '0':
			return 'o'
		case '1', '!':
			return 'i'
		case '3':
			return 'e'
		case '$', '5':
			return 's'
		}
		if unicode.IsLetter(r) {
			return r
		}
		return -1
	}, folded)
	for _, word := range []string{"password", "passwort", "welcome", "qwerty", "letmein", "changeme", "iloveyou"} {
		if strings.Contains(core, word) && n < len(word)+8 {
			return errs.New(errs.Invalid, "That password is too easy to guess. Choose one with words that are less common.")
		}
	}
	return nil
}

// Generate returns a random password of 20 characters that Check accepts,
// about 115 bits, without characters that look alike.
func Generate() string {
	const lower, upper, digits, symbols = "abcdefghijkmnpqrstuvwxyz", "ABCDEFGHJKLMNPQRSTUVWXYZ", "23456789", "-_.+"
	for {
		var b [20]byte
		all := lower + upper + digits + symbols
		for i := range b {
			b[i] = all[pick(len(all))]
		}
		if s := string(b[:]); strings.ContainsAny(s, lower) && strings.ContainsAny(s, upper) && strings.ContainsAny(s, digits) && Check(s) == nil {
			return s
		}
	}
}

func pick(n int) int {
	i, err := rand.Int(rand.Reader, big.NewInt(int64(n)))
	if err != nil {
		panic(err) // crypto/rand ends the program before this
	}
	return int(i.Int64())
}

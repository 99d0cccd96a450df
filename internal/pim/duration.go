package pim

import (
	"fmt"
	"strings"
	"time"

	"github.com/entrance-id/entrance/internal/errs"
)

const (
	day = 24 * time.Hour
	// maxDuration keeps sums of times far from overflow.
	maxDuration = 100 * 365 * day
)

// ParseDuration reads an ISO 8601 duration such as PT8H, P180D or P1DT30M. As
// in the real services, a year is 365 days and a month 30. Fractions, signs and
// durations over a hundred years are refused; the error is of kind errs.Invalid.
func ParseDuration(s string) (time.Duration, error) {
	bad := func() (time.Duration, error) {
		if len(s) > 64 {
			s = s[:64]
		}
		return 0, errs.New(errs.Invalid, "%q is not a duration such as PT8H or P180D.", s)
	}
	rest, ok := strings.CutPrefix(s, "P")
	if !ok || len(s) > 64 {
		return bad()
	}
	units := []struct {
		letter byte
		length time.Duration
	}{{'Y', 365 * day}, {'M', 30 * day}, {'W', 7 * day}, {'D', day}}
	var total time.Duration
	some, inTime := false, false
	for rest != "" {
		if rest[0] == 'T' && !inTime {
			inTime, some = true, false // something must follow the T
			units = units[:0]
			units = append(units, struct {
				letter byte
				length time.Duration
			}{'H', time.Hour}, struct {
				letter byte
				length time.Duration
			}{'M', time.Minute}, struct {
				letter byte
				length time.Duration
			}{'S', time.Second})
			rest = rest[1:]
			continue
		}
		n, digits := int64(0), 0
		for digits < len(rest) && rest[digits] >= '0' && rest[digits] <= '9' {
			if n = n*10 + int64(rest[digits]-'0'); n > int64(maxDuration/time.Second) {
				return bad()
			}
			digits++
		}
		if digits == 0 || digits == len(rest) {
			return bad()
		}
		i := 0
		for i < len(units) && units[i].letter != rest[digits] {
			i++
		}
		if i == len(units) {
			return bad() // unknown, repeated or out of order
		}
		if n > int64((maxDuration-total)/units[i].length) {
			return bad()
		}
		total += time.Duration(n) * units[i].length
		units = units[i+1:]
		rest = rest[digits+1:]
		some = true
	}
	if !some {
		return bad()
	}
	return total, nil
}

// FormatDuration writes d, which must not be negative, as the services do: days,
// hours, minutes and seconds, with zero parts left out.
func FormatDuration(d time.Duration) string {
	if d < time.Second {
		return "PT0S"
	}
	var b strings.Builder
	b.WriteByte('P')
	if n := d / day; n > 0 {
		fmt.Fprintf(&b, "%dD", n)
	}
	if d %= day; d >= time.Second {
		b.WriteByte('T')
		for _, u := range []struct {
			letter byte
			length time.Duration
		}{{'H', time.Hour}, {'M', time.Minute}, {'S', time.Second}} {
			if n := d / u.length; n > 0 {
				fmt.Fprintf(&b, "%d%c", n, u.letter)
			}
			d %= u.length
		}
	}
	return b.String()
}

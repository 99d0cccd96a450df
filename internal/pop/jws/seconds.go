package jws

import "strings"

// Seconds returns the whole part of a number of seconds that is written as a
// plain decimal, with a fraction of at most nine digits or none. RFC 7519 allows
// fractions in numeric dates, and Microsoft's library for Python writes them in
// client assertions. Exponents are not accepted.
func (v Value) Seconds() (int64, bool) {
	if v.Kind() != Number {
		return 0, false
	}
	whole, fraction, fractional := strings.Cut(v.nodes[0].text, ".")
	if fractional && (fraction == "" || len(fraction) > 9 || strings.Trim(fraction, "0123456789") != "") {
		return 0, false
	}
	return ParseInt(whole)
}

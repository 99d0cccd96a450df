package conditionalaccess

import (
	"bytes"
	"encoding/json"
	"net/netip"
	"slices"
	"strings"
)

// NamedLocation is an ipNamedLocation or a countryNamedLocation: the document
// as it was received and its typed form.
type NamedLocation struct {
	raw json.RawMessage

	ID          string
	DisplayName string
	Trusted     bool // only ranges can be trusted

	Prefixes       []netip.Prefix // of an ipNamedLocation
	Countries      []string       // of a countryNamedLocation; upper case
	IncludeUnknown bool           // a country that is not known counts as inside

	ranges []addrRange // Prefixes merged and in order
}

type addrRange struct{ first, last netip.Addr }

// The OData types of the two kinds of location.
const (
	ipLocationType      = "#microsoft.graph.ipNamedLocation"
	countryLocationType = "#microsoft.graph.countryNamedLocation"
)

// ParseNamedLocation reads and validates a namedLocation. The error is of kind
// errs.Invalid and names the property at fault.
func ParseNamedLocation(raw []byte) (*NamedLocation, error) {
	o, err := readDocument(raw)
	if err != nil {
		return nil, err
	}
	l := &NamedLocation{raw: bytes.Clone(raw), ID: readID(o), DisplayName: readName(o)}
	switch o.enum("@odata.type", ipLocationType, countryLocationType) {
	case ipLocationType:
		l.Trusted = o.boolean("isTrusted")
		for _, r := range o.children("ipRanges") {
			if p, ok := readRange(r); ok {
				l.Prefixes = append(l.Prefixes, p)
			}
		}
		if len(l.Prefixes) == 0 {
			o.fail("ipRanges", "is required.")
		}
		l.ranges = mergeRanges(l.Prefixes)
	case countryLocationType:
		l.IncludeUnknown = o.boolean("includeUnknownCountriesAndRegions")
		for _, c := range o.strs("countriesAndRegions") {
			if len(c) != 2 || strings.Trim(strings.ToUpper(c), "ABCDEFGHIJKLMNOPQRSTUVWXYZ") != "" {
				o.fail("countriesAndRegions", "has the value %q, which is not a two-letter code.", clip(c))
				break
			}
			l.Countries = append(l.Countries, strings.ToUpper(c))
		}
		if len(l.Countries) == 0 && !l.IncludeUnknown {
			o.fail("countriesAndRegions", "is required.")
		}
		if o.enum("countryLookupMethod", "clientIpAddress", "authenticatorAppGps") == "authenticatorAppGps" {
			o.fail("countryLookupMethod", "has the value \"authenticatorAppGps\", which cannot be evaluated here.")
		}
		o.refuse("isTrusted")
	default:
		o.fail("@odata.type", "is required.")
	}
	if *o.err != nil {
		return nil, *o.err
	}
	return l, nil
}

func readRange(o *object) (netip.Prefix, bool) {
	s := o.str("cidrAddress")
	p, err := netip.ParsePrefix(s)
	if err != nil || p.Addr().Is4In6() {
		o.fail("cidrAddress", "has the value %q, which is not an address range such as 192.0.2.0/24.", clip(s))
		return p, false
	}
	if p.Bits() < 8 {
		o.fail("cidrAddress", "has the value %q; a range must be /8 or smaller.", clip(s))
		return p, false
	}
	want := o.enum("@odata.type", "#microsoft.graph.iPv4CidrRange", "#microsoft.graph.iPv6CidrRange")
	if want != "" && (want == "#microsoft.graph.iPv4CidrRange") != p.Addr().Is4() {
		o.fail("cidrAddress", "has the value %q, which is not of the type %s.", clip(s), want)
		return p, false
	}
	return p.Masked(), true
}

// MarshalJSON returns the document as it was received.
func (l *NamedLocation) MarshalJSON() ([]byte, error) { return slices.Clone(l.raw), nil }

// Contains tells whether a sign-in from the address and country is inside the
// location. IPv4 addresses written as IPv6 count as IPv4.
func (l *NamedLocation) Contains(a netip.Addr, country string) bool {
	if len(l.ranges) == 0 {
		if country == "" {
			return l.IncludeUnknown
		}
		return slices.Contains(l.Countries, country)
	}
	a = a.Unmap().WithZone("")
	i, found := slices.BinarySearchFunc(l.ranges, a, func(r addrRange, a netip.Addr) int { return r.first.Compare(a) })
	if found {
		return true
	}
	return i > 0 && a.Compare(l.ranges[i-1].last) <= 0
}

// mergeRanges sorts prefixes for binary search. Prefixes either nest or are
// apart, so those inside an earlier one are dropped and nothing else overlaps.
func mergeRanges(prefixes []netip.Prefix) []addrRange {
	sorted := slices.Clone(prefixes)
	slices.SortFunc(sorted, func(a, b netip.Prefix) int {
		if c := a.Addr().Compare(b.Addr()); c != 0 {
			return c
		}
		return a.Bits() - b.Bits()
	})
	var out []addrRange
	for _, p := range sorted {
		if n := len(out); n > 0 && p.Addr().BitLen() == out[n-1].last.BitLen() && p.Addr().Compare(out[n-1].last) <= 0 {
			continue
		}
		out = append(out, addrRange{p.Addr(), lastAddr(p)})
	}
	return out
}

func lastAddr(p netip.Prefix) netip.Addr {
	b := p.Addr().AsSlice()
	for i := p.Bits(); i < len(b)*8; i++ {
		b[i/8] |= 0x80 >> (i % 8)
	}
	a, _ := netip.AddrFromSlice(b)
	return a
}

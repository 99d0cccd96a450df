package devicefilter_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/entrance-id/entrance/internal/conditionalaccess/devicefilter"
)

var paw = &devicefilter.Device{ID: "D1", Compliant: true, TrustType: devicefilter.AzureAD, Attributes: devicefilter.Attributes{
	DisplayName: "PAW-7", OperatingSystem: "Windows", Model: `Book "X"`, PhysicalIDs: []string{"[USER-HWID]:1", "[ZTDId]:lab"}, ExtensionAttributes: [15]string{14: "gold"},
}}

func TestMatch(t *testing.T) {
	for _, tc := range []struct {
		rule       string
		paw, other bool // other: no device
	}{
		{`device.isCompliant -eq True`, true, false},
		{`device.isCompliant -eq "true"`, true, false},
		{`device.isCompliant -ne True`, false, true},
		{`device.isCompliant -eq False`, false, false},
		{`device.isCompliant -eq null`, false, true},
		{`device.trustType -eq "azuread"`, true, false},
		{`DEVICE.DISPLAYNAME -STARTSWITH "paw"`, true, false},
		{`device.displayName -notStartsWith "PAW"`, false, true},
		{`device.displayName -endsWith "7"`, true, false},
		{`device.displayName -notEndsWith "7"`, false, true},
		{`device.displayName -contains "W-"`, true, false},
		{`device.displayName -notContains "W-"`, false, true},
		{`device.operatingSystem -in ["Linux", "windows"]`, true, false},
		{`device.operatingSystem -notIn ["Linux"]`, true, true},
		{`device.extensionAttribute15 -eq 'gold'`, true, false},
		{`device.extensionAttribute1 -eq null`, true, true},
		{`device.extensionAttribute1 -ne null`, false, false},
		{"device.model -eq \"Book `\"X`\"\"", true, false},
		{`device.model -eq 'Book "X"'`, true, false},
		{`device.physicalIds -contains "[ztdid]"`, true, false},
		{`device.devicePhysicalIds -notContains "[OrderId]"`, true, true},
		{`device.physicalIds -notContains "[ZTDId]"`, false, true},
		{`-not (device.isCompliant -eq True)`, false, true},
		{`not not device.isCompliant -eq True`, true, false},
		{`device.isCompliant -eq True -or device.model -eq "a" -and device.model -eq "b"`, true, false},
		{`(device.isCompliant -eq True -or device.model -eq "a") -and device.model -eq "b"`, false, false},
		{`-not device.model -eq "a" -and device.isCompliant -eq True`, true, false},
		{`-not (device.model -eq "a" -and device.isCompliant -eq True)`, true, true},
	} {
		f, err := devicefilter.Parse(tc.rule)
		if err != nil {
			t.Errorf("%s: %v", tc.rule, err)
			continue
		}
		if got := f.Match(paw); got != tc.paw {
			t.Errorf("%s with a device: %v", tc.rule, got)
		}
		if got := f.Match(nil); got != tc.other {
			t.Errorf("%s without a device: %v", tc.rule, got)
		}
	}
}

func TestParseErrors(t *testing.T) {
	for _, tc := range []struct {
		rule   string
		offset int
		text   string
	}{
		{``, 0, "expected a property"},
		{`device.mood -eq "x"`, 0, `unknown property "device.mood"`},
		{`user.department -eq "x"`, 0, "expected a property"},
		{`device.model "x"`, 13, "expected an operator"},
		{`device.model eq "x"`, 13, "expected an operator"},
		{`device.model -match "x"`, 13, "expected an operator"},
		{`device.model -eq x`, 17, "expected a string in quotes"},
		{`device.model -eq "x`, 17, "does not end"},
		{`device.model -contains ""`, 23, "an empty string"},
		{`device.model -contains null`, 23, "expected a string"},
		{`device.isCompliant -contains True`, 19, "does not fit"},
		{`device.isCompliant -eq "maybe"`, 23, "expected True or False"},
		{`device.physicalIds -eq "x"`, 19, "does not fit a list"},
		{`device.model -in "x"`, 17, "expected a list"},
		{`device.model -in []`, 18, "expected a string"},
		{`device.model -in ["x" "y"]`, 22, "expected , or ]"},
		{`device.model -eq "x" -and`, 25, "expected a property"},
		{`device.model -eq "x" device.model -eq "y"`, 21, "unexpected"},
		{`(device.model -eq "x"`, 21, "expected )"},
		{`device.model -eq "x")`, 20, "unexpected"},
		{`device.model - "x"`, 13, "hyphen"},
		{`device.model -eq {`, 17, "unexpected character"},
		{strings.Repeat("(", 100) + `device.model -eq "x"`, 33, "nested deeper"},
		{strings.Repeat("-not ", 100) + `device.model -eq "x"`, 165, "nested deeper"},
		{strings.Repeat(`device.model -eq "" -or `, 128) + `device.model -eq ""`, 3072, "longer"},
	} {
		_, err := devicefilter.Parse(tc.rule)
		var fe *devicefilter.Error
		if !errors.As(err, &fe) {
			t.Errorf("%.40s: error %v", tc.rule, err)
			continue
		}
		if fe.Offset != tc.offset || !strings.Contains(fe.Text, tc.text) {
			t.Errorf("%.40s: %q at offset %d, want %q at %d", tc.rule, fe.Text, fe.Offset, tc.text, tc.offset)
		}
	}
}

func FuzzParse(f *testing.F) {
	for _, s := range []string{`device.isCompliant -eq True`, `-not (device.model -in ["a","b"] -or device.trustType -ne 'x')`, "device.model -eq \"`", `((`, `device.physicalIds -contains "[x]"`} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, rule string) {
		flt, err := devicefilter.Parse(rule)
		if err != nil {
			var fe *devicefilter.Error
			if !errors.As(err, &fe) || fe.Offset < 0 || fe.Offset > len(rule) {
				t.Fatalf("error %v", err)
			}
			return
		}
		neg, err := devicefilter.Parse("-not (" + rule + ")")
		if err != nil {
			return // one level or a few bytes too many
		}
		for _, d := range []*devicefilter.Device{nil, paw} {
			if flt.Match(d) == neg.Match(d) {
				t.Fatalf("%q and its negation agree", rule)
			}
		}
	})
}

// Package devicefilter evaluates the device filter rules of Conditional Access:
// a small expression language over the properties of a device, such as
//
//	device.isCompliant -eq True -and -not (device.model -startsWith "Virtual")
package devicefilter

// Device is a device of the directory.
type Device struct {
	ID         string // deviceId
	Compliant  bool
	TrustType  TrustType
	Attributes Attributes
}

// Attributes are the other properties of the directory's device object
// that a filter may name. Empty means null.
type Attributes struct {
	DisplayName            string
	DeviceOwnership        string // Company or Personal
	EnrollmentProfileName  string
	Manufacturer           string
	MdmAppID               string
	Model                  string
	OperatingSystem        string
	OperatingSystemVersion string
	PhysicalIDs            []string
	ProfileType            string
	SystemLabels           []string
	ExtensionAttributes    [15]string // extensionAttribute1 is at index 0
}

// TrustType says how a device is joined.
type TrustType string

// The trust types; ServerAD is a hybrid join.
const (
	AzureAD   TrustType = "AzureAD"
	ServerAD  TrustType = "ServerAD"
	Workplace TrustType = "Workplace"
)

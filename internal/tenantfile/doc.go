// Package tenantfile describes a tenant as a file: its users, groups,
// applications and managed identities, the resource groups and clusters of a
// subscription, and the roles on them, all by the names that people use.
//
// # The parts
//
// Parse reads a file and says everything that is wrong with it, each with its
// line. MakePlan compares a file with what a cloud holds and returns the steps
// that make the cloud agree, in the order in which they can be taken; it finds
// what refers to nothing before anything is written. Marshal writes a cloud as
// a file, so that a plan of that file on that cloud is empty.
//
// All of it is pure: what a cloud holds comes in as a World. Package
// tenantfile/cloud reads a World over Microsoft Graph and Azure Resource
// Manager, and takes the steps.
//
// # What a file means
//
// An object that the file names is to exist. A key that is given is to have
// that value; a list that is given is the whole list, so members that it does
// not name are taken out. A key that is left out is left as it is, and so is
// every object that the file does not name: nothing is ever deleted.
package tenantfile

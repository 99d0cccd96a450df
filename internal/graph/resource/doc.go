// Package resource finds the objects that Microsoft Graph's paths and bodies
// name, and lists those of a tenant. It is what the packages that serve the
// different resources have in common.
package resource

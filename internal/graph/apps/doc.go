// Package apps serves the applications of Microsoft Graph: registrations,
// service principals, their credentials, and what they may do (permission
// grants and app role assignments).
package apps

// Package directory describes what a Microsoft Entra tenant holds: users,
// groups, applications, service principals, devices and the proofs that they
// sign in with.
//
// It is data and pure rules only. Nothing here reads a clock, a disk or the
// network; package state keeps these records, and the packages that serve
// people and programs act on them.
package directory

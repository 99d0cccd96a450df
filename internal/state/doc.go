// Package state declares what Entrance keeps: one table per kind of record,
// and the changes that must happen together as functions over a transaction.
//
// # Who reads and who writes
//
// The packages that serve clients read through a view (store.View: one
// immutable snapshot at one revision) and write in a transaction (store.Tx).
// Rules that span several records live here, so that Microsoft Graph, Azure
// Resource Manager, the sign-in pages and the command line cannot differ in
// them.
//
// # Deletion
//
// Deleting an object removes its links, grants and assignments in the same
// transaction. Users, groups, applications and service principals go to the
// deleted items first, from which they can be restored for 30 days.
package state

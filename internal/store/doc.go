// Package store keeps Entrance's state in etcd and a copy of it, indexed, in
// memory.
//
// # Truth and view
//
// etcd is the truth: an embedded server under [Config].Dir, or an existing
// cluster named by Endpoints; everything above the client is the same code for
// both. A [Store] follows a watch and keeps every record of its viewed tables
// decoded and indexed in a [View], an immutable snapshot at one etcd revision.
// Reads of settled state never leave the process. The view only moves forward,
// revision by revision, and never shows half of a transaction.
//
// # Transactions
//
// [Store.Update] runs a function over a [Tx]. What the function reads by key is
// compared when it commits, what it writes becomes visible all at once, and
// Update returns only when this process's own view has reached the revision
// that was written, subscribers included. Another process's view follows
// within milliseconds; who must not wait for it asks etcd ([Table.GetFresh],
// [Store.Fresh]).
//
// Sets are not compared: two transactions that each list a set and write
// different members of it do not conflict by themselves. [Tx.Guard] makes them.
//
// # Uniqueness, secrets, expiry
//
// A claim ([Options].Claims) is a key of its own, created and removed in the
// transaction that writes its record: one claim, one holder, over all
// replicas. A sealed table's values are encrypted with AES-256-GCM and bound to
// their key, so that a value copied to another key does not open. A record
// with a TTL lives under an etcd lease; the lease is how the record is cleared
// away, not how it is judged: etcd may keep a record a little longer (it
// restarts leases when its leader changes), so what must not be used after its
// time carries that time and is checked by its reader.
//
// # Failure
//
// An acknowledged Update survives the death of the process and of the machine.
// When the watch is lost the view keeps its revision and its age shows in
// [Health]; when etcd has compacted what the watch needed, the view is loaded
// again and moves in one step. A record that cannot be decoded stops the view
// where it is, with an error that names the key: readiness goes false, and the
// view is tried again until the record is put right.
package store

// Package tokencache keeps what a sign-in has earned, between the many short
// lives of a kubectl credential plugin.
//
// # What is stored
//
// One sealed file for each Key: authority, tenant, client, account, resource
// and mode. Two identities can therefore never meet in one file, and several
// users and tenants live side by side.
//
// # How it is protected
//
// Files are sealed with AES-256-GCM; the key's fields are authenticated with
// them, so a file that was copied over another one does not open. The sealing
// key lives in the operating system's keyring where that works, else in a key
// file of mode 0600 (one visible warning), else only in memory.
//
// # What can go wrong, and what happens then
//
// A cache is an optimisation: whatever is damaged, foreign, unreadable or in
// an unsafe place reads as absent, which means a new sign-in and never a
// failure. Files are replaced atomically, so a process that is killed in the
// middle of a write leaves the previous file. Locks are held on an open file,
// which the kernel releases when their holder dies.
package tokencache

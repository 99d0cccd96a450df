// Package model maps the directory's records to the resources of Microsoft
// Graph: which properties a type has, which of them a client may set, which are
// shown without $select, and how they take part in filters.
//
// Each type is a [Kind], a table of properties. A property that Entrance acts
// on reads and writes a field of its record; one that it merely keeps for
// clients lives in the record's Properties and comes back as it was sent. A
// property that is in neither is refused.
package model

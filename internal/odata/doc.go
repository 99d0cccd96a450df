// Package odata understands the part of OData 4 that Microsoft Graph and Azure
// Resource Manager speak in query strings: $filter, $select, $orderby, $search,
// $expand, $top, $skip, $skiptoken and $count.
//
// # Two steps
//
// [ParseQuery] and [ParseFilter] check text against a [Schema] and give typed
// values; a property that the type does not have, operands that do not fit and
// an expression that is too long or too deep are refused here, with the
// position of the fault. A [Filter] is then evaluated over any number of
// [Object] values.
//
// # What it costs
//
// An expression is bounded in bytes, in nodes and in depth when it is parsed,
// and evaluation counts its steps against a [Budget], so that a small request
// cannot buy an unbounded scan. [Filter.Constraints] says which simple
// conditions must hold for every match; a caller that has an index for one of
// them need not scan at all.
//
// # Text
//
// Property names, operators and text are compared without case, as the
// directory behind Microsoft Graph does.
package odata

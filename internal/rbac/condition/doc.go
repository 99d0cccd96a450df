// Package condition is the condition language (version 2.0) of Azure role
// assignments: parser, checker and evaluator.
//
// # What is supported
//
// The operators, functions, quantifiers and attributes are rows of one table
// (Table). Whatever is not in it is refused by Parse, that is when a role
// assignment is written; Eval meets only what Parse has accepted and cannot
// fail.
//
// # Missing and unreadable values
//
// A missing attribute makes a positive operator (StringEquals) false and its
// negation (StringNotEquals) true, as in Azure. An attribute that is there but
// cannot be read as what its operator compares (a number that is none) makes
// the result Unknown, which no negation can turn into True; see Result.
package condition

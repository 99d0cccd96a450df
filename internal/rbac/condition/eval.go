package condition

import (
	"strings"
	"time"

	"github.com/entrance-id/entrance/internal/rbac/wildcard"
)

// Attribute is a named attribute with its values.
type Attribute struct {
	Name   string
	Values []string
}

// Attributes are the attributes of one source. Names are compared without
// regard to case. There are few, so a list beats a map.
type Attributes []Attribute

// Get returns the values of the attribute, or nil.
func (a Attributes) Get(name string) []string {
	for i := range a {
		if strings.EqualFold(a[i].Name, name) {
			return a[i].Values
		}
	}
	return nil
}

// Context is what a condition is evaluated against.
type Context struct {
	Action       string // in lower case
	SubOperation string
	Request      Attributes
	Resource     Attributes
	Principal    Attributes // custom security attributes, under their full names
	Environment  Attributes
	Now          time.Time // gives @Environment[UtcNow] unless it is zero
}

// Result is what a condition evaluates to. The zero value is False.
type Result uint8

const (
	False   Result = iota
	True           // the condition holds
	Unknown        // an attribute could not be read as what its operator compares
)

// String returns "false", "true" or "unknown".
func (r Result) String() string { return [...]string{"false", "true", "unknown"}[r] }

func of(b bool) Result {
	if b {
		return True
	}
	return False
}

func (r Result) not() Result {
	switch r {
	case False:
		return True
	case True:
		return False
	}
	return Unknown
}

type expr interface{ eval(*Context) Result }

type (
	andExpr    []expr
	orExpr     []expr
	notExpr    struct{ x expr }
	actionExpr struct{ pattern wildcard.Pattern }
	subOpExpr  struct{ pattern wildcard.Pattern }
	existsExpr struct {
		attr attribute
		not  bool
	}
)

func (e andExpr) eval(c *Context) Result {
	out := True
	for _, x := range e {
		switch x.eval(c) {
		case False:
			return False
		case Unknown:
			out = Unknown
		}
	}
	return out
}

func (e orExpr) eval(c *Context) Result {
	out := False
	for _, x := range e {
		switch x.eval(c) {
		case True:
			return True
		case Unknown:
			out = Unknown
		}
	}
	return out
}

func (e notExpr) eval(c *Context) Result { return e.x.eval(c).not() }

func (e *actionExpr) eval(c *Context) Result { return of(e.pattern.Match(c.Action)) }

func (e *subOpExpr) eval(c *Context) Result {
	return of(e.pattern.Match(wildcard.Lower(c.SubOperation)))
}

func (e *existsExpr) eval(c *Context) Result { return of(e.attr.exists(c) != e.not) }

type attribute struct {
	source string // "@request" and so on, in lower case
	name   string
	utcNow bool
}

func (a *attribute) exists(c *Context) bool {
	return a.utcNow && !c.Now.IsZero() || len(a.values(c)) > 0
}

func (a *attribute) values(c *Context) []string {
	switch a.source {
	case "@request":
		return c.Request.Get(a.name)
	case "@resource":
		return c.Resource.Get(a.name)
	case "@principal":
		return c.Principal.Get(a.name)
	}
	return c.Environment.Get(a.name)
}

// read returns the attribute's values as the operator reads them; ok is false
// when one of them cannot be read.
func (a *attribute) read(c *Context, o *op, pattern bool, buf []value) (out []value, ok bool) {
	if a.utcNow && !c.Now.IsZero() {
		return append(buf, value{t: c.Now}), true
	}
	for _, s := range a.values(c) {
		v, ok := o.read(s, pattern)
		if !ok {
			return nil, false
		}
		buf = append(buf, v)
	}
	return buf, true
}

type quantifier struct{ set, leftAll, rightAll bool }

type compareExpr struct {
	left     attribute
	op       op
	quant    quantifier
	literals []value // the right-hand side, unless it is an attribute
	right    *attribute
}

func (e *compareExpr) eval(c *Context) Result {
	var lbuf, rbuf [4]value
	left, ok := e.left.read(c, &e.op, false, lbuf[:0])
	if !ok {
		return Unknown
	}
	right := e.literals
	if e.right != nil {
		if right, ok = e.right.read(c, &e.op, true, rbuf[:0]); !ok {
			return Unknown
		}
	}
	if len(left) == 0 || len(right) == 0 {
		return of(e.op.negative) // missing: the positive operator is false
	}
	if !e.quant.set && (len(left) > 1 || len(right) > 1) {
		return Unknown // a set where one value is compared
	}
	// left quantifier over right quantifier over the comparison
	for i := range left {
		holds := e.quant.rightAll
		for j := range right {
			one := e.op.holds(&left[i], &right[j]) != e.op.negative
			if one != e.quant.rightAll {
				holds = one
				break
			}
		}
		if holds != e.quant.leftAll {
			return of(holds)
		}
	}
	return of(e.quant.leftAll)
}

package output

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/jmespath-community/go-jmespath/pkg/api"
	"github.com/jmespath-community/go-jmespath/pkg/parsing"
)

// A query is a small program, and the library that runs it has no limits. So
// what it can make is bounded before it runs, and the time that it takes while
// it does.
const (
	maxQuery     = 16 << 10         // bytes of a query
	maxResult    = 28               // largest result, as the logarithm of its bytes to base 2
	maxGrowth    = 8                // or so many times the size of what it is applied to, as a logarithm too
	maxQueryTime = 10 * time.Second // for applying it
)

var errTooLarge = errors.New("its result could be too large; pick less, or in several steps")

// search applies a query within the bounds. One that takes too long is left
// behind: it ends with the process.
func search(q api.JMESPath, node parsing.ASTNode, v any) (any, error) {
	raw, err := json.Marshal(v)
	if err != nil {
		return nil, err
	}
	if err := fits(node, math.Log2(float64(len(raw)+1))); err != nil {
		return nil, err
	}
	type result struct {
		v   any
		err error
	}
	done := make(chan result, 1)
	go func() {
		defer func() {
			// The library is somebody else's and the query the person's.
			if p := recover(); p != nil {
				done <- result{err: fmt.Errorf("it cannot be applied to the result")}
			}
		}()
		v, err := q.Search(v)
		done <- result{v, err}
	}()
	select {
	case r := <-done:
		return r.v, r.err
	case <-time.After(maxQueryTime):
		return nil, fmt.Errorf("it takes longer than %s; simplify it", maxQueryTime)
	}
}

// fits refuses a query whose result could be too large. The library's parser
// lets through some that make no sense, such as a let without a value; they are
// refused too.
func fits(node parsing.ASTNode, in float64) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = errors.New("it cannot be understood")
		}
	}()
	b := &bound{root: in, limit: max(maxResult, in+maxGrowth)}
	if b.size(node, in); b.peak > b.limit {
		return errTooLarge
	}
	return nil
}

// bound finds an upper bound of the sizes that a query makes. All sizes are
// logarithms to base 2 of the bytes of the JSON text.
type bound struct {
	root  float64
	limit float64
	peak  float64 // the largest of them
	vars  map[string]float64
}

// word is the size of a number, a truth or the name of a type: the largest
// number has some 300 digits.
const word = 9

// size bounds what a node makes of a value of a size.
func (b *bound) size(n parsing.ASTNode, in float64) float64 {
	if b.peak > b.limit { // refused already
		return in
	}
	out := b.of(n, in)
	b.peak = max(b.peak, out)
	return out
}

func (b *bound) of(n parsing.ASTNode, in float64) float64 {
	switch n.NodeType {
	case parsing.ASTRootNode:
		return b.root
	case parsing.ASTVariable:
		name, _ := n.Value.(string)
		return b.vars[name]
	case parsing.ASTLiteral:
		raw, err := json.Marshal(n.Value)
		if err != nil {
			return word
		}
		return math.Log2(float64(len(raw) + 1))
	case parsing.ASTComparator, parsing.ASTNotExpression, parsing.ASTArithmeticExpression, parsing.ASTArithmeticUnaryExpression:
		b.sum(n.Children, in)
		return word
	case parsing.ASTMultiSelectList, parsing.ASTMultiSelectHash, parsing.ASTOrExpression, parsing.ASTAndExpression:
		return b.sum(n.Children, in)
	case parsing.ASTProjection, parsing.ASTValueProjection, parsing.ASTFilterProjection:
		left := b.size(n.Children[0], in)
		if len(n.Children) > 2 {
			b.size(n.Children[2], left) // the condition
		}
		return b.each(n.Children[1], left)
	case parsing.ASTPipe, parsing.ASTSubexpression, parsing.ASTIndexExpression:
		for _, c := range n.Children {
			in = b.size(c, in)
		}
		return in
	case parsing.ASTLetExpression:
		return b.let(n, in)
	case parsing.ASTFunctionExpression:
		return b.function(n, in)
	case parsing.ASTKeyValPair, parsing.ASTFlatten, parsing.ASTExpRef:
		return b.size(n.Children[0], in)
	}
	return in // a field, an index, a slice: never more than what they pick from
}

// sum bounds what several nodes make together of the same value.
func (b *bound) sum(list []parsing.ASTNode, in float64) float64 {
	total := 1.0
	for _, c := range list {
		name, _ := c.Value.(string)
		total += math.Exp2(b.size(c, in)) + 4 // quotes, a colon, a comma
		if c.NodeType == parsing.ASTKeyValPair {
			total += float64(len(name))
		}
	}
	return math.Log2(total)
}

// each bounds what a node makes of all elements of a list: of their own content,
// and of what it takes from elsewhere for each of them.
func (b *bound) each(n parsing.ASTNode, list float64) float64 {
	own, other := b.size(n, list), b.size(n, 0)
	if other == 0 {
		return own
	}
	return math.Log2(math.Exp2(own) + math.Exp2(list+other))
}

func (b *bound) let(n parsing.ASTNode, in float64) float64 {
	outer := b.vars
	defer func() { b.vars = outer }()
	for _, c := range n.Children[0].Children {
		v := b.size(c.Children[1], in)
		inner := map[string]float64{}
		for k, s := range b.vars {
			inner[k] = s
		}
		name, _ := c.Children[0].Value.(string)
		inner[name] = v
		b.vars = inner
	}
	return b.size(n.Children[1], in)
}

func (b *bound) function(n parsing.ASTNode, in float64) float64 {
	args := make([]float64, len(n.Children))
	product, sum := 0.0, 1.0
	for i, c := range n.Children {
		at := in
		if c.NodeType == parsing.ASTExpRef && len(n.Children) == 2 {
			at = b.size(n.Children[1-i], in) // applied to what the other argument has
		}
		args[i] = b.size(c, at)
		product, sum = product+args[i], sum+math.Exp2(args[i])+4
	}
	if len(args) == 0 {
		return word // an error, when it is applied
	}
	switch n.Value {
	case "length", "abs", "avg", "ceil", "floor", "sum", "contains", "starts_with", "ends_with", "to_number", "type", "find_first", "find_last":
		return word
	case "keys", "values", "reverse", "sort", "max", "min", "trim", "trim_left", "trim_right":
		return product // of one argument: no more than that
	case "not_null", "merge", "to_array", "lower", "upper", "zip", "items", "from_items":
		return math.Log2(sum) + 2
	case "to_string", "split":
		return math.Log2(sum) + 3 // quotes, and what has to be escaped
	case "max_by", "min_by", "sort_by", "group_by":
		return args[0] + 0.1
	case "map":
		if len(n.Children) == 2 && n.Children[0].NodeType == parsing.ASTExpRef {
			return b.each(n.Children[0].Children[0], args[1])
		}
	case "pad_left", "pad_right":
		// The width is a number: how large, only a literal says beforehand.
		if len(n.Children) > 1 && n.Children[1].NodeType == parsing.ASTLiteral {
			if width, ok := n.Children[1].Value.(float64); ok && width >= 0 {
				return max(args[0], math.Log2(width+1)) + 3
			}
		}
		return math.Inf(1)
	}
	return product // join, replace: as much for each as there is
}

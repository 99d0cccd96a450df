package arm_test

import (
	"encoding/json"

	"github.com/entrance-id/entrance/internal/arm/operation"
	"github.com/entrance-id/entrance/internal/store"
)

// dumpOperations returns every operation as it is kept.
func dumpOperations(r store.Reader) []string {
	var out []string
	for op := range operation.Operations.All(r) {
		raw, err := json.Marshal(op)
		if err != nil {
			panic(err)
		}
		out = append(out, string(raw))
	}
	return out
}

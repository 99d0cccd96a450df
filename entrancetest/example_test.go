package entrancetest_test

import (
	"context"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/entrance-id/entrance/entrancetest"
)

// In a test of your own, t is the test's, and the cloud ends with it.
func ExampleStart() {
	t := newExample()
	defer t.end()

	cloud := entrancetest.Start(t)
	ann := cloud.AddUser(t, "ann")
	cloud.AddGroup(t, "developers", ann.ID)
	token := cloud.UserToken(t, ann, cloud.ARMScope())
	name, _, _ := strings.Cut(ann.UserPrincipalName, "@")
	fmt.Println(name, "has a token of", strings.Count(token, ".")+1, "parts")
	// Output: ann has a token of 3 parts
}

// example stands in for a test, which an example has not.
type example struct {
	testing.TB
	ctx      context.Context
	cancel   context.CancelFunc
	cleanups []func()
}

func newExample() *example {
	ctx, cancel := context.WithCancel(context.Background())
	return &example{ctx: ctx, cancel: cancel}
}

func (e *example) end() {
	e.cancel()
	for i := len(e.cleanups) - 1; i >= 0; i-- {
		e.cleanups[i]()
	}
}

func (e *example) TempDir() string {
	dir, err := os.MkdirTemp("", "entrancetest")
	if err != nil {
		panic(err)
	}
	e.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

func (e *example) Cleanup(f func())                  { e.cleanups = append(e.cleanups, f) }
func (e *example) Context() context.Context          { return e.ctx }
func (e *example) Helper()                           {}
func (e *example) Log(...any)                        {}
func (e *example) Errorf(format string, args ...any) { fmt.Printf(format+"\n", args...) }
func (e *example) Fatal(args ...any)                 { panic(fmt.Sprint(args...)) }
func (e *example) Fatalf(format string, args ...any) { panic(fmt.Sprintf(format, args...)) }

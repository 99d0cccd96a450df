package lifeline_test

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/entrance-id/entrance/kube/lifeline"
)

// TestMain lets the test binary stand in for a server: "polite" stops on
// SIGTERM with code 7, "stubborn" does not stop by itself.
func TestMain(m *testing.M) {
	mode := os.Getenv("LIFELINE_TEST_MODE")
	if mode == "" {
		os.Exit(m.Run())
	}
	sigs := make(chan os.Signal, 1)
	signal.Notify(sigs, syscall.SIGTERM)
	if err := lifeline.Follow(os.Getenv(lifeline.Env), 200*time.Millisecond); err != nil {
		fmt.Println(err)
		os.Exit(2)
	}
	fmt.Println("ready")
	if mode == "polite" {
		<-sigs
		os.Exit(7)
	}
	select {}
}

func TestFollow(t *testing.T) {
	for _, tc := range []struct {
		mode string
		code int
	}{{"polite", 7}, {"stubborn", 1}} {
		t.Run(tc.mode, func(t *testing.T) {
			r, w, err := os.Pipe()
			if err != nil {
				t.Fatal(err)
			}
			cmd := exec.Command(os.Args[0])
			cmd.Env = append(os.Environ(), "LIFELINE_TEST_MODE="+tc.mode, lifeline.Env+"=3")
			cmd.ExtraFiles = []*os.File{r}
			out, err := cmd.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			defer cmd.Process.Kill()
			r.Close()
			if line, err := bufio.NewReader(out).ReadString('\n'); err != nil || line != "ready\n" {
				t.Fatalf("the child said %q, %v", line, err)
			}
			done := make(chan error, 1)
			go func() { done <- cmd.Wait() }()
			select {
			case err := <-done:
				t.Fatalf("the child ended while its lifeline was held: %v", err)
			case <-time.After(100 * time.Millisecond):
			}
			w.Close()
			select {
			case <-done:
			case <-time.After(10 * time.Second):
				t.Fatal("the child outlived its lifeline")
			}
			if code := cmd.ProcessState.ExitCode(); code != tc.code {
				t.Errorf("exit code %d, want %d", code, tc.code)
			}
		})
	}
}

func TestFollowRefuses(t *testing.T) {
	f, err := os.CreateTemp(t.TempDir(), "")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for _, tc := range []struct{ value, want string }{
		{"x", "not the number"},
		{"1", "not the number"},
		{"987654", "not open"},
		{fmt.Sprint(f.Fd()), "not a pipe"},
	} {
		if err := lifeline.Follow(tc.value, time.Second); err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("Follow(%q) = %v, want %q", tc.value, err, tc.want)
		}
	}
	if err := lifeline.Follow("", time.Second); err != nil {
		t.Errorf("Follow without a lifeline = %v", err)
	}
}

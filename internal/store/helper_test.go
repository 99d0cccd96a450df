package store_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.etcd.io/etcd/server/v3/embed"
	"go.uber.org/zap"

	"github.com/entrance-id/entrance/internal/store"
)

// The test binary is its own helper: with STORE_HELPER set it plays a part in a
// process that a test may kill.

func TestMain(m *testing.M) {
	if part := os.Getenv("STORE_HELPER"); part != "" {
		if err := map[string]func(dir string) error{
			"etcd": helpEtcd, "writer": helpWriter, "full": helpFull,
		}[part](os.Getenv("STORE_HELPER_DIR")); err != nil {
			fmt.Println("error", err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// helper starts the test binary in a part. It is killed when the test ends.
func helper(t testing.TB, part, dir string) (*exec.Cmd, *bufio.Scanner) {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), "STORE_HELPER="+part, "STORE_HELPER_DIR="+dir)
	cmd.Stderr = t.Output()
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	// Its life hangs on this pipe, also when the test is killed.
	if _, err := cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
	})
	return cmd, bufio.NewScanner(out)
}

// orphaned ends a helper whose test has gone.
func orphaned() {
	io.Copy(io.Discard, os.Stdin)
	os.Exit(3)
}

// expect returns the rest of the helper's next line, which must start with word.
func expect(t testing.TB, lines *bufio.Scanner, word string) string {
	t.Helper()
	if !lines.Scan() {
		t.Fatalf("the helper ended without %q", word)
	}
	rest, ok := strings.CutPrefix(lines.Text(), word)
	if !ok {
		t.Fatalf("the helper said %q, want %q", lines.Text(), word)
	}
	return strings.TrimSpace(rest)
}

// helpEtcd is a plain etcd server on loopback, as an operator would run it.
func helpEtcd(dir string) error {
	go orphaned()
	cfg := embed.NewConfig()
	cfg.Dir = filepath.Join(dir, "etcd")
	cfg.ListenClientUrls = []url.URL{{Scheme: "http", Host: "127.0.0.1:0"}}
	cfg.ListenPeerUrls = nil
	cfg.TickMs, cfg.ElectionMs = 10, 50
	cfg.UnsafeNoFsync = true
	cfg.ZapLoggerBuilder = embed.NewZapLoggerBuilder(zap.NewNop())
	e, err := embed.StartEtcd(cfg)
	if err != nil {
		return err
	}
	<-e.Server.ReadyNotify()
	fmt.Println("ready", e.Clients[0].Addr())
	select {}
}

// helpWriter writes without end and says what was acknowledged.
func helpWriter(dir string) error {
	go orphaned()
	s, err := store.Open(context.Background(), store.Config{Dir: dir, SealKey: [32]byte{1}}, users, secrets)
	if err != nil {
		return err
	}
	fmt.Println("ready")
	start := time.Now().UnixNano()
	var wg sync.WaitGroup
	for w := range 4 {
		wg.Go(func() {
			for i := 0; ; i++ {
				id := fmt.Sprintf("%d-%d-%d", start, w, i)
				if err := s.Update(context.Background(), func(tx *store.Tx) error {
					if err := secrets.Create(tx, &secret{ID: id, Value: id}); err != nil {
						return err
					}
					return users.Create(tx, &user{ID: id, Name: "n" + id})
				}); err != nil {
					fmt.Println("error", err)
					return
				}
				os.Stdout.WriteString("ack " + id + "\n")
			}
		})
	}
	wg.Wait()
	return nil
}

// helpFull writes until the disk, here a limit on the size of files, is full, and
// then says how the store takes it.
func helpFull(dir string) error {
	go orphaned()
	signal.Ignore(syscall.SIGXFSZ)
	s, err := store.Open(context.Background(), store.Config{Dir: dir, SealKey: [32]byte{1}}, users, secrets)
	if err != nil {
		return err
	}
	lim := syscall.Rlimit{Cur: 24 << 20, Max: 24 << 20}
	if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &lim); err != nil {
		return err
	}
	big := strings.Repeat("x", 200<<10)
	for i := range 1000 {
		id := strconv.Itoa(i)
		begun := time.Now()
		err := s.Update(context.Background(), func(tx *store.Tx) error {
			return users.Create(tx, &user{ID: id, Name: id, Groups: []string{big}})
		})
		if err != nil {
			h := s.Health()
			fmt.Printf("full %v ready=%v view=%d err=%v after=%v\n", err, h.Ready, users.Count(s.View(), "group", big), h.Err, time.Since(begun).Round(time.Second))
			begun := time.Now()
			ferr := s.Fresh(context.Background())
			fmt.Printf("fresh %v %v\n", time.Since(begun) < time.Second, ferr)
			begun = time.Now()
			s.Close()
			fmt.Printf("closed %v\n", time.Since(begun) < 5*time.Second)
			return nil
		}
		fmt.Println("ack", id)
	}
	return fmt.Errorf("the disk never filled")
}

// relay is a TCP proxy whose connections a test can cut.
type relay struct {
	l    net.Listener
	to   string
	mu   sync.Mutex
	open bool
	live map[net.Conn]struct{}
}

func newRelay(t testing.TB, to string) *relay {
	t.Helper()
	relays.add(1) // before it listens, and until after it has stopped
	t.Cleanup(func() { relays.add(-1) })
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r := &relay{l: l, to: to, open: true, live: map[net.Conn]struct{}{}}
	go r.run()
	t.Cleanup(func() {
		l.Close()
		r.set(false)
	})
	return r
}

func (r *relay) run() {
	for {
		c, err := r.l.Accept()
		if err != nil {
			return
		}
		r.mu.Lock()
		if !r.open {
			r.mu.Unlock()
			c.Close()
			continue
		}
		d, err := net.Dial("tcp", r.to)
		if err != nil {
			r.mu.Unlock()
			c.Close()
			continue
		}
		r.live[c], r.live[d] = struct{}{}, struct{}{}
		r.mu.Unlock()
		for _, p := range [][2]net.Conn{{c, d}, {d, c}} {
			go func() {
				io.Copy(p[0], p[1])
				c.Close()
				d.Close()
				r.mu.Lock()
				delete(r.live, c)
				delete(r.live, d)
				r.mu.Unlock()
			}()
		}
	}
}

// set opens the relay, or closes it and cuts what runs through it.
func (r *relay) set(open bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.open = open
	if !open {
		for c := range r.live {
			c.Close()
		}
	}
}

// relays counts the listeners that tests have made.
var relays relayCount

type relayCount struct {
	mu sync.Mutex
	n  int
}

func (c *relayCount) add(n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.n += n
}

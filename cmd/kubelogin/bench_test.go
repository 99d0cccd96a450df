package main

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// benchDir is what buildBinary made.
var benchDir string

// buildBinary builds the plugin as it is released. Benchmarks drive it, not
// the test binary.
var buildBinary = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "kubelogin-bench-")
	if err != nil {
		return "", err
	}
	benchDir = dir
	bin := filepath.Join(dir, "kubelogin")
	cmd := exec.Command("go", "build", "-trimpath", "-ldflags", "-s -w", "-o", bin, ".")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("%w\n%s", err, out)
	}
	return bin, nil
})

// rig is a home directory, a provider and the binary.
type rig struct {
	bin, home string
	idp       *fakeIDP
	env       []string
}

func newRig(b testing.TB) *rig {
	b.Helper()
	bin, err := buildBinary()
	if err != nil {
		b.Fatal(err)
	}
	r := &rig{bin: bin, home: b.TempDir(), idp: newFakeIDP()}
	b.Cleanup(r.idp.Close)
	ca := filepath.Join(r.home, "ca.pem")
	if err := r.idp.writeCA(ca); err != nil {
		b.Fatal(err)
	}
	r.env = []string{"HOME=" + r.home, "SSL_CERT_FILE=" + ca, "PATH=/usr/bin:/bin", "KUBELOGIN_CACHE_KEY=file"}
	return r
}

func (r *rig) args(extra ...string) []string {
	return append([]string{"get-token", "-l", "spn", "--server-id", "server", "--client-id", "client", "-t", "tenant",
		"--client-secret", goodSecret, "--authority-host", r.idp.URL + "/", "--disable-instance-discovery"}, extra...)
}

func (r *rig) run(b testing.TB, args ...string) (wall, cpu time.Duration) {
	b.Helper()
	cmd := exec.Command(r.bin, args...)
	cmd.Env = r.env
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	start := time.Now()
	err := cmd.Run()
	wall = time.Since(start)
	if err != nil {
		b.Fatalf("%v: %s", err, stderr.String())
	}
	return wall, cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()
}

func median(d []time.Duration) float64 {
	slices.Sort(d)
	return float64(d[len(d)/2].Microseconds()) / 1000
}

// sample reports the medians of at least 21 runs, whatever b.N is.
func (r *rig) sample(b *testing.B, prepare func(), args ...string) {
	b.Helper()
	var walls, cpus []time.Duration
	for b.Loop() {
		if prepare != nil {
			prepare()
		}
		w, c := r.run(b, args...)
		walls, cpus = append(walls, w), append(cpus, c)
	}
	for len(walls) < 21 {
		if prepare != nil {
			prepare()
		}
		w, c := r.run(b, args...)
		walls, cpus = append(walls, w), append(cpus, c)
	}
	b.ReportMetric(median(walls), "wall-ms")
	b.ReportMetric(median(cpus), "cpu-ms")
}

// peak is the high-water mark of the process's memory: it is stopped by a full
// pipe at its last write, and /proc is read then.
func (r *rig) peak(b testing.TB, args ...string) float64 {
	b.Helper()
	if runtime.GOOS != "linux" {
		return 0
	}
	var p [2]int
	if err := syscall.Pipe2(p[:], syscall.O_CLOEXEC); err != nil {
		b.Fatal(err)
	}
	read, write := os.NewFile(uintptr(p[0]), "read"), os.NewFile(uintptr(p[1]), "write")
	defer read.Close()
	defer write.Close()
	syscall.SetNonblock(p[1], true)
	filler := make([]byte, 4096)
	for {
		if _, err := syscall.Write(p[1], filler); err != nil {
			break
		}
	}
	syscall.SetNonblock(p[1], false)
	cmd := exec.Command(r.bin, args...)
	cmd.Env, cmd.Stdout = r.env, write
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	status := fmt.Sprintf("/proc/%d/", cmd.Process.Pid)
	var hwm float64
	for range 2000 {
		time.Sleep(time.Millisecond)
		where, _ := os.ReadFile(status + "wchan")
		text, err := os.ReadFile(status + "status")
		if err != nil {
			break
		}
		for line := range strings.Lines(string(text)) {
			if f := strings.Fields(line); len(f) > 1 && f[0] == "VmHWM:" {
				kb, _ := strconv.Atoi(f[1])
				hwm = float64(kb) / 1024
			}
		}
		if strings.Contains(string(where), "pipe") {
			break
		}
	}
	time.Sleep(20 * time.Millisecond) // where wchan is hidden, it has long blocked by now
	go func() {
		buf := make([]byte, 1<<20)
		for {
			if n, err := read.Read(buf); n == 0 || err != nil {
				return
			}
		}
	}()
	cmd.Wait()
	return hwm
}

// BenchmarkGetTokenWarm is what every kubectl command pays.
func BenchmarkGetTokenWarm(b *testing.B) {
	for _, mode := range []string{"bearer", "pop"} {
		b.Run(mode, func(b *testing.B) {
			r := newRig(b)
			args := r.args()
			if mode == "pop" {
				args = r.args("--pop-enabled", "--pop-claims", "u=/subscriptions/1/cluster")
			}
			r.run(b, args...)
			r.sample(b, nil, args...)
			if r.idp.tokens != 1 {
				b.Fatalf("%d token requests; the cache does not work", r.idp.tokens)
			}
			b.ReportMetric(r.peak(b, args...), "peak-MiB")
		})
	}
}

// BenchmarkGetTokenCold is the first sign-in in an empty home directory.
func BenchmarkGetTokenCold(b *testing.B) {
	r := newRig(b)
	r.sample(b, func() { os.RemoveAll(filepath.Join(r.home, ".kube")) }, r.args()...)
	b.ReportMetric(r.peak(b, r.args()...), "peak-MiB")
}

// BenchmarkGetTokenParallel is eight cold starts at once.
func BenchmarkGetTokenParallel(b *testing.B) {
	r := newRig(b)
	var walls []time.Duration
	rounds := 0
	round := func() {
		os.RemoveAll(filepath.Join(r.home, ".kube"))
		rounds++
		start := time.Now()
		var wg sync.WaitGroup
		for range 8 {
			wg.Go(func() { r.run(b, r.args()...) })
		}
		wg.Wait()
		walls = append(walls, time.Since(start))
	}
	for b.Loop() {
		round()
	}
	for rounds < 21 {
		round()
	}
	b.ReportMetric(median(walls), "wall-ms")
	b.ReportMetric(float64(r.idp.tokens)/float64(rounds), "token-requests")
}

// BenchmarkConvert converts kubeconfigs of many users.
func BenchmarkConvert(b *testing.B) {
	for _, n := range []int{1, 100, 500} {
		b.Run(fmt.Sprintf("users=%d", n), func(b *testing.B) {
			r := newRig(b)
			path := filepath.Join(r.home, "config")
			data := manyUsers(n)
			r.sample(b, func() {
				if err := os.WriteFile(path, data, 0o600); err != nil {
					b.Fatal(err)
				}
			}, "convert-kubeconfig", "--kubeconfig", path, "-l", "azurecli")
			if got, _ := os.ReadFile(path); bytes.Count(got, []byte("- azurecli\n")) != n {
				b.Fatal("not all users were converted")
			}
		})
	}
}

// BenchmarkVersion is a process that does nothing: the floor of the others.
func BenchmarkVersion(b *testing.B) {
	r := newRig(b)
	r.sample(b, nil, "--version")
	if info, err := os.Stat(r.bin); err == nil {
		b.ReportMetric(float64(info.Size())/(1<<20), "binary-MiB")
	}
}

// manyUsers is a kubeconfig as `az aks get-credentials` leaves it after n
// clusters.
func manyUsers(n int) []byte {
	var b strings.Builder
	b.WriteString("apiVersion: v1\nclusters:\n")
	ca := strings.Repeat("QUJD", 475)
	for i := range n {
		fmt.Fprintf(&b, "- cluster:\n    certificate-authority-data: %s\n    server: https://c%d.hcp.westeurope.azmk8s.io:443\n  name: c%d\n", ca, i, i)
	}
	b.WriteString("contexts:\n")
	for i := range n {
		fmt.Fprintf(&b, "- context:\n    cluster: c%d\n    user: u%d\n  name: c%d\n", i, i, i)
	}
	b.WriteString("current-context: c0\nkind: Config\npreferences: {}\nusers:\n")
	for i := range n {
		fmt.Fprintf(&b, "- name: u%d\n  user:\n    exec:\n      apiVersion: client.authentication.k8s.io/v1beta1\n      args:\n"+
			"      - get-token\n      - --environment\n      - AzurePublicCloud\n      - --server-id\n      - 6dae42f8-4368-4678-94ff-3960e28e3630\n"+
			"      - --client-id\n      - 80faf920-1908-4b52-b5ef-a8e7bedfc67a\n      - --tenant-id\n      - 11111111-2222-3333-4444-555555555555\n"+
			"      - --login\n      - devicecode\n      command: kubelogin\n      env: null\n      installHint: |\n\n"+
			"        kubelogin is not installed which is required to connect to AAD enabled cluster.\n\n"+
			"        To learn more, please go to https://aka.ms/aks/kubelogin\n      provideClusterInfo: false\n", i)
	}
	return []byte(b.String())
}

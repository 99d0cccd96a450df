package e2e_test

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"
)

// TestKillDuringWrites kills Entrance twenty times at random moments while
// users are being added: every user whose addition was acknowledged is there
// after the restart (abuse case 40).
func TestKillDuringWrites(t *testing.T) {
	c := newCloud(t, 24440)
	var mu sync.Mutex
	var acknowledged []string
	next := 0
	for round := range 20 {
		c.up("--no-cluster")
		token := c.application(graphScope)
		stop := make(chan struct{})
		var wg sync.WaitGroup
		for range 4 {
			wg.Go(func() {
				for {
					select {
					case <-stop:
						return
					default:
					}
					mu.Lock()
					name := fmt.Sprintf("user%d", next)
					next++
					mu.Unlock()
					code, _, err := c.graph(token, http.MethodPost, "/groups", map[string]any{
						"displayName": name, "mailNickname": name, "mailEnabled": false, "securityEnabled": true,
					})
					if err != nil {
						return // killed
					}
					if code == http.StatusCreated {
						mu.Lock()
						acknowledged = append(acknowledged, name)
						mu.Unlock()
					}
				}
			})
		}
		time.Sleep(time.Duration(20+rand.IntN(180)) * time.Millisecond)
		c.kill()
		close(stop)
		wg.Wait()
		if round == 19 && len(acknowledged) < 100 {
			t.Errorf("only %d writes were acknowledged: the test sees too little", len(acknowledged))
		}
	}
	c.up("--no-cluster")
	token := c.application(graphScope)
	present := map[string]bool{}
	for path := "/groups?$select=displayName&$top=999"; path != ""; {
		code, raw, err := c.graph(token, http.MethodGet, path, nil)
		if err != nil || code != http.StatusOK {
			t.Fatalf("listing: %d %v %s", code, err, raw)
		}
		for _, part := range strings.Split(string(raw), `"displayName":"`)[1:] {
			name, _, _ := strings.Cut(part, `"`)
			present[name] = true
		}
		_, rest, ok := strings.Cut(string(raw), `"@odata.nextLink":"`)
		path = ""
		if ok {
			link, _, _ := strings.Cut(rest, `"`)
			_, path, _ = strings.Cut(strings.ReplaceAll(link, `\u0026`, "&"), "/v1.0")
		}
	}
	lost := 0
	for _, name := range acknowledged {
		if !present[name] {
			lost++
			t.Errorf("%s was acknowledged and is lost", name)
		}
	}
	t.Logf("%d acknowledged writes over 20 kills, %d lost", len(acknowledged), lost)
}

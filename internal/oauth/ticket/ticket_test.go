package ticket_test

import (
	"context"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/entrance-id/entrance/internal/clock"
	"github.com/entrance-id/entrance/internal/errs"
	"github.com/entrance-id/entrance/internal/oauth/aadsts"
	"github.com/entrance-id/entrance/internal/oauth/ticket"
	"github.com/entrance-id/entrance/internal/state"
	"github.com/entrance-id/entrance/internal/store/storetest"
)

func tickets(t *testing.T) (*ticket.Tickets, *clock.Manual) {
	clk := clock.NewManual(time.Date(2026, 11, 25, 12, 0, 0, 0, time.UTC))
	s := storetest.Open(t, append(ticket.Tables(), state.TicketKeys)...)
	sealer, err := state.NewSealer(t.Context(), s, clk)
	if err != nil {
		t.Fatal(err)
	}
	return &ticket.Tickets{Store: s, Clock: clk, Sealer: sealer}, clk
}

func code(err error) aadsts.Code {
	if err == nil {
		return 0
	}
	return aadsts.From(err).Code
}

// TestTakeCode: of many who redeem a code at once one gets it, and the others end
// what that one got.
func TestTakeCode(t *testing.T) {
	k, clk := tickets(t)
	text, err := k.NewCode(t.Context(), &ticket.Code{Client: "c", SignedIn: ticket.SignIn{Grant: "g"}})
	if err != nil {
		t.Fatal(err)
	}
	var won atomic.Int32
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			c, err := k.TakeCode(context.Background(), text)
			switch {
			case err == nil && c.Client == "c":
				won.Add(1)
			case code(err) != 54005 && code(err) != 90033:
				t.Errorf("a loser got %v", err)
			}
		})
	}
	wg.Wait()
	if won.Load() != 1 {
		t.Errorf("%d redeemed the code", won.Load())
	}
	if gone, err := k.Revoked(t.Context(), "g"); err != nil || !gone {
		t.Errorf("the grant is revoked: %t, %v", gone, err)
	}
	if _, err := k.TakeCode(t.Context(), "1.nonsense"); code(err) != 70000 {
		t.Errorf("a code that nobody issued: %v", err)
	}
	late, err := k.NewCode(t.Context(), &ticket.Code{})
	if err != nil {
		t.Fatal(err)
	}
	clk.Advance(10 * time.Minute)
	if _, err := k.TakeCode(t.Context(), late); code(err) != 70008 {
		t.Errorf("an old code: %v", err)
	}
}

func TestDevices(t *testing.T) {
	k, clk := tickets(t)
	ctx := t.Context()
	d := &ticket.Device{Client: "c"}
	secret, err := k.NewDevice(ctx, d)
	if err != nil {
		t.Fatal(err)
	}
	typed, ok := ticket.NormalizeUserCode(" " + strings.ToLower(d.UserCode[:4]) + "-" + d.UserCode[4:])
	if !ok || typed != d.UserCode {
		t.Fatalf("%q is read as %q", d.UserCode, typed)
	}
	for _, bad := range []string{"", "BCDFGHJK", "BCDFGHJKLM", "ABCDEFGHI", "BCDFGHJK1", "BCDFGHJKЬ", "BCDFGHJK\x00"} {
		if _, ok := ticket.NormalizeUserCode(bad); ok {
			t.Errorf("%q is taken for a user code", bad)
		}
	}
	if found, err := k.FindDevice(ctx, typed); err != nil || found.Hash != ticket.Hash(secret) {
		t.Fatalf("%+v, %v", found, err)
	}
	if err := k.AnswerDevice(ctx, d, nil); err != nil {
		t.Fatal(err)
	}
	if err := k.AnswerDevice(ctx, d, &ticket.SignIn{User: "u"}); code(err) != 70018 {
		t.Errorf("approved after a denial: %v", err)
	}
	if _, err := k.FindDevice(ctx, typed); !errs.Is(err, errs.NotFound) {
		t.Errorf("the user code after the answer: %v", err)
	}
	if denied, err := k.TakeDevice(ctx, d.Hash); err != nil || !denied.Denied || denied.SignedIn != nil {
		t.Errorf("%+v, %v", denied, err)
	}
	if _, err := k.TakeDevice(ctx, d.Hash); !errs.Is(err, errs.NotFound) {
		t.Errorf("taken twice: %v", err)
	}
	other := &ticket.Device{}
	if _, err := k.NewDevice(ctx, other); err != nil {
		t.Fatal(err)
	}
	clk.Advance(ticket.DeviceLife)
	if _, err := k.FindDevice(ctx, other.UserCode); !errs.Is(err, errs.NotFound) {
		t.Errorf("an old user code: %v", err)
	}
}

func TestSpend(t *testing.T) {
	k, _ := tickets(t)
	if err := k.Spend(t.Context(), "x", time.Minute); err != nil {
		t.Fatal(err)
	}
	if err := k.Spend(t.Context(), "x", time.Minute); code(err) != 50012 {
		t.Errorf("used twice: %v", err)
	}
}

func TestRefresh(t *testing.T) {
	k, _ := tickets(t)
	text, err := k.SealRefresh(&ticket.Refresh{Client: "c"})
	if err != nil {
		t.Fatal(err)
	}
	if r, err := k.OpenRefresh(text); err != nil || r.Client != "c" {
		t.Errorf("%+v, %v", r, err)
	}
	for _, bad := range []string{"", "1.", strings.TrimPrefix(text, "1."), text + "A", text[:len(text)-3] + "AAA"} {
		if _, err := k.OpenRefresh(bad); code(err) != 70000 {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

package policy_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/entrance-id/entrance/internal/directory"
	"github.com/entrance-id/entrance/internal/errs"
	"github.com/entrance-id/entrance/internal/policy"
	"github.com/entrance-id/entrance/internal/state"
	"github.com/entrance-id/entrance/internal/store"
)

const (
	office = `{"@odata.type":"#microsoft.graph.ipNamedLocation","displayName":"Office","isTrusted":false,
		"ipRanges":[{"@odata.type":"#microsoft.graph.iPv4CidrRange","cidrAddress":"192.0.2.0/24"}]}`
	strong = `{"displayName":"Keys only","allowedCombinations":["fido2"]}`
)

func fromOutside(location string) string {
	return fmt.Sprintf(`{"displayName":"outside","state":"enabled","conditions":{"users":{"includeUsers":["All"]},
		"applications":{"includeApplications":["All"]},"clientAppTypes":["all"],
		"locations":{"includeLocations":["All"],"excludeLocations":[%q]}},
		"grantControls":{"operator":"OR","builtInControls":["block"]}}`, location)
}

func TestDocumentIsKeptAsReceived(t *testing.T) {
	w := newWorld(t)
	body := strings.Replace(rule("kept", everybody, "mfa"), `{"displayName"`,
		`{"id":"99999999-0000-4000-8000-000000000001","createdDateTime":"1999-01-01T00:00:00Z","modifiedDateTime":"1999-01-01T00:00:00Z","@odata.context":"x","templateId":null,"x-unknown":{"b":[1,2.50],"a":null},"displayName"`, 1)
	d := w.create(policy.CreatePolicy, body)
	shown, err := d.Shown()
	if err != nil {
		t.Fatal(err)
	}
	got := decode(t, shown)
	if got["id"] != d.ID || d.ID == "99999999-0000-4000-8000-000000000001" || got["createdDateTime"] != "2026-03-02T09:00:00Z" || got["modifiedDateTime"] != nil {
		t.Errorf("a client sets what is ours: %s", shown)
	}
	if strings.Count(string(shown), `"id"`) != 1 || got["@odata.context"] != nil {
		t.Errorf("shown %s", shown)
	}
	if diff := cmp.Diff(map[string]any{"b": []any{1.0, 2.5}, "a": nil}, got["x-unknown"]); diff != "" {
		t.Error(diff)
	}

	w.clock.Advance(time.Hour)
	rev, _ := policy.Policies.Rev(w.store.View(), string(tenant)+"/"+d.ID)
	w.update(func(tx *store.Tx) error {
		_, err := policy.UpdatePolicy(tx, tenant, d.ID, []byte(`{"state":"disabled","conditions":{"users":{"excludeUsers":["`+string(bob)+`"]}},"id":"ignored"}`), w.clock.Now())
		return err
	})
	d, err = policy.Policies.Get(w.store.View(), string(tenant)+"/"+d.ID)
	if err != nil {
		t.Fatal(err)
	}
	if now, _ := policy.Policies.Rev(w.store.View(), string(tenant)+"/"+d.ID); now <= rev {
		t.Error("the revision does not tell of the change")
	}
	shown, _ = d.Shown()
	got = decode(t, shown)
	users := got["conditions"].(map[string]any)["users"].(map[string]any)
	if got["state"] != "disabled" || got["modifiedDateTime"] != "2026-03-02T10:00:00Z" || got["createdDateTime"] != "2026-03-02T09:00:00Z" || got["displayName"] != "kept" {
		t.Errorf("after the update: %s", shown)
	}
	if diff := cmp.Diff(map[string]any{"includeUsers": []any{"All"}, "excludeUsers": []any{string(bob)}}, users); diff != "" {
		t.Error(diff)
	}
}

func TestReferencesAreChecked(t *testing.T) {
	w := newWorld(t)
	unknown := directory.NewGUID()
	for name, body := range map[string]string{
		"location":          fromOutside(unknown),
		"user":              rule("x", `{"includeUsers":["`+unknown+`"]}`, "mfa"),
		"excluded user":     rule("x", `{"includeUsers":["All"],"excludeUsers":["`+unknown+`"]}`, "mfa"),
		"group":             rule("x", `{"includeGroups":["`+unknown+`"]}`, "mfa"),
		"role":              rule("x", `{"includeRoles":["`+unknown+`"]}`, "mfa"),
		"application":       strings.ReplaceAll(rule("x", everybody, "mfa"), string(aks), unknown),
		"strength":          strings.Replace(rule("x", everybody, "mfa"), `"builtInControls":["mfa"]`, `"authenticationStrength":{"id":"`+unknown+`"}`, 1),
		"risk":              strings.Replace(rule("x", everybody, "mfa"), `"clientAppTypes"`, `"userRiskLevels":["high"],"clientAppTypes"`, 1),
		"repeated member":   strings.Replace(rule("x", everybody, "mfa"), `{"displayName"`, `{"state":"disabled","displayName"`, 1),
		"nothing":           ``,
		"no object":         `[]`,
		"two objects":       rule("x", everybody, "mfa") + `{}`,
		"far too large":     strings.Replace(rule("x", everybody, "mfa"), `"x"`, `"`+strings.Repeat("x", 300<<10)+`"`, 1),
		"service principal": `{"displayName":"x","state":"enabled","conditions":{"clientApplications":{"includeServicePrincipals":["` + unknown + `"]},"applications":{"includeApplications":["All"]},"clientAppTypes":["all"]},"grantControls":{"operator":"OR","builtInControls":["block"]}}`,
	} {
		t.Run(name, func(t *testing.T) {
			_, err := w.tryCreate(policy.CreatePolicy, body)
			wantKind(t, err, errs.Invalid)
		})
	}
	if n := policy.Policies.Count(w.store.View(), "tenant", string(tenant)); n != 0 {
		t.Errorf("%d policies were kept", n)
	}
	w.create(policy.CreatePolicy, rule("ok", `{"includeGroups":["`+string(ops)+`"],"excludeUsers":["`+string(ann)+`"],"includeRoles":["`+directory.GlobalAdministrator+`"]}`, "mfa"))
}

// A group that was deleted later must not keep an administrator from changing
// the policy that names it.
func TestUpdateAfterADeletion(t *testing.T) {
	w := newWorld(t)
	d := w.create(policy.CreatePolicy, rule("x", `{"includeGroups":["`+string(ops)+`"]}`, "mfa"))
	w.update(func(tx *store.Tx) error { return state.Delete(tx, tenant, ops, start) })
	change := func(patch string) error {
		return w.try(func(tx *store.Tx) error {
			_, err := policy.UpdatePolicy(tx, tenant, d.ID, []byte(patch), start)
			return err
		})
	}
	if err := change(`{"state":"disabled"}`); err != nil {
		t.Error(err)
	}
	wantKind(t, change(`{"conditions":{"users":{"includeGroups":["`+directory.NewGUID()+`"]}}}`), errs.Invalid)
}

func TestWhatIsUsedCannotBeDeleted(t *testing.T) {
	w := newWorld(t)
	place, level := w.create(policy.CreateLocation, office), w.create(policy.CreateStrength, strong)
	p := w.create(policy.CreatePolicy, fromOutside(place.ID))
	q := w.create(policy.CreatePolicy, strings.Replace(rule("x", everybody, "mfa"), `"builtInControls":["mfa"]`, `"authenticationStrength":{"id":"`+level.ID+`"}`, 1))
	del := func(fn func(*store.Tx, directory.TenantID, string) error, id string) error {
		return w.try(func(tx *store.Tx) error { return fn(tx, tenant, id) })
	}
	wantKind(t, del(policy.DeleteLocation, place.ID), errs.Conflict)
	wantKind(t, del(policy.DeleteStrength, level.ID), errs.Conflict)
	for _, id := range []string{p.ID, strings.ToUpper(q.ID)} {
		if err := del(policy.DeletePolicy, id); err != nil {
			t.Fatal(err)
		}
	}
	w.update(func(tx *store.Tx) error {
		_, err := policy.UpdateLocation(tx, tenant, place.ID, []byte(`{"isTrusted":true}`), start)
		return err
	})
	wantKind(t, del(policy.DeleteLocation, place.ID), errs.Conflict)
	w.update(func(tx *store.Tx) error {
		_, err := policy.UpdateLocation(tx, tenant, place.ID, []byte(`{"isTrusted":false}`), start)
		return err
	})
	if err := del(policy.DeleteLocation, place.ID); err != nil {
		t.Error(err)
	}
	if err := del(policy.DeleteStrength, level.ID); err != nil {
		t.Error(err)
	}
	wantKind(t, del(policy.DeleteLocation, place.ID), errs.NotFound)
	wantKind(t, del(policy.DeletePolicy, p.ID), errs.NotFound)
	wantKind(t, del(policy.DeleteStrength, "00000000-0000-0000-0000-000000000004"), errs.Forbidden)
}

func TestLocationKeepsItsType(t *testing.T) {
	w := newWorld(t)
	place := w.create(policy.CreateLocation, office)
	err := w.try(func(tx *store.Tx) error {
		_, err := policy.UpdateLocation(tx, tenant, place.ID, []byte(`{"@odata.type":"#microsoft.graph.countryNamedLocation","countriesAndRegions":["CH"]}`), start)
		return err
	})
	wantKind(t, err, errs.Invalid)
}

func TestStrengthNamesAreUnique(t *testing.T) {
	w := newWorld(t)
	w.create(policy.CreateStrength, strong)
	_, err := w.tryCreate(policy.CreateStrength, strings.ToUpper(strong[:28])+strong[28:])
	if err == nil {
		t.Error("two strengths have one name")
	}
	err = w.try(func(tx *store.Tx) error {
		_, err := policy.UpdateStrength(tx, tenant, "00000000-0000-0000-0000-000000000002", []byte(`{"allowedCombinations":["password"]}`), start)
		return err
	})
	wantKind(t, err, errs.Forbidden)
}

// A policy that comes to name a location races the location's deletion, on two
// replicas: one of the two must lose, every time.
func TestPolicyAndDeletionOfItsLocation(t *testing.T) {
	w := newWorld(t)
	sibling, err := w.store.Sibling(t.Context(), tables()...)
	if err != nil {
		t.Fatal(err)
	}
	defer sibling.Close()
	for range 10 {
		place := w.create(policy.CreateLocation, office)
		if err := sibling.Fresh(t.Context()); err != nil {
			t.Fatal(err)
		}
		var wg sync.WaitGroup
		var made, deleted error
		wg.Go(func() {
			made = w.store.Update(context.Background(), func(tx *store.Tx) error {
				_, err := policy.CreatePolicy(tx, tenant, []byte(fromOutside(place.ID)), start)
				return err
			})
		})
		wg.Go(func() {
			deleted = sibling.Update(context.Background(), func(tx *store.Tx) error { return policy.DeleteLocation(tx, tenant, place.ID) })
		})
		wg.Wait()
		if (made == nil) == (deleted == nil) {
			t.Fatalf("policy: %v, deletion: %v", made, deleted)
		}
	}
}

func TestTenantsAreApart(t *testing.T) {
	w := newWorld(t)
	d := w.create(policy.CreatePolicy, rule("x", everybody, "block"))
	err := w.try(func(tx *store.Tx) error { return policy.DeletePolicy(tx, tenant2, d.ID) })
	wantKind(t, err, errs.NotFound)
	err = w.try(func(tx *store.Tx) error {
		_, err := policy.CreatePolicy(tx, "11111111-0000-4000-8000-000000000009", []byte(rule("x", everybody, "block")), start)
		return err
	})
	wantKind(t, err, errs.NotFound)
}

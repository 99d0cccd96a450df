package shape

import (
	"encoding/json"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestName holds the spellings that az 2.45 prints (reference of `az aks show`).
func TestName(t *testing.T) {
	for in, want := range map[string]string{
		"enableRBAC": "enableRbac", "enableAzureRBAC": "enableAzureRbac", "adminGroupObjectIDs": "adminGroupObjectIDs", "tenantID": "tenantId",
		"issuerURL": "issuerUrl", "osDiskSizeGB": "osDiskSizeGb", "vnetSubnetID": "vnetSubnetId", "enableNodePublicIP": "enableNodePublicIp",
		"managedOutboundIPs": "managedOutboundIPs", "nodePublicIPPrefixID": "nodePublicIpPrefixId", "countIPv6": "countIPv6",
		"enableFIPS": "enableFips", "dnsServiceIP": "dnsServiceIp", "azurePortalFQDN": "azurePortalFqdn", "fqdn": "fqdn", "osSKU": "osSku", "": "",
	} {
		if got := Name(in); got != want {
			t.Errorf("%s: %s, want %s", in, got, want)
		}
	}
}

// TestMoment holds how Python's isoformat writes times.
func TestMoment(t *testing.T) {
	for in, want := range map[string]string{
		"2026-11-29T04:11:03.8289516Z": "2026-11-29T04:11:03.828951+00:00", "2026-11-29T04:11:03Z": "2026-11-29T04:11:03+00:00",
		"2026-11-29T04:11:03.5+02:00": "2026-11-29T04:11:03.500000+02:00", "later": "later",
	} {
		if got := moment(in); got != want {
			t.Errorf("%s: %s, want %s", in, got, want)
		}
	}
}

func TestResource(t *testing.T) {
	var in any
	if err := json.Unmarshal([]byte(`{
		"id": "/subscriptions/s/resourceGroups/rg/providers/Microsoft.ContainerService/managedClusters/web", "name": "web",
		"tags": {"ownerID": "x"}, "identity": {"userAssignedIdentities": {"/subscriptions/s/resourceGroups/RG/providers/X/Y/z": {"clientID": "c"}}},
		"type": "T", "properties": {"createdOn": "2026-11-29T04:11:03Z", "type": "inner", "enableRBAC": true, "name": "inner", "pools": [{"osSKU": "Ubuntu"}]}}`), &in); err != nil {
		t.Fatal(err)
	}
	got, err := Resource(in)
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]any{
		"id": "/subscriptions/s/resourceGroups/rg/providers/Microsoft.ContainerService/managedClusters/web", "name": "web", "resourceGroup": "rg",
		"tags": map[string]any{"ownerID": "x"},
		"type": "T", "typePropertiesType": "inner", "createdOn": "2026-11-29T04:11:03+00:00",
		"identity":   map[string]any{"userAssignedIdentities": map[string]any{"/subscriptions/s/resourceGroups/RG/providers/X/Y/z": map[string]any{"clientId": "c"}}},
		"enableRbac": true, "pools": []any{map[string]any{"osSku": "Ubuntu"}},
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}

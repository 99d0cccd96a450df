package server

import (
	"github.com/entrance-id/entrance/internal/directory"
)

// Status is what `entrance status --output json` prints. Scripts read it: its
// members keep their names.
type Status struct {
	Version         string             `json:"version"`
	Ready           bool               `json:"ready"`
	Endpoints       Endpoints          `json:"endpoints"`
	CAFile          string             `json:"caFile"`
	TenantID        directory.TenantID `json:"tenantId"`
	SubscriptionID  string             `json:"subscriptionId"`
	CredentialsFile string             `json:"credentialsFile"`
	Clusters        []ClusterStatus    `json:"clusters"`
	PID             int                `json:"pid"`
}

// Endpoints are the addresses of the listeners.
type Endpoints struct {
	Login    string `json:"login"`
	Graph    string `json:"graph"`
	ARM      string `json:"arm"`
	Webhooks string `json:"webhooks"`
	Health   string `json:"health"`
	IMDS     string `json:"imds"`
	Proxy    string `json:"proxy"`
}

// ClusterStatus is a cluster in a Status.
type ClusterStatus struct {
	ID                string `json:"id"`
	Name              string `json:"name"`
	ResourceGroup     string `json:"resourceGroup"`
	Server            string `json:"server"`
	ProvisioningState string `json:"provisioningState"`
}

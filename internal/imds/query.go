package imds

import (
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/entrance-id/entrance/internal/directory"
)

// versions are the versions of the instance metadata service that have the
// managed identity endpoint in this form.
var versions = []string{
	"2018-02-01", "2018-04-02", "2018-10-01",
	"2019-02-01", "2019-03-11", "2019-04-30", "2019-06-01", "2019-06-04", "2019-08-01", "2019-08-15", "2019-11-01",
	"2020-06-01", "2020-07-15", "2020-09-01", "2020-10-01", "2020-12-01",
	"2021-01-01", "2021-02-01", "2021-03-01", "2021-05-01", "2021-10-01", "2021-11-01", "2021-11-15", "2021-12-13",
	"2023-07-01", "2023-11-15", "2024-03-15", "2024-07-17", "2025-04-07",
}

// maxValue bounds each parameter: a resource name of 600 characters is the
// longest that a tenant can have, and resource ids are not longer than 2,048.
const maxValue = 2048

// query is what a request asks for.
type query struct {
	resource string
	// At most one of these is not empty.
	client directory.AppID
	object directory.ObjectID
	resID  string // the resource id of a user-assigned identity
}

// selectors are the parameters that choose an identity.
var selectors = []string{"client_id", "object_id", "principal_id", "msi_res_id", "mi_res_id"}

func parseQuery(r *http.Request) (query, *refusal) {
	var q query
	bad := func(message string) (query, *refusal) {
		return query{}, refuse(http.StatusBadRequest, "invalid_request", message)
	}
	values, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return bad("The query cannot be read.")
	}
	// Two values of one parameter mean different things to different readers.
	for _, name := range append([]string{"api-version", "resource"}, selectors...) {
		if len(values[name]) > 1 {
			return bad("The query variable '" + name + "' is given more than once.")
		}
		if len(values.Get(name)) > maxValue {
			return bad("The query variable '" + name + "' is too long.")
		}
	}
	switch version := values.Get("api-version"); {
	case version == "":
		return bad("Required query variable 'api-version' is missing")
	case !slices.Contains(versions, version):
		return bad("The api-version is not supported. Use 2018-02-01.")
	}
	if q.resource = values.Get("resource"); q.resource == "" {
		return bad("Required query variable 'resource' is missing")
	}
	given := ""
	for _, name := range selectors {
		if _, ok := values[name]; !ok {
			continue
		}
		if given != "" {
			return bad("Only one of client_id, object_id and msi_res_id may be given.")
		}
		given = name
	}
	value := values.Get(given)
	switch given {
	case "":
		return q, nil
	case "msi_res_id", "mi_res_id":
		if value == "" {
			return query{}, refusedIdentity
		}
		q.resID = value
		return q, nil
	}
	id, ok := directory.ParseGUID(value)
	if !ok {
		return query{}, refusedIdentity
	}
	if given == "client_id" {
		q.client = directory.AppID(id)
	} else {
		q.object = directory.ObjectID(id)
	}
	return q, nil
}

// choose returns the identity of a resource that a query means. What the
// resource does not have is not found, whether or not it exists elsewhere.
func choose(src *Resource, q query) (*Identity, *refusal) {
	if q.client == "" && q.object == "" && q.resID == "" {
		switch {
		case src.System != nil:
			return src.System, nil
		case len(src.Assigned) == 1:
			return &src.Assigned[0], nil
		case len(src.Assigned) > 1:
			return nil, refuse(http.StatusBadRequest, "invalid_request",
				"Multiple user assigned identities exist, please specify the clientId / resourceId of the identity in the token request")
		}
		return nil, refusedIdentity
	}
	for i := range src.Assigned {
		id := &src.Assigned[i]
		if q.matches(id) || q.resID != "" && strings.EqualFold(id.ResourceID, q.resID) {
			return id, nil
		}
	}
	if src.System != nil && q.matches(src.System) {
		return src.System, nil
	}
	return nil, refusedIdentity
}

func (q query) matches(id *Identity) bool {
	return q.client != "" && q.client == id.ClientID || q.object != "" && q.object == id.ServicePrincipal
}

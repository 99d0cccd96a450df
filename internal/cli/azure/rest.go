package azure

import (
	"context"
	"encoding/json"
	"net/http"
	"net/url"
	"strings"

	armruntime "github.com/Azure/azure-sdk-for-go/sdk/azcore/arm/runtime"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/runtime"

	"github.com/entrance-id/entrance/internal/version"
)

// Call calls Resource Manager where Microsoft's modules have no client for it, or
// one that knows fewer properties than we keep. The query has the api-version. A
// refusal is an *azcore.ResponseError.
func (s *Session) Call(ctx context.Context, method, path string, query url.Values, body, out any) error {
	pipeline, err := armruntime.NewPipeline("entrance", version.String(), s.Credential, runtime.PipelineOptions{}, s.Options())
	if err != nil {
		return err
	}
	req, err := runtime.NewRequest(ctx, method, s.Cloud.ARM+path+"?"+strings.ReplaceAll(query.Encode(), "+", "%20"))
	if err != nil {
		return err
	}
	if body != nil {
		if err := runtime.MarshalAsJSON(req, body); err != nil {
			return err
		}
	}
	resp, err := pipeline.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if !runtime.HasStatusCode(resp, http.StatusOK, http.StatusCreated, http.StatusNoContent) {
		return runtime.NewResponseError(resp)
	}
	raw, err := runtime.Payload(resp)
	if err != nil || out == nil || len(raw) == 0 {
		return err
	}
	return json.Unmarshal(raw, out)
}

// Collect returns what is on all pages of a list.
func Collect[Page, Item any](ctx context.Context, pages *runtime.Pager[Page], items func(Page) []*Item) ([]*Item, error) {
	list := []*Item{}
	for pages.More() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return nil, err
		}
		list = append(list, items(page)...)
	}
	return list, nil
}

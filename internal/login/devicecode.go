package login

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// deviceCode shows a code that a person enters in any browser.
type deviceCode struct{ *entra }

func (d *deviceCode) name() string {
	if d.o.usesV1() {
		return "ADALDeviceCodeCredential"
	}
	return "DeviceCodeCredential"
}

func (d *deviceCode) human() bool { return true }

func (d *deviceCode) refresh(ctx context.Context, token string) (*tokenResponse, error) {
	return d.publicRefresh(ctx, token)
}

type deviceResponse struct {
	UserCode   string `json:"user_code"`
	DeviceCode string `json:"device_code"`
	URI        string `json:"verification_uri"`
	URL        string `json:"verification_url"` // v1
	Message    string `json:"message"`
	ExpiresIn  number `json:"expires_in"`
	Interval   number `json:"interval"`
}

func (d *deviceCode) acquire(ctx context.Context) (*tokenResponse, error) {
	var where string
	form := url.Values{"client_id": {d.o.ClientID}}
	if d.o.usesV1() {
		where = d.client.auth.url(d.client.auth.tenant + "/oauth2/devicecode?api-version=1.0")
		form.Set("resource", d.o.ServerID)
	} else {
		ends, err := d.client.resolve(ctx)
		if err != nil {
			return nil, err
		}
		where = ends.DeviceCode
		form.Set("scope", d.scope())
	}
	var dr deviceResponse
	if err := d.client.do(ctx, http.MethodPost, where, nil, form, false, &dr); err != nil {
		return nil, err
	}
	if dr.DeviceCode == "" || dr.ExpiresIn <= 0 {
		return nil, errors.New("the device code answer is incomplete")
	}
	message := cleanLines(dr.Message)
	if message == "" {
		message = fmt.Sprintf("To sign in, use a web browser to open the page %s and enter the code %s to authenticate.",
			clean(firstOf(dr.URI, dr.URL)), clean(dr.UserCode))
	}
	fmt.Fprintln(d.sys.Stderr, message)
	return d.poll(ctx, dr)
}

// poll asks until the person is done. The deadline is the code's own life; the
// time limit of --timeout bounds each request alone.
func (d *deviceCode) poll(ctx context.Context, dr deviceResponse) (*tokenResponse, error) {
	life := time.Duration(dr.ExpiresIn) * time.Second
	ctx, cancel := context.WithTimeout(ctx, life)
	defer cancel()
	interval := time.Duration(dr.Interval) * time.Second
	if interval <= 0 {
		interval = 5 * time.Second
	}
	expired := fmt.Errorf("nobody entered the code within its life of %s; try again", life)
	for {
		if err := d.client.sleep(ctx, interval); err != nil {
			if errors.Is(err, context.DeadlineExceeded) {
				return nil, expired
			}
			return nil, err
		}
		resp, err := d.redeem(ctx, dr.DeviceCode)
		var se *ServerError
		switch {
		case err == nil:
			return resp, nil
		case !errors.As(err, &se):
			if ctx.Err() != nil {
				if errors.Is(ctx.Err(), context.DeadlineExceeded) {
					return nil, expired
				}
				return nil, ctx.Err()
			}
			// A network that comes and goes must not cost the person the code.
			d.sys.Logf(3, "polling: %v", err)
		case se.Code == "authorization_pending":
		case se.Code == "slow_down":
			interval += 5 * time.Second
		case se.Code == "expired_token", se.Code == "code_expired":
			return nil, expired
		case se.Code == "authorization_declined", se.Code == "access_denied" && se.Description == "":
			return nil, errors.New("the sign-in was declined in the browser")
		default:
			return nil, err
		}
	}
}

func (d *deviceCode) redeem(ctx context.Context, code string) (*tokenResponse, error) {
	if d.o.usesV1() {
		f := d.formV1("device_code")
		f.Set("code", code)
		return d.client.tokenV1(ctx, f)
	}
	f, err := d.form("device_code")
	if err != nil {
		return nil, err
	}
	f.Set("device_code", code)
	return d.client.token(ctx, f, false)
}

// cleanLines is clean for a text that may have several lines.
func cleanLines(s string) string {
	var out []string
	for line := range strings.Lines(s) {
		out = append(out, clean(line))
	}
	return strings.TrimSpace(strings.Join(out, "\n"))
}

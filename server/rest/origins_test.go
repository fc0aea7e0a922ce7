package rest

import (
	"encoding/json"
	"net/http"
	"net/url"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	ongairv1 "github.com/ongair/ongair-gateway/gen/go/ongair/v1"
	"github.com/ongair/ongair-gateway/server/auth"
)

const pageOrigin = "https://app.example.com"

// withOrigin allows pages of pageOrigin.
func withOrigin(g *gateway, _ map[string]auth.Caller) { g.origins = []string{pageOrigin} }

func TestPagesOfConfiguredOriginsMayCall(t *testing.T) {
	g := start(t, withCaller, withOrigin)
	preflight := func(origin, header string) http.Header {
		got := g.do(t, http.MethodOptions, sendPath, "", "Origin", origin, "Sec-Fetch-Site", "cross-site",
			"Access-Control-Request-Method", http.MethodPost, "Access-Control-Request-Headers", header)
		return got.header
	}
	for _, header := range []string{"authorization", "content-type", "idempotency-key", "last-event-id"} {
		assert.Equal(t, pageOrigin, preflight(pageOrigin, header).Get("Access-Control-Allow-Origin"), header)
		assert.Empty(t, preflight("https://evil.example", header).Get("Access-Control-Allow-Origin"), header)
	}
	assert.Empty(t, preflight(pageOrigin, "x-other").Get("Access-Control-Allow-Origin"))

	sent := g.send(t, "Origin", pageOrigin, "Sec-Fetch-Site", "cross-site", "Authorization", "Bearer "+apiKey)
	assert.Equal(t, http.StatusOK, sent.status, sent.body)
	assert.Equal(t, pageOrigin, sent.header.Get("Access-Control-Allow-Origin"))
	assert.Contains(t, sent.header.Values("Vary"), "Origin")
	assert.Empty(t, sent.header.Get("Access-Control-Allow-Credentials"))
	requireError(t, g.send(t, "Origin", "https://evil.example", "Sec-Fetch-Site", "cross-site", "Authorization", "Bearer "+apiKey),
		ongairv1.ErrorReason_ERROR_REASON_CROSS_ORIGIN)
}

func TestNoOriginIsAllowedByDefault(t *testing.T) {
	g := start(t)
	got := g.do(t, http.MethodOptions, sendPath, "", "Origin", pageOrigin, "Access-Control-Request-Method", http.MethodPost)
	requireError(t, got, ongairv1.ErrorReason_ERROR_REASON_METHOD_NOT_ALLOWED)
	assert.Empty(t, got.header.Get("Access-Control-Allow-Origin"))
}

// createTicket returns a ticket for the filters of a JSON body.
func (g *gateway) createTicket(t *testing.T, filters string) string {
	t.Helper()
	got := g.do(t, http.MethodPost, "/v1/events:createStreamTicket", filters, "Authorization", "Bearer "+apiKey)
	require.Equal(t, http.StatusOK, got.status, got.body)
	var ticket struct {
		Ticket     string
		ExpireTime string `json:"expire_time"`
	}
	require.NoError(t, json.Unmarshal([]byte(got.body), &ticket))
	assert.NotEmpty(t, ticket.ExpireTime)
	return ticket.Ticket
}

func TestATicketOpensAStreamWithItsFilters(t *testing.T) {
	g := start(t, withLog(t), withCaller)
	ticket := url.QueryEscape(g.createTicket(t, `{"notification_types":["Shown"]}`))
	first := g.addType(t, "Shown")
	g.addType(t, "Hidden")
	second := g.addType(t, "Shown")
	stream := g.sse(t, "?position=earliest&ticket="+ticket)
	assert.Equal(t, first, stream.message(t)["id"])
	assert.Equal(t, second, stream.message(t)["id"])
	resumed := g.sse(t, "?position=earliest&ticket="+ticket, lastEventID, first)
	assert.Equal(t, second, resumed.message(t)["id"], "a ticket can be used again")
	resumed = g.sse(t, "?cursor="+first+"&ticket="+ticket)
	assert.Equal(t, second, resumed.message(t)["id"])
}

func TestATicketIsRejectedUnlessItIsValidAndAlone(t *testing.T) {
	g := start(t, withLog(t), withCaller)
	ticket := url.QueryEscape(g.createTicket(t, `{}`))
	for query, reason := range map[string]ongairv1.ErrorReason{
		"?ticket=x": ongairv1.ErrorReason_ERROR_REASON_CREDENTIALS_INVALID,
		"?ticket=":  ongairv1.ErrorReason_ERROR_REASON_CREDENTIALS_MISSING,
		"":          ongairv1.ErrorReason_ERROR_REASON_CREDENTIALS_MISSING,
		"?ticket=" + ticket + "&ticket=" + ticket: ongairv1.ErrorReason_ERROR_REASON_CREDENTIALS_MISSING,
		"?ticket=" + ticket + "&channels=support": ongairv1.ErrorReason_ERROR_REASON_INVALID_REQUEST,
	} {
		requireError(t, g.do(t, http.MethodGet, subscribePath+query, ""), reason)
	}
	requireError(t, g.do(t, http.MethodGet, "/v1/events?ticket="+ticket, ""), ongairv1.ErrorReason_ERROR_REASON_CREDENTIALS_MISSING)
	requireError(t, g.do(t, http.MethodPost, sendPath+"?ticket="+ticket, sendBody), ongairv1.ErrorReason_ERROR_REASON_CREDENTIALS_MISSING)
	requireError(t, g.do(t, http.MethodPost, "/v1/events:createStreamTicket?ticket="+ticket, "{}"), ongairv1.ErrorReason_ERROR_REASON_CREDENTIALS_MISSING)
	got := g.do(t, http.MethodPost, "/v1/events:createStreamTicket", `{"channels":["nowhere"]}`, "Authorization", "Bearer "+apiKey)
	requireError(t, got, ongairv1.ErrorReason_ERROR_REASON_CHANNEL_UNKNOWN)
}

func TestATicketOfARevokedKeyIsRejected(t *testing.T) {
	g := start(t, withLog(t), withCaller)
	ticket := url.QueryEscape(g.createTicket(t, `{}`))
	stream := g.sse(t, "?ticket="+ticket)
	stream.message(t)
	g.authenticator.Replace(map[string]auth.Caller{"billing": auth.Unrestricted("another-key-0123456789")})
	requireError(t, g.do(t, http.MethodGet, subscribePath+"?ticket="+ticket, ""), ongairv1.ErrorReason_ERROR_REASON_CREDENTIALS_INVALID)
	g.service.Replace(g.channels)
	got := stream.message(t)
	assert.Equal(t, "end", got["event"])
	requireStatus(t, got["data"], ongairv1.ErrorReason_ERROR_REASON_CREDENTIALS_INVALID)
}

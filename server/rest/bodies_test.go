package rest

import (
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	ongairv1 "github.com/ongair/ongair-gateway/gen/go/ongair/v1"
	"github.com/ongair/ongair-gateway/server/fault"
	"github.com/ongair/ongair-gateway/server/listen"
)

// large pads body with spaces to the largest allowed size.
func large(body string) string { return body + strings.Repeat(" ", listen.MaxBodyBytes-len(body)) }

func TestAStreamDoesNotHoldItsLargeBody(t *testing.T) {
	g := start(t, withLog(t))
	for range 20 { // more than the memory for large bodies allows
		g.openStream(t, http.MethodPost, subscribePath, large(`{}`)).result(t)
	}
	assert.Equal(t, http.StatusOK, g.do(t, http.MethodPost, sendPath, large(sendBody)).status)
}

func TestALargeBodyWithoutRoomIsRejected(t *testing.T) {
	g := start(t)
	release, err := g.bodies.Reserve(t.Context(), 16<<20)
	require.NoError(t, err)
	got := g.do(t, http.MethodPost, sendPath, large(sendBody))
	s := requireError(t, got, ongairv1.ErrorReason_ERROR_REASON_CALLER_LIMITED)
	assert.Equal(t, map[string]string{"effect": "none", "limit": "body_bytes"}, fault.Info(s).GetMetadata())
	assert.Equal(t, "1", got.header.Get("Retry-After"))
	assert.Empty(t, g.taken())
	assert.Equal(t, http.StatusOK, g.send(t).status, "a small body is accepted")
	release()
	assert.Equal(t, http.StatusOK, g.do(t, http.MethodPost, sendPath, large(sendBody)).status)
}

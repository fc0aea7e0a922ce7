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

// large returns a body with spaces in it that make it as large as a body may be.
func large(body string) string { return body + strings.Repeat(" ", listen.MaxBodyBytes-len(body)) }

func TestAStreamDoesNotHoldItsLargeBody(t *testing.T) {
	g := start(t, withLog(t))
	for range 20 { // more than may be read at a time
		g.openStream(t, http.MethodPost, subscribePath, large(`{}`)).result(t)
	}
	assert.Equal(t, http.StatusOK, g.do(t, http.MethodPost, sendPath, large(sendBody)).status)
}

func TestALargeBodyThatFindsNoRoomIsRejected(t *testing.T) {
	g := start(t)
	release, err := g.bodies.Reserve(t.Context(), 16<<20)
	require.NoError(t, err)
	got := g.do(t, http.MethodPost, sendPath, large(sendBody))
	s := requireError(t, got, ongairv1.ErrorReason_ERROR_REASON_CALLER_LIMITED)
	assert.Equal(t, map[string]string{"effect": "none", "limit": "body_bytes"}, fault.Info(s).GetMetadata())
	assert.Equal(t, "1", got.header.Get("Retry-After"))
	assert.Empty(t, g.taken())
	assert.Equal(t, http.StatusOK, g.send(t).status, "a small one finds room")
	release()
	assert.Equal(t, http.StatusOK, g.do(t, http.MethodPost, sendPath, large(sendBody)).status)
}

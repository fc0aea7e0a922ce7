package ongair

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	ongairv1 "github.com/ongair/ongair-gateway/gen/go/ongair/v1"
	"github.com/ongair/ongair-gateway/server/fault"
)

func TestTheTokenIsRedactedInCauses(t *testing.T) {
	for name, token := range map[string]string{
		"unquoted":     testToken,
		"quoted by %q": `meow"\meow` + "\t" + `meow`,
	} {
		t.Run(name, func(t *testing.T) {
			client := newClient(t, listen(t, func(conn *net.TCPConn, _ int) {
				readRequest(bufio.NewReader(conn))
				_, _ = io.WriteString(conn, "GARBAGE "+token+"\r\n\r\n")
				_ = conn.Close()
			}), func(c *Config) { c.Token = token })
			_, err := send(t, client)
			f := requireFault(t, err, ongairv1.ErrorReason_ERROR_REASON_ONGAIR_CONNECTION_LOST, fault.EffectUnknown)
			assert.Contains(t, err.Error(), "[token]")
			for cause := f.Cause; cause != nil; cause = errors.Unwrap(cause) {
				assert.NotContains(t, cause.Error(), "meow")
			}
		})
	}
}

func TestAShortTokenIsNotRedactedWithinWords(t *testing.T) {
	client := newClient(t, serve(t, answering(422, "application/json", answerFile(t, "contact_unknown"))),
		func(c *Config) { c.Token = "t" })
	_, err := send(t, client)
	require.ErrorContains(t, err, "Contact with phone number 254705865640 does not exists")
}

func TestACauseWithoutTheTokenKeepsItsChain(t *testing.T) {
	broken := roundTripper(func(*http.Request) (*http.Response, error) { return nil, io.ErrClosedPipe })
	_, err := send(t, newClient(t, "http://ongair.im", func(c *Config) { c.Transport = broken }))
	assert.ErrorIs(t, err, io.ErrClosedPipe)
}

func TestTheLogHasOnlyMethodPathStatusAndDuration(t *testing.T) {
	var lines bytes.Buffer
	logger := slog.New(slog.NewJSONHandler(&lines, &slog.HandlerOptions{Level: slog.LevelDebug}))
	withLogger := func(c *Config) { c.Logger = logger }
	echo := serve(t, func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		w.WriteHeader(http.StatusUnauthorized)
		_, _ = w.Write(append(body, r.Header.Get("Authorization")...))
	})
	_, err := send(t, newClient(t, echo, withLogger))
	require.Error(t, err)
	_, err = send(t, newClient(t, unusedAddress(t), withLogger))
	require.Error(t, err)

	statuses := []float64{}
	for line := range strings.Lines(lines.String()) {
		var fields map[string]any
		require.NoError(t, json.Unmarshal([]byte(line), &fields))
		statuses = append(statuses, fields["status"].(float64))
		assert.Equal(t, "DEBUG", fields["level"])
		assert.Equal(t, "POST", fields["method"])
		assert.Equal(t, "/api/v1/base/send", fields["path"])
		assert.Contains(t, fields, "duration")
		assert.Len(t, fields, 7)
	}
	assert.Equal(t, []float64{401, 401, 0}, statuses)
	for _, secret := range []string{testToken, testText, testContact} {
		assert.NotContains(t, lines.String(), secret)
	}
}

func TestNoHeaderAllowsARetry(t *testing.T) {
	headers := make(chan http.Header, 4)
	client := newClient(t, serve(t, func(w http.ResponseWriter, r *http.Request) {
		headers <- r.Header
		answering(http.StatusOK, "application/json", answerSent)(w, r)
	}))
	ctx := context.Background()
	_, err := client.Send(ctx, Text{})
	require.NoError(t, err)
	_, err = client.SendImage(ctx, Image{})
	require.NoError(t, err)
	_, err = client.SendDocument(ctx, Document{})
	require.NoError(t, err)
	_, err = client.CreateTicket(ctx, Ticket{})
	require.NoError(t, err)
	for range 4 {
		header := <-headers
		assert.NotContains(t, header, "Idempotency-Key")
		assert.NotContains(t, header, "X-Idempotency-Key")
		assert.Equal(t, "ongair-gateway", header.Get("User-Agent"))
		assert.Equal(t, "application/json", header.Get("Accept"))
	}
}

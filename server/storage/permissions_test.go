package storage_test

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/ongair/ongair-gateway/server/storage"
	"github.com/ongair/ongair-gateway/server/storage/storagetest"
)

func TestAllMissingPermissionsAreListed(t *testing.T) {
	server := storagetest.Serve(t, storagetest.ParseSettings(t, `
		authorization: {users: [{user: u, password: p, permissions: {
			publish: {allow: ["$JS.API.INFO", "$JS.API.STREAM.*.S", "s.>"]}
			subscribe: {allow: "_INBOX.ONGAIR.>"}
		}}]}`))
	log := newWaitingLog()
	s, err := open(t, storage.Config{
		URL: server.URL(), External: storage.External{Username: "u", PasswordFile: file(t, "p")}, Logger: log.logger(),
	})
	require.NoError(t, err)
	_, err = s.OpenStream(t.Context(), storage.StreamConfig{Name: "S", Subject: "s."})
	require.EqualError(t, err, "missing permission to publish to $JS.API.DIRECT.GET.S, $JS.API.CONSUMER.CREATE.S.permission-check, "+
		"$JS.FC.S.permission-check: add it to the permissions of the NATS user")
	assert.NotContains(t, log.String(), "waiting for NATS")

	_, err = open(t, storage.Config{URL: server.URL(), External: storage.External{Username: "u", PasswordFile: file(t, "p"), Prefix: "other"}})
	require.ErrorContains(t, err, "missing permission to subscribe to _INBOX.other_ONGAIR.>: ")
}

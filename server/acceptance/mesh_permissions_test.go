package acceptance

import (
	"encoding/json"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	ongairv1 "github.com/ongair/ongair-gateway/gen/go/ongair/v1"
	"github.com/ongair/ongair-gateway/server"
	"github.com/ongair/ongair-gateway/server/config"
	. "github.com/ongair/ongair-gateway/server/servertest"
	"github.com/ongair/ongair-gateway/server/storage/storagetest"
)

// documentedUser returns the NATS accounts of the documentation, which have one user.
func documentedUser(t *testing.T) (accounts storagetest.Settings, password string) {
	t.Helper()
	text, err := os.ReadFile("../../docs/configuration.md")
	require.NoError(t, err)
	_, block, found := strings.Cut(string(text), "\n```\naccounts {")
	require.True(t, found)
	block, _, found = strings.Cut(block, "\n```\n")
	require.True(t, found)
	return storagetest.ParseSettings(t, "accounts {"+block), "replace this"
}

// as authenticates a gateway as the documented user.
func as(t *testing.T, nats *storagetest.Server, password string) func(*config.Config) {
	t.Helper()
	file := filepath.Join(TempDir(t), "password")
	require.NoError(t, os.WriteFile(file, []byte(password+"\n"), 0o600))
	return func(c *config.Config) {
		c.NATSURL, c.DataDir, c.NATSUsername, c.NATSPasswordFile = nats.URL(), "", "gateway", file
	}
}

func TestTheDocumentedPermissionsAreEnough(t *testing.T) {
	accounts, password := documentedUser(t)
	nats := storagetest.Serve(t, accounts)
	g := Start(t, as(t, nats, password))
	r := NewRecorder(t)
	work := func(g *Gateway, from int) {
		t.Helper()
		r.Subscribe("before", OverSSE{}, g.Endpoints(), &ongairv1.SubscribeRequest{})
		for i := range 40 {
			require.Equal(t, http.StatusOK, r.Post(g.WebhookURL(Channel), Channel, received(from+i, "Hi")...))
		}
		r.Subscribe("all", OverGRPC{}, g.Endpoints(), earliest())
		r.Subscribe("lines", OverNDJSON{}, g.Endpoints(), earliest())
		r.CatchUp(g.Endpoints())
		conn, err := Dial(g.Endpoints())
		require.NoError(t, err)
		defer func() { assert.NoError(t, conn.Close()) }()
		client := ongairv1.NewOngairServiceClient(conn)
		for range 2 {
			_, err = client.Send(t.Context(), &ongairv1.SendRequest{ExternalId: Contact, Text: "Hello", RequestId: "one"})
			require.NoError(t, err)
		}
		assert.Len(t, g.Sandbox.Requests(), 1)
		ticket, err := client.CreateStreamTicket(t.Context(), &ongairv1.CreateStreamTicketRequest{})
		require.NoError(t, err)
		assert.NotEmpty(t, ticket)
	}
	work(g, 0)
	g = g.Restart(t)
	work(g, 100)
	r.Verify(g.Endpoints())
}

// Each permission is needed: without it, the start fails and names it.
func TestAMissingPermissionFailsTheStart(t *testing.T) {
	accounts, password := documentedUser(t)
	encoded, err := json.Marshal(accounts)
	require.NoError(t, err)
	allowed := func(accounts storagetest.Settings, permission string) map[string]any {
		users := accounts["accounts"].(map[string]any)["ONGAIR"].(map[string]any)["users"].([]any)
		return users[0].(map[string]any)["permissions"].(map[string]any)[permission].(map[string]any)
	}
	for _, permission := range []string{"publish", "subscribe"} {
		for _, subject := range allowed(accounts, permission)["allow"].([]any) {
			t.Run(subject.(string), func(t *testing.T) {
				t.Parallel()
				var without storagetest.Settings
				require.NoError(t, json.Unmarshal(encoded, &without))
				list := allowed(without, permission)
				list["allow"] = append(slices.DeleteFunc(list["allow"].([]any), func(s any) bool { return s == subject }), "another")
				nats := storagetest.Serve(t, without)
				cfg := config.Config{
					GRPCAddr: "127.0.0.1:0", HTTPAddr: "127.0.0.1:0", WebhookAddr: "127.0.0.1:0", AdminAddr: "127.0.0.1:0",
					Channels: map[string]config.Channel{Channel: {Token: Token, WebhookSecret: Secret}},
				}
				cfg.Logger = slog.New(slog.DiscardHandler)
				as(t, nats, password)(&cfg)
				gateway, err := server.New(cfg)
				require.NoError(t, err)
				err = gateway.Run(t.Context())
				require.ErrorContains(t, err, "missing permission to "+permission+" to ")
				assert.ErrorContains(t, err, strings.TrimRight(subject.(string), ">*"))
			})
		}
	}
}

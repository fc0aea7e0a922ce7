package acceptance

import (
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/ongair/ongair-gateway/server"
	"github.com/ongair/ongair-gateway/server/config"
	. "github.com/ongair/ongair-gateway/server/servertest"
	"github.com/ongair/ongair-gateway/server/storage/storagetest"
)

func TestALogOnNATSOverTLS(t *testing.T) {
	cert, key := Certificate(t, TempDir(t))
	// The certificate is its own authority. The server requires it also from its clients.
	nats := storagetest.Serve(t, storagetest.Settings{
		"tls": storagetest.Settings{"cert_file": cert, "key_file": key, "ca_file": cert, "verify": true},
	})
	var cfg config.Config
	g := Start(t, func(c *config.Config) {
		c.NATSURL, c.DataDir, c.NATSTLSCAFile, c.NATSTLSCertFile, c.NATSTLSKeyFile = nats.URL(), "", cert, cert, key
		cfg = *c
	})
	r := NewRecorder(t)
	require.Equal(t, http.StatusOK, r.Post(g.WebhookURL(Channel), Channel, received(1, "Hi")...))
	r.Verify(g.Endpoints())
	cfg.Logger = g.Config.Logger
	for name, change := range map[string]func(*config.Config){
		"no client certificate": func(c *config.Config) { c.NATSTLSCertFile, c.NATSTLSKeyFile = "", "" },
		"no authority":          func(c *config.Config) { c.NATSTLSCAFile = "" },
	} {
		t.Run(name, func(t *testing.T) {
			cfg := cfg
			change(&cfg)
			gateway, err := server.New(cfg)
			require.NoError(t, err)
			began := time.Now()
			require.ErrorContains(t, gateway.Run(t.Context()), "tls: ")
			require.Less(t, time.Since(began), 20*time.Second, "the start must not wait")
		})
	}
}

package storage

import (
	"fmt"
	"log/slog"
	"os"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// A server that is frozen, or that the network has lost, does not close its connections. A gateway
// leaves it after three pings without an answer, or a write that blocks: after 6 s at most. An
// embedded server is not pinged, because it answers only once the disk does.
const (
	pingInterval = 2 * time.Second
	maxPingsOut  = 2
	writeTimeout = 4 * time.Second
)

// External configures the connection to an external server, and what the gateway stores there.
// Its files are read at the start and at every reconnect, so their content can be replaced while
// the gateway runs. The exception is the public key of NKeyFile, which is read once.
type External struct {
	// CredentialsFile has the JWT and the seed of a user (.creds). NKeyFile has the seed of an
	// NKey. PasswordFile has the password of Username. TokenFile has a token. At most one of
	// these identifies the gateway.
	CredentialsFile, NKeyFile, Username, PasswordFile, TokenFile string
	// CAFile has the authorities of the server's certificate, in PEM. CertFile and KeyFile are
	// the client's certificate. If one of these is set, the connection must use TLS.
	CAFile, CertFile, KeyFile string
	// Domain is the JetStream domain of the log. Empty means that of the server.
	Domain string
	// Prefix begins the names of all streams and buckets, and the subjects of events. It has only
	// letters, digits, "-" and "_". Gateways with different prefixes share nothing.
	Prefix string
	// Replicas is the number of copies of each stream, 1 to 5. 0 means that a stream keeps its
	// number, and that a new stream has 1.
	Replicas int
	// PlacementCluster and PlacementTags select the servers of each stream. If both are empty, a
	// stream keeps its placement.
	PlacementCluster string
	PlacementTags    []string
}

// options returns the options of the connection. It fails if a file cannot be used.
func (e External) options(log *slog.Logger) ([]nats.Option, error) {
	options := []nats.Option{
		// The inbox has a name of its own. Otherwise the gateway would need the permission to
		// subscribe to the answers of all other clients of the account.
		nats.CustomInboxPrefix(inboxes + e.name(inboxName)),
		// After the same error twice, the client would close the connection for good. A password
		// may be replaced on the server before it is replaced here.
		nats.IgnoreAuthErrorAbort(),
		nats.MaxReconnects(-1),
		nats.PingInterval(pingInterval),
		nats.MaxPingsOutstanding(maxPingsOut),
		nats.FlusherTimeout(writeTimeout),
		nats.ReconnectOnFlusherError(),
	}
	if e.CredentialsFile != "" {
		options = append(options, nats.UserCredentials(e.CredentialsFile))
	}
	if e.NKeyFile != "" {
		seed, err := nats.NkeyOptionFromSeed(e.NKeyFile)
		if err != nil {
			return nil, fmt.Errorf("NKey in %s: %w", e.NKeyFile, err)
		}
		options = append(options, seed)
	}
	if e.PasswordFile != "" {
		read, err := secretFile(e.PasswordFile, log)
		if err != nil {
			return nil, err
		}
		options = append(options, nats.UserInfoHandler(func() (string, string) { return e.Username, read() }))
	}
	if e.TokenFile != "" {
		read, err := secretFile(e.TokenFile, log)
		if err != nil {
			return nil, err
		}
		options = append(options, nats.TokenHandler(read))
	}
	if e.CAFile != "" {
		options = append(options, nats.RootCAs(e.CAFile))
	}
	if e.CertFile != "" {
		options = append(options, nats.ClientCert(e.CertFile, e.KeyFile))
	}
	return options, nil
}

// secretFile returns a function that returns the content of a file without white space around it.
// It fails if the file cannot be read. If the file cannot be read later, the function logs that
// and returns an empty text, which the server rejects.
func secretFile(path string, log *slog.Logger) (read func() string, err error) {
	if _, err := os.ReadFile(path); err != nil {
		return nil, err
	}
	return func() string {
		content, err := os.ReadFile(path)
		if err != nil {
			log.Error("cannot read a file for the connection to NATS", "error", err)
		}
		return strings.TrimSpace(string(content))
	}, nil
}

const (
	// inboxes is the prefix of all inboxes in NATS, and inboxName the gateway's part.
	inboxes   = "_INBOX."
	inboxName = "ONGAIR"
)

// name returns the name of a stream or bucket with the prefix.
func (e External) name(of string) string {
	if e.Prefix == "" {
		return of
	}
	return e.Prefix + "_" + of
}

// subjects returns what the subjects of events begin with.
func (e External) subjects() string {
	if e.Prefix == "" {
		return ""
	}
	return e.Prefix + "."
}

// apiPrefix returns the prefix of the subjects of JetStream's API.
func (e External) apiPrefix() string {
	if e.Domain == "" {
		return jetstream.DefaultAPIPrefix
	}
	return "$JS." + e.Domain + ".API."
}

// recordPrefix is what the subject of a record begins with when it is published. A leaf node does
// not forward $KV to another domain, and JetStream maps this prefix to it.
func (e External) recordPrefix() string {
	if e.Domain == "" {
		return ""
	}
	return e.apiPrefix()
}

// placement returns where streams are placed, or nil.
func (e External) placement() *jetstream.Placement {
	if e.PlacementCluster == "" && len(e.PlacementTags) == 0 {
		return nil
	}
	return &jetstream.Placement{Cluster: e.PlacementCluster, Tags: e.PlacementTags}
}

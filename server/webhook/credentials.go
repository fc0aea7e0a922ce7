package webhook

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"log/slog"
	"net/http"
	"strings"
	"sync/atomic"
	"time"
)

// Credentials are what the webhooks of a channel have to know.
type Credentials struct {
	// Secret is the last part of the path. Previous, where it is not empty, is the one
	// before, which is valid, too, until Ongair's settings have the new one.
	Secret, Previous string
	// Username and Password, where they are not both empty, are asked for besides, as
	// HTTP basic authentication: in Ongair's settings they stand in the URL, before the
	// host. PreviousPassword, where it is not empty, is valid, too.
	Username, Password, PreviousPassword string
}

// hash is that of a secret. Hashes are compared in place of secrets, since they are
// all of one length.
type hash [sha256.Size]byte

func hashOf(s string) hash { return sha256.Sum256([]byte(s)) }

func (h hash) is(other hash) bool { return subtle.ConstantTimeCompare(h[:], other[:]) == 1 }

// credentials are Credentials as they are compared. What is not asked for is a
// decoy, so that it takes as long.
type credentials struct {
	channel                                string
	secret, previous, basic, previousBasic hash
	askBasic                               bool

	// uses of the previous secret or password, and when one was last logged.
	uses   atomic.Int64
	logged atomic.Int64
}

// decoy returns a hash that no secret has.
func decoy() (h hash) {
	_, _ = rand.Read(h[:]) // never fails: see crypto/rand.Read
	return h
}

func newCredentials(channel string, in Credentials) *credentials {
	c := &credentials{channel: channel, secret: hashOf(in.Secret), previous: decoy(), basic: decoy(), previousBasic: decoy()}
	if in.Secret == "" {
		c.secret = decoy()
	}
	if in.Previous != "" {
		c.previous = hashOf(in.Previous)
	}
	if c.askBasic = in.Username != "" || in.Password != ""; c.askBasic {
		c.basic = hashOf(in.Username + ":" + in.Password)
	}
	if in.PreviousPassword != "" {
		c.previousBasic = hashOf(in.Username + ":" + in.PreviousPassword)
	}
	return c
}

// admit reports whether a request with a secret in its path knows all that it has to.
// It takes the same time whatever of it is wrong.
func (c *credentials) admit(r *http.Request, secret string) (ok, previous bool) {
	username, password, _ := r.BasicAuth()
	gotSecret, gotBasic := hashOf(secret), hashOf(username+":"+password)
	current, old := gotSecret.is(c.secret), gotSecret.is(c.previous)
	currentBasic, oldBasic := gotBasic.is(c.basic) || !c.askBasic, gotBasic.is(c.previousBasic)
	return (current || old) && (currentBasic || oldBasic), !current || !currentBasic
}

// logEvery is how often the use of a previous secret is logged at most: a channel may
// have thousands of webhooks a second.
const logEvery = time.Minute

// usedPrevious counts the use of the previous secret or password, and says so now and then: once
// nothing is said any more, it can go.
func (c *credentials) usedPrevious(logger *slog.Logger) {
	uses, now, logged := c.uses.Add(1), time.Now().UnixNano(), c.logged.Load()
	if now-logged < int64(logEvery) || !c.logged.CompareAndSwap(logged, now) {
		return
	}
	logger.Warn("a webhook came with the channel's previous secret or password: give Ongair the new one before this one goes",
		"channel", c.channel, "uses", uses)
}

// splitPath returns the channel and the secret of a webhook's path. Of another path
// the secret is empty.
func splitPath(path string) (channel, secret string) {
	rest, ok := strings.CutPrefix(path, pathPrefix)
	channel, secret, _ = strings.Cut(rest, "/")
	if !ok {
		return channel, ""
	}
	return channel, secret
}

package webhook

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"log/slog"
	"net/http"
	"time"

	"github.com/ongair/ongair-gateway/server/telemetry"
)

// Credentials are the credentials of a channel's webhooks.
type Credentials struct {
	// Secret is the last part of the path. Previous is also valid unless it is empty, so that the
	// secret can be replaced.
	Secret, Previous string
	// Username and Password are required as HTTP basic authentication, unless both are empty. In
	// Ongair's settings they are in the URL, before the host. PreviousPassword is also valid
	// unless it is empty.
	Username, Password, PreviousPassword string
}

// hash is the hash of a secret. Hashes are compared instead of secrets, because they have one length.
type hash struct {
	_   [0]func() // prevents ==, whose duration reveals where two hashes differ
	sum [sha256.Size]byte
}

func hashOf(s string) hash { return hash{sum: sha256.Sum256([]byte(s))} }

func (h hash) is(other hash) bool { return subtle.ConstantTimeCompare(h.sum[:], other.sum[:]) == 1 }

// credentials are Credentials in the form for comparisons. A credential that is not required is a
// decoy, so that a comparison takes the same time.
type credentials struct {
	channel                                string
	secret, previous, basic, previousBasic hash
	askBasic                               bool

	// previousUses are of the previous secret or password, rejections of requests that lack
	// something.
	previousUses *telemetry.Throttle
	rejections   *telemetry.Throttles[cause]
	// problems are of webhooks that are not as Ongair documents them, and idReuses of ids that
	// came again with another content.
	problems, idReuses *telemetry.Throttle
}

// decoy returns a hash that no secret has.
func decoy() (h hash) {
	_, _ = rand.Read(h.sum[:]) // never fails: see crypto/rand.Read
	return h
}

func newCredentials(channel string, in Credentials) *credentials {
	c := &credentials{channel: channel, secret: hashOf(in.Secret), previous: decoy(), basic: decoy(), previousBasic: decoy()}
	c.previousUses, c.rejections = telemetry.NewThrottle(logInterval, 1), telemetry.NewThrottles[cause](logInterval, 1)
	c.problems, c.idReuses = telemetry.NewThrottle(logInterval, 1), telemetry.NewThrottle(logInterval, 1)
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

// admit compares a request with the credentials. It returns which one is wrong, and whether a
// previous one was used. It takes the same time in all cases.
func (c *credentials) admit(r *http.Request, secret string) (wrong cause, previous bool) {
	username, password, _ := r.BasicAuth()
	gotSecret, gotBasic := hashOf(secret), hashOf(username+":"+password)
	current, old := gotSecret.is(c.secret), gotSecret.is(c.previous)
	currentBasic, oldBasic := gotBasic.is(c.basic) || !c.askBasic, gotBasic.is(c.previousBasic)
	switch {
	case !current && !old:
		wrong = wrongSecret
	case !currentBasic && !oldBasic:
		wrong = wrongPassword
	}
	return wrong, !current || !currentBasic
}

// cause is why a request is rejected.
type cause int

const (
	notRejected cause = iota
	wrongSecret
	wrongPassword
	wrongNetwork
	// wrongPath is of a request that has a channel's secret in its path, in another place.
	wrongPath
)

func (c cause) String() string {
	return [...]string{"nothing", "the secret", "the user name or password", "the sender's network", "right secret, wrong path: use " + Path("CHANNEL", "SECRET")}[c]
}

// logInterval is the shortest time between two lines about a channel's credentials. A channel may have
// thousands of webhooks a second.
const logInterval = time.Minute

// logPreviousUse logs that the previous secret or password was used. When the line stops, the previous
// one can be removed.
func (c *credentials) logPreviousUse(logger *slog.Logger) {
	if suppressed, ok := c.previousUses.Allow(); ok {
		logger.Warn("webhook used the channel's previous secret or password: configure the new one in Ongair",
			"channel", c.channel, "suppressed", suppressed)
	}
}

// logRejection logs that a request was rejected. The sender gets no reason, so an operator who changed
// a secret or a proxy finds it in the log. A request for an unknown channel is probably a scan, and
// is logged at a lower level, with the same work.
func (c *credentials) logRejection(logger *slog.Logger, wrong cause, sender string) {
	level := slog.LevelWarn
	if c.channel == "" {
		level = slog.LevelInfo
	}
	if suppressed, ok := c.rejections.Allow(wrong); ok {
		logger.Log(context.Background(), level, "a webhook was rejected with 404",
			"channel", c.channel, "wrong", wrong.String(), "sender", sender, "suppressed", suppressed)
	}
}

// logProblem logs that a webhook of the channel is not as Ongair documents it, if there is a
// problem. It was stored all the same.
func (c *credentials) logProblem(logger *slog.Logger, problem string) {
	if problem == "" {
		return
	}
	if suppressed, ok := c.problems.Allow(); ok {
		logger.Warn("webhook stored without a type or in raw form: filters by type do not match it",
			"channel", c.channel, "problem", problem, "suppressed", suppressed)
	}
}

// logReuse logs that an id of Ongair's came again with another content, as another event.
func (c *credentials) logReuse(logger *slog.Logger, id string) {
	if suppressed, ok := c.idReuses.Allow(); ok {
		logger.Warn("message id repeated with other content: both are delivered",
			"channel", c.channel, "event", id, "suppressed", suppressed)
	}
}

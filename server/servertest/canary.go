package servertest

import (
	"io"
	"reflect"
	"strings"
	"sync"

	"github.com/stretchr/testify/assert"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/ongair/ongair-gateway/server/auth"
	"github.com/ongair/ongair-gateway/server/config"
	"github.com/ongair/ongair-gateway/server/sandbox"
)

// A gateway's log MUST NOT contain secrets, contacts or texts. This package records such values
// and searches the log for them:
//
//   - Start, Restart and Reload record the secrets of a Config.
//   - Dial records the values of requests.
//   - A Recorder records the values of webhooks and subscriptions.
//   - StartSandbox records the values of calls to the sandbox.
//   - Given records any other value.

// Values shorter than minCanary bytes are not recorded, because they could be words of the log.
// Longer values are cut to maxCanary bytes.
const minCanary, maxCanary = 8, 64

// given has the recorded values of all tests of a binary.
//
//nolint:gochecknoglobals // a value may be logged by any gateway, such as that of a parent test
var given = canaries{
	values:    map[string]struct{}{},
	hashes:    map[auth.KeyHash]struct{}{},
	sandboxes: map[*sandbox.Sandbox]struct{}{},
}

// canaries is safe for concurrent use.
type canaries struct {
	mu        sync.Mutex
	values    map[string]struct{}
	hashes    map[auth.KeyHash]struct{}
	sandboxes map[*sandbox.Sandbox]struct{} // running ones
}

// Given records values that no log may contain.
func Given(values ...string) {
	given.mu.Lock()
	defer given.mu.Unlock()
	given.add(values...)
}

func (c *canaries) add(values ...string) {
	for _, value := range values {
		value = strings.TrimPrefix(value, "+") // a phone number may be logged without it
		if len(value) >= minCanary && !isDocumented(value) {
			c.values[value[:min(len(value), maxCanary)]] = struct{}{}
		}
	}
}

// isDocumented reports whether a value is a documented notification_type, which may be logged.
func isDocumented(value string) bool {
	switch value {
	case "MessageSent", "MessageReceived", "ImageReceived", "TicketStatusUpdated", "LocationReceived", "DeliveryReceipt",
		"GroupMessageReceived", "ContactAddedToGroup", "ContactRemovedFromGroup", "GroupCreated":
		return true
	}
	return false
}

// givenConfig records the secrets of a configuration.
func givenConfig(cfg config.Config) {
	Given(secretsOf(reflect.ValueOf(cfg))...)
	given.mu.Lock()
	defer given.mu.Unlock()
	for _, caller := range cfg.Callers {
		for _, hash := range caller.KeyHashes {
			given.hashes[hash] = struct{}{}
		}
	}
}

// secretsOf returns every string in a value, except for public fields. A new setting is a secret by
// default.
func secretsOf(v reflect.Value) (secrets []string) {
	switch {
	case v.Type() == reflect.TypeFor[string]():
		secrets = append(secrets, v.String())
	case v.Kind() == reflect.Slice:
		for i := range v.Len() {
			secrets = append(secrets, secretsOf(v.Index(i))...)
		}
	case v.Kind() == reflect.Map:
		for _, value := range v.Seq2() {
			secrets = append(secrets, secretsOf(value)...)
		}
	case v.Kind() == reflect.Struct:
		for field, value := range v.Fields() {
			if field.IsExported() && !isPublic(v.Type(), field) {
				secrets = append(secrets, secretsOf(value)...)
			}
		}
	}
	return secrets
}

// isPublic reports whether a field may be logged.
func isPublic(of reflect.Type, field reflect.StructField) bool {
	switch of.Name() + "." + field.Name {
	case "Channel.BaseURL", "Caller.Channels", "Caller.Certificates":
		return true
	}
	// Settings that require a restart are addresses and paths. The password in a NATS URL is
	// tested in server/storage.
	_, fixed := field.Tag.Lookup("restart")
	return fixed
}

// givenMessage records the values of a request, except for public ones.
func givenMessage(m proto.Message) {
	m.ProtoReflect().Range(func(field protoreflect.FieldDescriptor, value protoreflect.Value) bool {
		switch field.Name() {
		case "channel", "channels", "cursor":
			return true
		}
		switch {
		case field.Kind() != protoreflect.StringKind:
		case field.IsList():
			for i := range value.List().Len() {
				Given(value.List().Get(i).String())
			}
		default:
			Given(value.String())
		}
		return true
	})
}

// watch records the calls of a sandbox until unwatch.
func (c *canaries) watch(box *sandbox.Sandbox) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.sandboxes[box] = struct{}{}
}

func (c *canaries) unwatch(box *sandbox.Sandbox) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.collect(box)
	delete(c.sandboxes, box)
}

func (c *canaries) collect(box *sandbox.Sandbox) {
	for _, request := range box.Requests() {
		for _, value := range request.Params {
			c.add(value)
		}
	}
}

// found returns the recorded values that are in a log.
func (c *canaries) found(log string) (found []string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for box := range c.sandboxes {
		c.collect(box)
	}
	for value := range c.values {
		if strings.Contains(log, value) {
			found = append(found, value)
		}
	}
	for word := range strings.FieldsFuncSeq(log, notInKey) {
		if _, is := c.hashes[auth.HashKey(word)]; is {
			found = append(found, word)
		}
	}
	return found
}

// notInKey reports whether a character cannot be part of a key.
func notInKey(r rune) bool {
	return r != '_' && r != '-' && (r < '0' || r > '9') && (r < 'A' || r > 'Z') && (r < 'a' || r > 'z')
}

// AssertNoCanary asserts that a log of the default level or above contains no recorded value.
func AssertNoCanary(t T, log string) {
	t.Helper()
	assert.Empty(t, given.found(log), "the log contains secrets, contacts or texts")
}

// checkedLog is a writer for a gateway's log, which is checked at the end of the test.
type checkedLog struct {
	io.Writer
	mu  sync.Mutex
	all strings.Builder
}

func newCheckedLog(t T) *checkedLog {
	l := &checkedLog{Writer: t.Output()}
	t.Cleanup(func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		AssertNoCanary(t, l.all.String())
	})
	return l
}

// Write is safe for concurrent use.
func (l *checkedLog) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.all.Write(b)
	return l.Writer.Write(b)
}

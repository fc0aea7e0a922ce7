package storage_test

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nkeys"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/ongair/ongair-gateway/server/servertest/syncbuffer"
	"github.com/ongair/ongair-gateway/server/storage"
	"github.com/ongair/ongair-gateway/server/storage/storagetest"
)

// waitingLog is a log that reports its first "waiting for NATS".
type waitingLog struct {
	syncbuffer.Buffer
	once    sync.Once
	waiting chan struct{}
}

func newWaitingLog() *waitingLog { return &waitingLog{waiting: make(chan struct{})} }

func (l *waitingLog) Write(line []byte) (int, error) {
	n, err := l.Buffer.Write(line)
	if bytes.Contains(line, []byte("waiting for NATS")) {
		l.once.Do(func() { close(l.waiting) })
	}
	return n, err
}

func (l *waitingLog) logger() *slog.Logger { return slog.New(slog.NewTextHandler(l, nil)) }

// file writes a file with a secret, and returns its path.
func file(t *testing.T, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "secret")
	require.NoError(t, os.WriteFile(path, []byte(content), 0o600))
	return path
}

// appendTo opens a stream and appends a message, which it returns as read and followed.
func appendTo(t *testing.T, s *storage.Storage) {
	t.Helper()
	stream, err := s.OpenStream(t.Context(), storage.StreamConfig{Name: "S", Subject: "s."})
	require.NoError(t, err)
	_, err = stream.Append(t.Context(), storage.Message{Subject: "s.1", ID: "1", Data: []byte("data")})
	require.NoError(t, err)
	read := 0
	_, err = stream.Read(t.Context(), storage.ReadRequest{From: 1, MaxMessages: 10, Subject: "s.1"}, func(uint64, []byte) bool {
		read++
		return true
	})
	require.NoError(t, err)
	assert.Equal(t, 1, read)
	ctx, cancel := context.WithCancel(t.Context())
	err = stream.Follow(ctx, 1, func() {}, func(uint64, []byte) { cancel() })
	require.ErrorIs(t, err, context.Canceled)
	records, err := s.OpenRecords(t.Context(), storage.RecordsConfig{Bucket: "R", MaxAge: time.Hour})
	require.NoError(t, err)
	revision, err := records.Put(t.Context(), "key", []byte("value"), 0)
	require.NoError(t, err)
	record, err := records.Get(t.Context(), "key")
	require.NoError(t, err)
	assert.Equal(t, storage.Record{Exists: true, Data: []byte("value"), Revision: revision}, record)
	// Puts at the same time are batches.
	var puts sync.WaitGroup
	for i := range 40 {
		puts.Go(func() {
			key := fmt.Sprint("key-", i)
			_, err := records.Put(t.Context(), key, []byte("value"), 0)
			assert.NoError(t, err)
			_, err = records.Put(t.Context(), key, []byte("other"), 0)
			assert.ErrorIs(t, err, storage.ErrConflict)
		})
	}
	puts.Wait()
}

func TestFilesIdentifyTheGateway(t *testing.T) {
	for name, start := range map[string]func(*testing.T) (storagetest.Settings, storage.External){
		"a password": func(t *testing.T) (storagetest.Settings, storage.External) {
			return storagetest.Settings{"authorization": storagetest.Settings{"user": "u", "password": "p"}},
				storage.External{Username: "u", PasswordFile: file(t, "p\n")}
		},
		"a token": func(t *testing.T) (storagetest.Settings, storage.External) {
			return storagetest.Settings{"authorization": storagetest.Settings{"token": "t"}},
				storage.External{TokenFile: file(t, "t\n")}
		},
		"an NKey": func(t *testing.T) (storagetest.Settings, storage.External) {
			seed, public := newKey(t, nkeys.PrefixByteUser)
			return storagetest.Settings{"authorization": storagetest.Settings{"users": []any{storagetest.Settings{"nkey": public}}}},
				storage.External{NKeyFile: file(t, seed+"\n")}
		},
		"credentials": func(t *testing.T) (storagetest.Settings, storage.External) {
			return newOperator(t)
		},
	} {
		t.Run(name, func(t *testing.T) {
			settings, external := start(t)
			server := storagetest.Serve(t, settings)
			s, err := open(t, storage.Config{URL: server.URL(), External: external})
			require.NoError(t, err)
			appendTo(t, s)

			_, err = open(t, storage.Config{URL: server.URL()})
			require.ErrorContains(t, err, "Authorization Violation")
		})
	}
}

func newKey(t *testing.T, kind nkeys.PrefixByte) (seed, public string) {
	t.Helper()
	pair, err := nkeys.CreatePair(kind)
	require.NoError(t, err)
	text, err := pair.Seed()
	require.NoError(t, err)
	public, err = pair.PublicKey()
	require.NoError(t, err)
	return string(text), public
}

// newOperator returns the settings of a server with an operator, an account for its system and one
// with JetStream, and the credentials of a user.
func newOperator(t *testing.T) (storagetest.Settings, storage.External) {
	t.Helper()
	operator, err := nkeys.CreateOperator()
	require.NoError(t, err)
	operatorKey, err := operator.PublicKey()
	require.NoError(t, err)
	_, systemKey := newKey(t, nkeys.PrefixByteAccount)
	account, err := nkeys.CreateAccount()
	require.NoError(t, err)
	accountKey, err := account.PublicKey()
	require.NoError(t, err)
	seed, userKey := newKey(t, nkeys.PrefixByteUser)

	claims := jwt.NewAccountClaims(accountKey)
	claims.Limits.JetStreamLimits = jwt.JetStreamLimits{MemoryStorage: -1, DiskStorage: -1, Streams: -1, Consumer: -1}
	encode := func(claims jwt.Claims, signer nkeys.KeyPair) string {
		text, err := claims.Encode(signer)
		require.NoError(t, err)
		return text
	}
	user, err := jwt.FormatUserConfig(encode(jwt.NewUserClaims(userKey), account), []byte(seed))
	require.NoError(t, err)
	return storagetest.Settings{
		"operator":       encode(jwt.NewOperatorClaims(operatorKey), operator),
		"system_account": systemKey,
		"resolver":       "MEMORY",
		"resolver_preload": storagetest.Settings{
			systemKey:  encode(jwt.NewAccountClaims(systemKey), operator),
			accountKey: encode(claims, operator),
		},
	}, storage.External{CredentialsFile: file(t, string(user))}
}

func TestAReplacedPasswordIsReadAtAReconnect(t *testing.T) {
	authorized := storagetest.Settings{"user": "u", "password": "old"}
	server := storagetest.Serve(t, storagetest.Settings{"authorization": authorized})
	path := file(t, "old")
	s, err := open(t, storage.Config{URL: server.URL(), External: storage.External{Username: "u", PasswordFile: path}})
	require.NoError(t, err)
	appendTo(t, s)
	server.Stop()
	authorized["password"] = "new"
	server.Start(t)
	rejected := time.Now()
	for time.Since(rejected) < 5*time.Second && s.URL() == "" { // several attempts fail
		time.Sleep(10 * time.Millisecond)
	}
	require.NoError(t, os.WriteFile(path, []byte("new"), 0o600))
	require.Eventually(t, func() bool { return s.URL() != "" }, 20*time.Second, 10*time.Millisecond)
}

func TestStoragesWithDifferentPrefixesShareNothing(t *testing.T) {
	server := storagetest.Serve(t, nil)
	var opened []*storage.Storage
	for _, prefix := range []string{"", "a", "b"} {
		s, err := open(t, storage.Config{URL: server.URL(), External: storage.External{Prefix: prefix}})
		require.NoError(t, err)
		appendTo(t, s)
		opened = append(opened, s)
	}
	for name, subjects := range map[string]string{
		"S": "s.>", "a_S": "a.s.>", "b_S": "b.s.>", "KV_R": "$KV.R.>", "KV_a_R": "$KV.a_R.>",
	} {
		info := storagetest.Look(t, opened[0]).Stream(t, name).Info
		assert.Equal(t, []string{subjects}, info.Config.Subjects)
		assert.NotZero(t, info.State.LastSeq)
	}
}

func TestALogInAnotherDomainIsReachedThroughALeafNode(t *testing.T) {
	dir := t.TempDir()
	jetStream := func(name string) storagetest.Settings {
		return storagetest.Settings{"store_dir": filepath.Join(dir, name), "domain": name}
	}
	listen := storagetest.FreeAddress(t)
	hub := storagetest.Serve(t, storagetest.Settings{
		"server_name": "hub", "jetstream": jetStream("hub"), "leafnodes": storagetest.Settings{"listen": listen},
	})
	leaf := storagetest.Serve(t, storagetest.Settings{
		"server_name": "leaf", "jetstream": jetStream("leaf"),
		"leafnodes": storagetest.Settings{"remotes": []any{storagetest.Settings{"url": "nats-leaf://" + listen}}},
	})
	s, err := open(t, storage.Config{URL: leaf.URL(), External: storage.External{Domain: "hub"}})
	require.NoError(t, err)
	appendTo(t, s)
	direct, err := open(t, storage.Config{URL: hub.URL()})
	require.NoError(t, err)
	assert.EqualValues(t, 1, storagetest.Look(t, direct).Stream(t, "S").Info.State.LastSeq)
	assert.EqualValues(t, 41, storagetest.Look(t, direct).Stream(t, "KV_R").Info.State.LastSeq)
}

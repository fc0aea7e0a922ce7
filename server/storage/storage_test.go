package storage_test

import (
	"context"
	"log/slog"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/ongair/ongair-gateway/server/storage"
	"github.com/ongair/ongair-gateway/server/storage/storagetest"
)

func TestMain(m *testing.M) {
	storage.EachStorage = func(t *testing.T, test func(t *testing.T, s *storage.Storage)) {
		t.Helper()
		storagetest.Each(t, func(t *testing.T, home *storagetest.Home) { test(t, home.Open(t)) })
	}
	storage.OpenEmbedded = func(t *testing.T) *storage.Storage {
		t.Helper()
		return storagetest.Embedded(t).Open(t)
	}
	goleak.VerifyTestMain(m)
}

func open(t *testing.T, cfg storage.Config) (*storage.Storage, error) {
	t.Helper()
	s, err := storage.Open(t.Context(), cfg)
	if err == nil {
		t.Cleanup(func() { assert.NoError(t, s.Close()) })
	}
	return s, err
}

func TestADirectoryIsOpenOnceAtATime(t *testing.T) {
	dir := t.TempDir()
	first, err := open(t, storage.Config{Dir: dir})
	require.NoError(t, err)
	_, err = open(t, storage.Config{Dir: dir})
	require.EqualError(t, err, "data directory "+dir+" is in use by another process")
	require.NoError(t, first.Close())
	_, err = open(t, storage.Config{Dir: dir})
	require.NoError(t, err)
}

func TestAFailedOpenUnlocksTheDirectory(t *testing.T) {
	for _, tt := range []struct {
		name string
		// spoil makes Open fail after it takes the lock, until repair is called.
		spoil func(t *testing.T, dir string) (_ context.Context, repair func())
		want  string
	}{
		{"a file in place of JetStream's directory", func(t *testing.T, dir string) (context.Context, func()) {
			require.NoError(t, os.WriteFile(filepath.Join(dir, "format"), []byte("1\n"), 0o600))
			file := filepath.Join(dir, "jetstream")
			require.NoError(t, os.WriteFile(file, nil, 0o600))
			return t.Context(), func() { require.NoError(t, os.Remove(file)) }
		}, "Can't start JetStream: storage directory is not a directory"},
		{"a cancelled context", func(t *testing.T, _ string) (context.Context, func()) {
			ctx, cancel := context.WithCancel(t.Context())
			cancel()
			return ctx, func() {}
		}, "context canceled"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			ctx, repair := tt.spoil(t, dir)
			_, err := storage.Open(ctx, storage.Config{Dir: dir})
			require.ErrorContains(t, err, tt.want)
			repair()
			_, err = open(t, storage.Config{Dir: dir})
			require.NoError(t, err)
		})
	}
}

func TestADirectoryThatCannotBeUsedIsNamed(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	require.NoError(t, os.WriteFile(file, nil, 0o600))
	noLock := t.TempDir()
	require.NoError(t, os.Mkdir(filepath.Join(noLock, "lock"), 0o700))
	noStore := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(noStore, "jetstream"), nil, 0o600))
	for _, tt := range []struct{ name, dir string }{
		{"a file in its place", file},
		{"a file in place of its parent", filepath.Join(file, "data")},
		{"the lock cannot be created", noLock},
		{"JetStream cannot write to it", noStore},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := open(t, storage.Config{Dir: tt.dir})
			require.ErrorContains(t, err, tt.dir)
		})
	}
}

func TestOnlyTheOwnerHasAccessToADirectory(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "not", "there", "yet")
	_, err := open(t, storage.Config{Dir: dir})
	require.NoError(t, err)
	for path, want := range map[string]os.FileMode{dir: 0o700, filepath.Join(dir, "lock"): 0o600} {
		info, err := os.Stat(path)
		require.NoError(t, err)
		assert.Equal(t, want, info.Mode().Perm(), path)
	}
}

func TestAnExistingDirectoryIsRestrictedUnlessItIsShared(t *testing.T) {
	for name, tt := range map[string]struct {
		other string
		mode  os.FileMode
	}{
		"empty":             {"", 0o700},
		"with a log":        {"lock", 0o700},
		"with another file": {"readme", 0o755},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			require.NoError(t, os.Chmod(dir, 0o755))
			if tt.other != "" {
				require.NoError(t, os.WriteFile(filepath.Join(dir, tt.other), nil, 0o600))
			}
			var log strings.Builder
			_, err := open(t, storage.Config{Dir: dir, Logger: slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelWarn}))})
			require.NoError(t, err)
			info, err := os.Stat(dir)
			require.NoError(t, err)
			assert.Equal(t, tt.mode, info.Mode().Perm())
			assert.Equal(t, tt.mode != 0o700, strings.Contains(log.String(), "the data directory is readable by other users"))
			inner, err := os.Stat(filepath.Join(dir, "jetstream"))
			require.NoError(t, err)
			assert.Equal(t, os.FileMode(0o700), inner.Mode().Perm(), "the inner directory must always be private")
		})
	}
}

func TestAcknowledgedDataSurvives(t *testing.T) {
	storagetest.Each(t, func(t *testing.T, home *storagetest.Home) {
		largest := strings.Repeat("x", storage.MaxPayload-1024) // the headers count as well
		s := home.Open(t)
		stream, err := s.OpenStream(t.Context(), storage.StreamConfig{Name: "S", Subject: "s."})
		require.NoError(t, err)
		_, err = stream.Append(t.Context(), storage.Message{Subject: "s.1", ID: "1", Data: []byte(largest)})
		require.NoError(t, err)
		require.NoError(t, s.Close())

		data, _ := storagetest.Look(t, home.Open(t)).Stream(t, "S").Message(t, 1)
		assert.True(t, largest == string(data), "the data differs")
	})
}

func TestCloseMayBeCalledTwice(t *testing.T) {
	storagetest.Each(t, func(t *testing.T, home *storagetest.Home) {
		js := home.Open(t)
		require.NoError(t, js.Close())
		require.NoError(t, js.Close())
	})
}

func TestAnExternalServerIsCheckedBeforeItIsUsed(t *testing.T) {
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	unused := "nats://" + silent.Addr().String()
	require.NoError(t, silent.Close())
	serve := func(settings storagetest.Settings) func(*testing.T) string {
		return func(t *testing.T) string { return storagetest.Serve(t, settings).URL() }
	}
	withPassword := storagetest.Settings{"authorization": storagetest.Settings{"user": "u", "password": "p"}}
	for _, tt := range []struct {
		name string
		url  func(*testing.T) string
		want string
	}{
		{"accepts the largest event", serve(nil), ""},
		{"accepts only the default size", serve(storagetest.Settings{"max_payload": 0}),
			"takes messages of at most 1048576 bytes, the gateway needs 4194304: raise its max_payload"},
		{"without JetStream", serve(storagetest.Settings{"jetstream": "disabled"}), "jetstream not enabled"},
		{"requires a password", serve(withPassword), "Authorization Violation"},
		{"not running", func(*testing.T) string { return unused }, "no servers available"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			address := tt.url(t)
			_, err := open(t, storage.WithoutWaiting(storage.Config{URL: address}))
			if tt.want == "" {
				require.NoError(t, err)
				return
			}
			require.ErrorContains(t, err, "NATS at "+address)
			require.ErrorContains(t, err, tt.want)
		})
	}
}

func TestOneOfSeveralServersIsEnough(t *testing.T) {
	_, err := open(t, storage.Config{URL: "nats://127.0.0.1:1, " + storagetest.Serve(t, nil).URL()})
	require.NoError(t, err)
}

func TestASecretInAURLIsNotRepeated(t *testing.T) {
	small, err := url.Parse(storagetest.Serve(t, storagetest.Settings{
		"authorization": storagetest.Settings{"user": "gateway", "password": "SECRET"},
		"max_payload":   0,
	}).URL())
	require.NoError(t, err)
	const address, notAURL = "nats://127.0.0.1:1", "(not a URL)"
	for _, tt := range []struct{ name, url, shown string }{
		{"nothing listens", "nats://gateway:SECRET@127.0.0.1:1", address},
		{"a token", "nats://SECRET@127.0.0.1:1", address},
		{"no scheme", "gateway:SECRET@127.0.0.1:1", address},
		{"a token and no scheme", "SECRET@127.0.0.1:1", address},
		{"the second of two", "nats://127.0.0.1:1, nats://gateway:SECRET@127.0.0.1:2", address + ",nats://127.0.0.1:2"},
		{"an unescaped character", "nats://gateway:SECRET#1@127.0.0.1:1", notAURL},
		{"a path", "nats://gateway:SECRET/1@127.0.0.1:1", notAURL},
		{"a bad port", "nats://gateway:SECRET@127.0.0.1:port", notAURL},
		{"a bad escape", "nats://gateway:SECRET%@127.0.0.1:1", notAURL},
		{"a comma", "nats://gateway:SECRET,1@127.0.0.1:1", notAURL},
		{"an unusable server", "nats://gateway:SECRET@" + small.Host, "nats://" + small.Host},
		{"a wrong password", "nats://gateway:NOTTHESECRET@" + small.Host, "nats://" + small.Host},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := open(t, storage.WithoutWaiting(storage.Config{URL: tt.url}))
			require.Error(t, err)
			assert.NotContains(t, err.Error(), "SECRET")
			assert.Contains(t, err.Error(), "NATS at "+tt.shown)
		})
	}
}

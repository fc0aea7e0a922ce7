package storage

import (
	"crypto/hmac"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/crypto/chacha20poly1305"
)

// What is in a directory of JetStream's.
type content int

const (
	nothing content = iota
	inClear
	encrypted
)

// storeState looks for JetStream's files of messages, and for those of their keys.
func storeState(store string) (state content, err error) {
	err = filepath.WalkDir(store, func(_ string, entry fs.DirEntry, err error) error {
		switch {
		case errors.Is(err, fs.ErrNotExist):
			return nil
		case err != nil || entry.IsDir():
			return err
		case strings.HasSuffix(entry.Name(), ".key"):
			state = encrypted
			return fs.SkipAll
		}
		state = max(state, inClear)
		return nil
	})
	return state, err
}

// Files of a stream of JetStream's, in jetstream/ACCOUNT/streams/NAME.
const (
	// streamKeyFile has the stream's key, encrypted with one made of the directory's.
	streamKeyFile = "meta.key"
	// streamFile has its configuration. It is made after streamKeyFile, and both are synced.
	streamFile = "meta.inf"
)

// checkStreams fails unless key is what all streams in a directory of JetStream's are
// encrypted with. It tries it, in place of comparing a mark of the gateway's own: that
// would have to be written, backed up and restored together with what it is about. Should
// nats-server change the format, no test opens a directory twice any more.
//
// A stream of neither file is what a crash left of its making, and has no messages.
func checkStreams(store, key string) error {
	return filepath.WalkDir(store, func(path string, entry fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		name, parent := filepath.Base(path), filepath.Dir(path)
		if err != nil || !entry.IsDir() || filepath.Base(parent) != "streams" {
			return err
		}
		if strings.HasPrefix(name, ".") {
			return fs.SkipDir // it is being deleted, and had another name
		}
		sealed, err := os.ReadFile(filepath.Join(path, streamKeyFile))
		switch {
		case errors.Is(err, fs.ErrNotExist):
			if _, err := os.Lstat(filepath.Join(path, streamFile)); err == nil {
				return fmt.Errorf("%s is in clear text", path)
			} else if !errors.Is(err, fs.ErrNotExist) {
				return err
			}
		case err != nil:
			return err
		case !opensStream(sealed, key, filepath.Base(filepath.Dir(parent)), name):
			return fmt.Errorf("the key belongs to another directory, or %s is damaged", filepath.Join(path, streamKeyFile))
		}
		return fs.SkipDir
	})
}

// opensStream tells whether a stream's key is encrypted with one made of key, as
// nats-server 2.15.2 does it: HMAC-SHA-256 of the account and the stream, and, for
// server.ChaCha, XChaCha20-Poly1305, its nonce before the rest.
func opensStream(sealed []byte, key, account, stream string) bool {
	mac := hmac.New(sha256.New, []byte(key))
	mac.Write([]byte(account + stream))
	aead, err := chacha20poly1305.NewX(mac.Sum(nil))
	if err != nil || len(sealed) < aead.NonceSize() {
		return false
	}
	nonce, rest := sealed[:aead.NonceSize()], sealed[aead.NonceSize():]
	_, err = aead.Open(nil, nonce, rest, nil)
	return err == nil
}
